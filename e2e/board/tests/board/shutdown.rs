//! SIGTERM under load loses no request.

use crate::{
    certificates::Authority,
    instance::{Instance, board},
};
use axum::http::Method;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::TlsConnector;

fn terminate(instance: &mut Instance, index: usize) {
    let pid = instance.process(index).child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
}

async fn exit_code(instance: &mut Instance, index: usize) -> Option<i32> {
    for _ in 0..200 {
        if let Some(status) = instance.process(index).child.try_wait().unwrap() {
            return status.code();
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not end");
}

/// 4 clients that keep their connections and 4 that make a new one each time, 25 requests each.
async fn sigterm_under_load(
    instance: &mut Instance,
    index: usize,
    cookie: Option<String>,
    path: &str,
    status: u16,
) {
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (browser, path) = (instance.browser(index), path.to_owned());
            browser.set_cookie(cookie.clone());
            tokio::spawn(async move {
                for request in 0..25 {
                    let fresh = number % 2 == 1;
                    let headers = [("connection", if fresh { "close" } else { "keep-alive" })];
                    let body = json!({ "title": format!("{number}/{request}") });
                    let (method, body) = if status == 201 {
                        (Method::POST, Some(body))
                    } else {
                        (Method::GET, None)
                    };
                    let answer = browser.try_send(method, &path, &headers, body).await;
                    let answer = answer.unwrap_or_else(|error| panic!("request {request}: {error:?}"));
                    answer.expect(status);
                    sleep(Duration::from_millis(30)).await;
                }
            })
        })
        .collect();
    sleep(Duration::from_millis(300)).await;
    terminate(instance, index);
    let browser = instance.browser(index);
    let begin = Instant::now();
    let mut answer = browser.get("/readyz").await;
    // A busy machine takes a moment to hand the signal over; idle, it is done within 50 ms.
    while answer.status == 200 && begin.elapsed() < Duration::from_secs(1) {
        sleep(Duration::from_millis(10)).await;
        answer = browser.get("/readyz").await;
    }
    let answer = answer.expect(503);
    assert_eq!(answer.headers["connection"], "close");
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_loses_no_card() {
    the_api_loses_no_card_of(Instance::prepare().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_loses_no_card_over_tls() {
    the_api_loses_no_card_of(Instance::encrypted(&Authority::new("root")).await).await;
}

async fn the_api_loses_no_card_of(mut instance: Instance) {
    instance.migrate();
    let api = instance.spawn("api", &[("DRAIN_SECONDS", "6")]).await;
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    sigterm_under_load(
        &mut instance,
        api,
        owner.cookie(),
        &format!("/api/lanes/{lane}/cards"),
        201,
    )
    .await;
    assert_eq!(instance.count("cards").await, 200);
    assert_eq!(exit_code(&mut instance, api).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_loses_no_page() {
    the_web_loses_no_page_of(Instance::prepare().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_loses_no_page_over_tls() {
    the_web_loses_no_page_of(Instance::encrypted(&Authority::new("root")).await).await;
}

async fn the_web_loses_no_page_of(mut instance: Instance) {
    let web = instance.spawn("web", &[("DRAIN_SECONDS", "4")]).await;
    sigterm_under_load(&mut instance, web, None, "/", 200).await;
    assert_eq!(exit_code(&mut instance, web).await, Some(0));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_listener_has_closed() {
    let instance = Instance::start().await;
    let slow = connect(&instance).await;
    is_answered_after_the_listener_has_closed(instance, slow).await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_listener_has_closed_over_tls() {
    let mut instance = Instance::encrypted(&Authority::new("root")).await;
    instance.migrate();
    instance.spawn("api", &[]).await;
    let connector = TlsConnector::from(Arc::new(instance.volume().client()));
    let name = ServerName::try_from("localhost").unwrap();
    let slow = connector.connect(name, connect(&instance).await).await.unwrap();
    is_answered_after_the_listener_has_closed(instance, slow).await;
}

async fn connect(instance: &Instance) -> TcpStream {
    let (_, address) = instance.url(0).split_once("://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

async fn is_answered_after_the_listener_has_closed(
    mut instance: Instance,
    mut slow: impl AsyncRead + AsyncWrite + Unpin,
) {
    let owner = instance.owner().await;
    let (_, lane) = board(&owner).await;
    let address = instance.url(0).split_once("://").unwrap().1.to_owned();
    let body = r#"{"title":"slow"}"#;
    let head = format!(
        "POST /api/lanes/{lane}/cards HTTP/1.1\r\nhost: {address}\r\ncookie: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        owner.cookie().unwrap(),
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    terminate(&mut instance, 0);
    sleep(Duration::from_millis(700)).await;
    assert!(
        TcpStream::connect(&address).await.is_err(),
        "the drain delay is over"
    );
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(exit_code(&mut instance, 0).await, Some(0));
    assert_eq!(instance.count("cards").await, 1);
}
