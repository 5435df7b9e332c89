//! In: the address of an api tier. Out: success, or the first check that failed.
//!
//! The round trip goes through the api's own code: `POST /smoke` makes a board, a lane and a card, lists them as a page
//! would, and rolls back. That address is served by the api only and never passed on by web.

use crate::{settings, upstream, version::PRODUCT};
use anyhow::{Context, bail, ensure};
use axum::{
    body::Body,
    http::{Method, Request},
};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(15);
const LARGEST: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the api; from the settings when it isn't given.
    #[arg(long)]
    api: Option<String>,
    /// The version that must answer; any when it isn't given.
    #[arg(long)]
    expect_version: Option<String>,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let api = match &args.api {
        Some(api) => api.clone(),
        None => {
            let path = settings::path_from_env("FREEHOLD_SETTINGS", "/etc/freehold/settings.json");
            settings::read(&path)?.services.api
        }
    };
    let api = api.trim_end_matches('/');
    ensure!(
        !api.is_empty(),
        "no address of the api: neither --api nor services.api in the settings"
    );

    check(Method::GET, &format!("{api}/healthz")).await?;
    check(Method::GET, &format!("{api}/readyz")).await?;
    let version: Value = serde_json::from_str(&check(Method::GET, &format!("{api}/version")).await?)?;
    ensure!(version["product"] == PRODUCT, "{api} is not {PRODUCT}: {version}");
    if let Some(expected) = &args.expect_version {
        ensure!(
            version["version"] == **expected,
            "expected version {expected}, {api} is {version}"
        );
    }
    check(Method::POST, &format!("{api}/smoke")).await?;
    println!("ok: {version}");
    Ok(())
}

async fn check(method: Method, url: &str) -> anyhow::Result<String> {
    let started = Instant::now();
    let request = Request::builder().method(&method).uri(url).body(Body::empty())?;
    let exchange = async {
        let response = upstream::client()
            .request(request)
            .await
            .map_err(|e| anyhow::anyhow!(upstream::describe(&e)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok::<_, anyhow::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answered = tokio::time::timeout(TIMEOUT, exchange).await;
    let (status, body) = answered
        .with_context(|| format!("{method} {url}: no answer within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("{method} {url}"))?;
    if !status.is_success() {
        bail!("{method} {url}: {status}: {}", body.trim());
    }
    println!(
        "{method} {url}: {} in {} ms",
        status.as_u16(),
        started.elapsed().as_millis()
    );
    Ok(body)
}
