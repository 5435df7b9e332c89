//! The forwarder: tenants' URLs work from the host. It listens on the host's loopback and passes each
//! connection, TLS untouched, to the gateway's node port; `*.localhost` names resolve to loopback in curl
//! and in browsers by themselves (RFC 6761), so nothing on the host is changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::priority;

/// Listens on both loopback addresses (IPv6 only where there is one) and forwards for as long as the process lives.
pub fn start(port: u16, target: SocketAddr) -> Result<()> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    serve(v4, target);
    if let Ok(v6) = TcpListener::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), port)) {
        serve(v6, target);
    }
    Ok(())
}

fn serve(listener: TcpListener, target: SocketAddr) {
    thread::spawn(move || {
        priority::as_a_client();
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Err(error) = forward(&client, target) {
                    eprintln!("forward to {target}: {error}");
                }
            });
        }
    });
}

fn forward(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || pump(&from, &to));
    pump(&server, client);
    let _ = up.join();
    Ok(())
}

/// Copies until the reader's side ends, then tells the writer so; the other direction goes on.
fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_pass_both_ways_and_half_closing_is_passed_on() {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = echo.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        start(port, target).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, "hello");
    }
}
