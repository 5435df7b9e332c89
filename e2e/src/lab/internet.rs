//! A stand-in for the internet: two addresses beyond the node, so that policies about the rest of the world can be
//! tried with packets. It has a network namespace of its own, linked to the first node: nothing is opened on the host,
//! and its addresses are nobody's node. Every port of [`PORTS`] answers on both; when the supervisor ends, it ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::net::{INTERNET, INTERNET_OTHER, NodeId, ip};
use super::node::wait_for_link;

pub const PORTS: [u16; 2] = [80, 443];

/// Sets the namespace up that this process is in, and serves; returns only with an error.
pub fn run() -> Result<()> {
    wait_for_link()?;
    ip("link set lo up")?;
    // On loopback: the kernel answers for an address of any of its links.
    for address in [INTERNET, INTERNET_OTHER] {
        ip(&format!("address add {address}/32 dev lo"))?;
        for port in PORTS {
            listen(address, port)?;
        }
    }
    ip(&format!("route replace default via {}", NodeId::OUTSIDE.peer()))?;
    loop {
        thread::park();
    }
}

fn listen(address: &'static str, port: u16) -> Result<()> {
    let listener =
        TcpListener::bind((address, port)).with_context(|| format!("listen on {address}:{port}"))?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(&client, address));
        }
    });
    Ok(())
}

/// Plain HTTP on every port: what is tried is whether a packet gets here. It names the address that was reached.
fn answer(mut client: &TcpStream, address: &str) {
    let body = format!("lab internet {address}\n");
    let _ = write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // What the client sent is read before the end: closing earlier would reset the connection under its answer.
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
    let mut sent = [0; 4096];
    while client.read(&mut sent).is_ok_and(|count| count > 0) {}
}
