//! In: the address of an api tier. Out: success, or the first check that failed.
//!
//! The round trip goes through the api's own code: `POST /smoke` makes a board, a lane and a card, lists them as a page
//! would, and rolls back. That address is served by the api only and never passed on by web. With TLS it verifies the api
//! and shows who it is as web does.

use crate::{
    settings, tls,
    upstream::{self, Upstream},
    version::PRODUCT,
};
use anyhow::{Context, bail, ensure};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
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
        None => settings::read(&settings::path())?.services.api,
    };
    let api = Api {
        base: api.trim_end_matches('/'),
        upstream: Upstream::new(tls::Current::once()?),
    };
    ensure!(
        !api.base.is_empty(),
        "no address of the api: neither --api nor services.api in the settings"
    );

    api.check(Method::GET, "/healthz").await?;
    api.check(Method::GET, "/readyz").await?;
    let version: Value = serde_json::from_str(&api.check(Method::GET, "/version").await?)?;
    ensure!(
        version["product"] == PRODUCT,
        "{} is not {PRODUCT}: {version}",
        api.base
    );
    if let Some(expected) = &args.expect_version {
        ensure!(
            version["version"] == **expected,
            "expected version {expected}, {} is {version}",
            api.base
        );
    }
    api.check(Method::POST, "/smoke").await?;
    println!("ok: {version}");
    Ok(())
}

struct Api<'a> {
    base: &'a str,
    upstream: Upstream,
}

impl Api<'_> {
    async fn check(&self, method: Method, path: &str) -> anyhow::Result<String> {
        let started = Instant::now();
        let url = self.upstream.address(self.base, path)?;
        let request = Request::builder().method(&method).uri(&url).body(Body::empty())?;
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
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

    async fn exchange(&self, request: Request<Body>) -> anyhow::Result<(StatusCode, String)> {
        let response = self
            .upstream
            .request(request)
            .await
            .map_err(|e| anyhow::anyhow!(upstream::describe(&e)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
