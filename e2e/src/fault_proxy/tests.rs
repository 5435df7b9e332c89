//! The proxy before an API server of a few lines that notes what reaches it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;

/// Answers each request on a connection of its own: a watch in two pieces, everything else with 200.
/// Tells of each request, `VERB path authorization`; the watch's second piece waits for a word.
fn upstream() -> (String, Receiver<String>, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = channel();
    let (go, word) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (first, authorization) = head(&mut BufReader::new(stream.try_clone().unwrap()));
            seen.send(format!("{first} {authorization}")).unwrap();
            if first.contains("watch") {
                let begin =
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\none\r\n";
                stream.write_all(begin.as_bytes()).unwrap();
                word.recv().unwrap();
                stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
            } else {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).unwrap();
            }
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    (url, requests, go)
}

/// The request line without its version, and the value of `Authorization`.
fn head(reader: &mut impl BufRead) -> (String, String) {
    let mut lines = reader.lines().map_while(std::io::Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut authorization = String::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = value.to_owned();
        }
    }
    (first.trim_end_matches(" HTTP/1.1").to_owned(), authorization)
}

/// Sends a request; the connection on which the answer comes.
fn send(proxy: &FaultProxy, verb: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nauthorization: Bearer other\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The status line of an answer that holds a JSON object as body.
fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with('}') && stream.read(&mut byte).unwrap() == 1 {
        text.push(char::from(byte[0]));
    }
    text
}

/// Tells of each end and start.
struct Told(Mutex<std::sync::mpsc::Sender<&'static str>>);

impl Victim for Told {
    fn kill(&self) {
        self.0.lock().unwrap().send("killed").unwrap();
    }

    fn start(&self) -> Result<()> {
        Ok(self.0.lock().unwrap().send("started")?)
    }
}

fn victim() -> (Arc<Told>, Receiver<&'static str>) {
    let (sender, told) = channel();
    (Arc::new(Told(Mutex::new(sender))), told)
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn reads_stream_through_with_the_accounts_token_and_writes_are_counted() {
    let (url, requests, go) = upstream();
    let proxy = FaultProxy::before(&url, b"", "t", None, "127.0.0.1").unwrap();
    let mut watch = send(&proxy, "GET", "/api/v1/pods?watch=1");
    let mut first = Vec::new();
    let mut byte = [0];
    while !first.ends_with(b"one") {
        assert_eq!(
            watch.read(&mut byte).unwrap(),
            1,
            "the first piece comes before the second is there"
        );
        first.push(byte[0]);
    }
    go.send(()).unwrap();
    assert_eq!(
        requests.recv_timeout(SOON).unwrap(),
        "GET /api/v1/pods?watch=1 Bearer t"
    );
    for (verb, path) in [
        ("PATCH", "/api/v1/namespaces/a?fieldManager=x"),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events"),
        ("POST", "/api/v1/namespaces?dryRun=All"),
        ("DELETE", "/api/v1/namespaces/a"),
    ] {
        assert!(answer(&mut send(&proxy, verb, path)).contains(" 200 "));
        assert_eq!(
            requests.recv_timeout(SOON).unwrap(),
            format!("{verb} {path} Bearer t")
        );
    }
    let writes: Vec<String> = proxy.writes().iter().map(ToString::to_string).collect();
    assert_eq!(
        writes,
        [
            "   1 PATCH /api/v1/namespaces/a -> 200",
            "   2 DELETE /api/v1/namespaces/a -> 200"
        ]
    );
}

#[test]
fn a_write_that_is_refused_or_reset_does_not_reach_the_api_server() {
    let (url, requests, _go) = upstream();
    let proxy = FaultProxy::before(&url, b"", "t", None, "127.0.0.1").unwrap();
    let (told, _) = victim();
    proxy.injure(told, |write| match write.number {
        1 => Some(Fault::Refuse {
            status: 429,
            retry_after: Some(3),
        }),
        2 => Some(Fault::Reset),
        _ => None,
    });
    let refusal = answer(&mut send(&proxy, "PATCH", "/x"));
    assert!(
        refusal.starts_with("HTTP/1.1 429 ") && refusal.contains("retry-after: 3\r\n"),
        "{refusal}"
    );
    let error = send(&proxy, "PATCH", "/x").read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(answer(&mut send(&proxy, "PATCH", "/third")).contains(" 200 "));
    assert_eq!(requests.recv_timeout(SOON).unwrap(), "PATCH /third Bearer t");
    assert_eq!(proxy.kills(), 0);
}

#[test]
fn a_client_that_is_to_be_killed_gets_its_answer_or_not_and_does_nothing_more() {
    for (fault, hears) in [(Fault::KillAfterAnswer, true), (Fault::LoseAnswer, false)] {
        let (url, requests, _go) = upstream();
        let proxy = FaultProxy::before(&url, b"", "t", None, "127.0.0.1").unwrap();
        let (told, lives) = victim();
        proxy.injure(told, move |write| (write.number == 1).then_some(fault));
        let mut bystander = send(&proxy, "GET", "/before");
        assert!(answer(&mut bystander).contains(" 200 "));
        let mut client = send(&proxy, "PATCH", "/x");
        assert_eq!(lives.recv_timeout(SOON).unwrap(), "killed");
        assert_eq!(lives.recv_timeout(SOON).unwrap(), "started");
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(client.read(&mut [0]).is_ok(), hears, "{fault:?}");
        // What the dead one still had on its way, on a connection of its life.
        bystander
            .write_all(b"PATCH /late HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        assert!(answer(&mut send(&proxy, "PATCH", "/next")).contains(" 200 "));
        let seen: Vec<String> = requests.try_iter().collect();
        assert_eq!(
            seen,
            [
                "GET /before Bearer t",
                "PATCH /x Bearer t",
                "PATCH /next Bearer t"
            ]
        );
        assert_eq!(proxy.kills(), 1);
    }
}
