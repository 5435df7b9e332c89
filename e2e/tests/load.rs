//! The load against a real HTTPS server on this machine, without the lab: what it counts as a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "load/server.rs"]
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use freehold_e2e::load::{Load, Plan, Report, What, run};
use server::{Fault, HOST, Server};

const SESSION: &str = "session=ticket";
/// More than for people: these tests share the machine with others.
const LATE: Duration = Duration::from_secs(4);

fn plan(server: &Server, address: SocketAddr) -> Plan {
    Plan {
        address,
        host: format!("{HOST}:{}", address.port()),
        roots: server.roots.clone(),
        session: SESSION.to_owned(),
        rate: 50,
        late: LATE,
        page: "/boards/1".to_owned(),
        list: "/api/boards/1/cards".to_owned(),
        lane: "/api/lanes/1/cards".to_owned(),
        prefix: "load".to_owned(),
    }
}

/// So many requests, and the answers to them.
async fn pressed(server: &Server, requests: usize) -> Report {
    let plan = plan(server, server.address);
    let enough = async {
        while server.connections() < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = run(&plan, enough).await.unwrap();
    println!("{report}");
    report
}

#[tokio::test]
async fn a_load_without_a_failure_is_one_connection_for_each_request_and_one_card_in_ten() {
    let server = Server::start(|_| None).await;
    let report = pressed(&server, 60).await;
    assert_eq!(report.failures(), 0);
    assert_eq!(report.answered, report.requests);
    assert_eq!(server.connections() as u64, report.requests);
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.contains(&format!("cookie: {SESSION}")))
    );
    let count = |line: &str| requests.iter().filter(|all| all.starts_with(line)).count();
    let cards = count("POST /api/lanes/1/cards ");
    assert_eq!(cards as u64, report.requests / 10);
    assert!(count("GET /boards/1 ") >= 20 && count("GET /api/boards/1/cards ") >= 20);
    let mut acknowledged = report.acknowledged.clone();
    acknowledged.sort();
    assert_eq!((acknowledged.len(), acknowledged), (cards, server.stored()));
    let keyed = requests
        .iter()
        .filter(|all| all.contains("idempotency-key: load-"));
    assert_eq!(keyed.count(), cards);
}

#[tokio::test]
async fn resets_late_and_broken_answers_errors_and_no_tls_are_failures() {
    let server = Server::start(|connection| match connection {
        5 => Some(Fault::NoTls),
        15 => Some(Fault::Reset),
        25 => Some(Fault::Answer("503 Service Unavailable")),
        35 => Some(Fault::Answer("404 Not Found")),
        45 => Some(Fault::BreakOff),
        55 => Some(Fault::Late(LATE + Duration::from_millis(200))),
        _ => None,
    })
    .await;
    let report = pressed(&server, 80).await;
    assert_eq!(report.failures(), 6);
    assert_eq!(report.answered + 6, report.requests);
    assert!(report.longest >= LATE, "{:?}", report.longest);
    let told: Vec<&str> = report.first_failures.iter().map(|f| f.reason.as_str()).collect();
    for reason in [
        "Handshake: ",
        "Connection reset by peer",
        "Request: 503 Service Unavailable: told",
        "Request: 404 Not Found: told",
        "answered after ",
    ] {
        assert!(
            told.iter().any(|line| line.contains(reason)),
            "{reason}: {told:#?}"
        );
    }
    assert!(report.flawless().is_err());
}

#[tokio::test]
async fn only_a_card_that_was_answered_well_is_acknowledged() {
    let server = Server::start(|_| None).await;
    server.fault_of("load 10", Fault::Answer("503 Service Unavailable"));
    // It is stored, and nobody is told so.
    server.fault_of("load 20", Fault::Reset);
    server.fault_of("load 30", Fault::Late(LATE + Duration::from_millis(200)));
    let report = pressed(&server, 55).await;
    assert_eq!(report.failed.get(&What::Card), Some(&3));
    assert_eq!(report.failures(), 3);
    let has = |all: &[String], title: &str| all.iter().any(|known| known == title);
    let stored = server.stored();
    assert!(has(&stored, "load 20") && has(&stored, "load 30"), "{stored:?}");
    let acknowledged = &report.acknowledged;
    assert!(!has(acknowledged, "load 10") && !has(acknowledged, "load 20"));
    assert!(
        has(acknowledged, "load 30"),
        "late, but a promise: {acknowledged:?}"
    );
}

#[tokio::test]
async fn nobody_who_listens_and_another_server_are_failures() {
    let (server, other) = (Server::start(|_| None).await, Server::start(|_| None).await);
    let soon = || tokio::time::sleep(Duration::from_millis(200));
    let nobody = server::nobody();
    let report = run(&plan(&server, nobody), soon()).await.unwrap();
    assert_eq!(report.failures(), report.requests);
    assert!(
        report.first_failures[0].reason.starts_with("Connect: "),
        "{report}"
    );
    // Its certificate is of an authority that isn't trusted.
    let report = run(&plan(&server, other.address), soon()).await.unwrap();
    assert_eq!(report.failures(), report.requests);
    let reason = &report.first_failures[0].reason;
    assert!(reason.starts_with("Handshake: "), "{report}");
    assert!(!report.to_string().contains("ticket"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_load_on_a_thread_of_its_own_goes_on_until_it_is_stopped() {
    let server = Server::start(|_| None).await;
    let load = Load::start(plan(&server, server.address)).unwrap();
    while load.report().answered < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = load.stop().unwrap();
    assert!(
        report.answered == report.requests && report.requests >= 30,
        "{report}"
    );
    let connections = server.connections();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.connections(), connections, "stopped");
    // Dropped, it ends as well.
    drop(Load::start(plan(&server, server.address)).unwrap());
}
