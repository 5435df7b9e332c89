//! The prober against real servers on this machine, without the lab: what it counts as what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "prober/postgres.rs"]
mod postgres;
#[path = "prober/server.rs"]
mod server;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use freehold_e2e::prober::{Ask, Credentials, Kind, Lane, Plan, Report, run};
use freehold_pki::{AuthorityRequest, LeafRequest, Pair, Usage};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::HandshakeKind;

use server::Server;

const HOST: &str = "api.acme.example";
const DAY: u64 = 24 * 3600;

fn authority() -> Pair {
    let request = AuthorityRequest {
        common_name: "acme",
        permitted: &["acme.example".to_owned()],
        lifetime_seconds: DAY,
    };
    freehold_pki::authority(&request, Timestamp::now()).unwrap()
}

fn leaf(authority: &Pair) -> Pair {
    let request = LeafRequest {
        common_name: "application",
        dns_names: &[HOST.to_owned()],
        usage: Usage::Both,
        lifetime_seconds: 3600,
    };
    freehold_pki::leaf(authority, &request, Timestamp::now()).unwrap()
}

fn trusting(authority: &Pair) -> Credentials {
    Credentials {
        roots: authority.certificate_pem.clone(),
        identity: None,
        login: None,
    }
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("prober-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("lane.json")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(address: SocketAddr, host: &str, credentials: &Path, ask: Ask) -> Plan {
    Plan {
        lanes: vec![Lane {
            name: "lane".to_owned(),
            address,
            host: host.to_owned(),
            credentials: credentials.to_owned(),
            ask,
        }],
        every: Duration::from_millis(10),
        limit: Duration::from_secs(5),
    }
}

fn get() -> Ask {
    Ask::Http {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: String::new(),
        expected: 200,
    }
}

/// Until something is so, and never longer than 20 s.
async fn once(is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not become so");
}

/// Probes an HTTP server until it has seen so many connections.
async fn probe(server: &Server, folder: &Folder, connections: usize) -> Report {
    let plan = plan(server.address, HOST, &folder.file(), get());
    run(&plan, once(|| server.connections() >= connections))
        .await
        .unwrap()
}

#[tokio::test]
async fn each_attempt_is_a_full_handshake_of_its_own_and_is_counted_with_what_the_server_showed() {
    let folder = Folder::new("counted");
    let authority = authority();
    let shown = leaf(&authority);
    let server = Server::start(&shown, None, 200).await;
    trusting(&authority).write(&folder.file()).unwrap();
    let report = probe(&server, &folder, 30).await;
    report.flawless().unwrap();
    let lane = report.lane("lane").unwrap();
    assert!(lane.attempts >= 30, "{}", lane.attempts);
    assert_eq!(server.handshakes().len() as u64, lane.handshakes);
    // A session that could be resumed was offered each time.
    assert!(
        server
            .handshakes()
            .iter()
            .all(|kind| *kind == HandshakeKind::Full)
    );
    assert_eq!(lane.leaves.len(), 1);
    let seen = &lane.leaves[0];
    assert_eq!(seen.count, lane.handshakes);
    assert_eq!(seen.leaf.fingerprint, server::fingerprint(&shown));
    assert_eq!(seen.leaf.issuer.len(), 40, "{}", seen.leaf.issuer);
    assert!(lane.slowest_handshake_ms > 0.0 && lane.slowest_request_ms > 0.0);
}

#[tokio::test]
async fn a_server_of_another_root_or_another_name_is_a_failed_handshake() {
    let folder = Folder::new("stranger");
    let authority = authority();
    let server = Server::start(&leaf(&authority), None, 200).await;
    trusting(&self::authority()).write(&folder.file()).unwrap();
    let report = probe(&server, &folder, 3).await;
    let lane = report.lane("lane").unwrap();
    assert_eq!(lane.failures.get(&Kind::Handshake), Some(&lane.attempts));
    assert_eq!((lane.handshakes, lane.answered), (0, 0));
    let told = report.flawless().unwrap_err().to_string();
    assert!(told.contains("Handshake: invalid peer certificate"), "{told}");

    trusting(&authority).write(&folder.file()).unwrap();
    let plan = plan(server.address, "web.acme.example", &folder.file(), get());
    let seen = server.connections();
    let report = run(&plan, once(|| server.connections() > seen)).await.unwrap();
    let told = report.flawless().unwrap_err().to_string();
    assert!(told.contains("not valid for name"), "{told}");
}

#[tokio::test]
async fn an_answer_that_is_not_the_expected_one_is_a_failed_request_and_a_good_handshake() {
    let folder = Folder::new("answer");
    let authority = authority();
    let server = Server::start(&leaf(&authority), None, 500).await;
    trusting(&authority).write(&folder.file()).unwrap();
    let report = probe(&server, &folder, 3).await;
    let lane = report.lane("lane").unwrap();
    assert_eq!(lane.handshakes, lane.attempts);
    assert_eq!(lane.failures.get(&Kind::Request), Some(&lane.attempts));
    assert_eq!(lane.answered, 0);
    assert!(report.flawless().unwrap_err().to_string().contains("500"));
}

#[tokio::test]
async fn nobody_there_is_a_failed_connect() {
    let folder = Folder::new("nobody");
    trusting(&authority()).write(&folder.file()).unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], server::free_port()));
    let plan = plan(nobody, HOST, &folder.file(), get());
    let report = run(&plan, tokio::time::sleep(Duration::from_millis(100)))
        .await
        .unwrap();
    let lane = report.lane("lane").unwrap();
    assert!(lane.attempts > 1);
    assert_eq!(lane.failures.get(&Kind::Connect), Some(&lane.attempts));
    assert!(lane.longest_gap_ms >= 100.0, "{}", lane.longest_gap_ms);
}

#[tokio::test]
async fn a_client_whom_the_server_refuses_has_no_handshake() {
    let folder = Folder::new("refused");
    let authority = authority();
    let server = Server::start(&leaf(&authority), Some(&authority), 200).await;
    let mut credentials = trusting(&authority);
    let identity = |pair: Pair| Some((pair.certificate_pem, pair.key_pem.to_string()));
    credentials.identity = identity(leaf(&self::authority()));
    credentials.write(&folder.file()).unwrap();
    let report = probe(&server, &folder, 3).await;
    let lane = report.lane("lane").unwrap();
    assert_eq!(lane.handshakes, 0);
    assert_eq!(
        lane.failures.get(&Kind::Handshake),
        Some(&lane.attempts),
        "{lane:?}"
    );

    credentials.identity = identity(leaf(&authority));
    credentials.write(&folder.file()).unwrap();
    let report = probe(&server, &folder, server.connections() + 3).await;
    report.flawless().unwrap();
}

#[tokio::test]
async fn credentials_that_are_replaced_are_used_by_the_next_connection() {
    let folder = Folder::new("replaced");
    let (old, new) = (authority(), authority());
    let server = Server::start(&leaf(&old), None, 200).await;
    trusting(&old).write(&folder.file()).unwrap();
    let plan = plan(server.address, HOST, &folder.file(), get());
    let rotate = async {
        once(|| server.connections() >= 5).await;
        // Both roots before the first leaf of the new one, as a rotation does it.
        let mut both = trusting(&old);
        both.roots += &new.certificate_pem;
        both.write(&folder.file()).unwrap();
        let seen = server.connections();
        once(|| server.connections() > seen + 5).await;
        server.show(&leaf(&new), None);
        let seen = server.connections();
        once(|| server.connections() > seen + 5).await;
        trusting(&new).write(&folder.file()).unwrap();
        let seen = server.connections();
        once(|| server.connections() > seen + 5).await;
    };
    let report = run(&plan, rotate).await.unwrap();
    report.flawless().unwrap();
    let lane = report.lane("lane").unwrap();
    assert_eq!((lane.leaves.len(), lane.issuers()), (2, 2));
    assert!(lane.leaves[0].last <= lane.leaves[1].first + 1.0);
}

#[tokio::test]
async fn the_process_reports_what_it_saw_when_its_input_ends_or_it_is_told_to_end() {
    let folder = Folder::new("process");
    let authority = authority();
    let server = Server::start(&leaf(&authority), None, 200).await;
    trusting(&authority).write(&folder.file()).unwrap();
    let plan = plan(server.address, HOST, &folder.file(), get());
    for by_signal in [false, true] {
        let before = server.connections();
        let mut process = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("prober")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        writeln!(input, "{}", serde_json::to_string(&plan).unwrap()).unwrap();
        once(|| server.connections() >= before + 20).await;
        if by_signal {
            let pid = Pid::from_raw(i32::try_from(process.id()).unwrap());
            kill(pid, Signal::SIGTERM).unwrap();
        } else {
            drop(input);
        }
        let ended = tokio::task::spawn_blocking(|| process.wait_with_output()).await;
        let ended = ended.unwrap().unwrap();
        assert!(ended.status.success());
        let report: Report = serde_json::from_slice(&ended.stdout).unwrap();
        report.flawless().unwrap();
        assert!(report.handshakes() >= 20);
    }
}

#[tokio::test]
async fn an_answer_that_is_late_delays_no_other_attempt() {
    let folder = Folder::new("late");
    let authority = authority();
    let server = Server::start(&leaf(&authority), None, 200).await;
    server.wait_before_answers(Duration::from_millis(300));
    trusting(&authority).write(&folder.file()).unwrap();
    let report = probe(&server, &folder, 10).await;
    report.flawless().unwrap();
    let lane = report.lane("lane").unwrap();
    assert!(lane.most_outstanding >= 5, "{lane:?}");
    assert!(lane.slowest_request_ms >= 300.0);
}

#[tokio::test]
async fn the_database_is_asked_after_tls_and_a_login() {
    let folder = Folder::new("database");
    let authority = authority();
    let postgres = postgres::Postgres::start(&folder.0, &leaf(&authority));
    let mut credentials = trusting(&authority);
    credentials.login = Some(("app".to_owned(), postgres::PASSWORD.to_owned()));
    credentials.write(&folder.file()).unwrap();
    let query = Ask::Postgres {
        database: "postgres".to_owned(),
    };
    let plan = plan(postgres.address, HOST, &folder.file(), query);
    let pause = || tokio::time::sleep(Duration::from_millis(500));
    let report = run(&plan, pause()).await.unwrap();
    report.flawless().unwrap();
    assert_eq!(report.lanes[0].leaves.len(), 1);
    println!("{report}");

    credentials.login = Some(("app".to_owned(), "another".to_owned()));
    credentials.write(&folder.file()).unwrap();
    let report = run(&plan, pause()).await.unwrap();
    let lane = &report.lanes[0];
    assert_eq!(lane.handshakes, lane.attempts);
    assert_eq!(lane.failures.get(&Kind::Request), Some(&lane.attempts));
    let told = report.flawless().unwrap_err().to_string();
    assert!(told.contains("password authentication failed"), "{told}");
    assert!(!told.contains("another"), "{told}");
}
