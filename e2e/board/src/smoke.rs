//! In: the address of an api tier, and of a web tier where the page is tried too. Out: success, or the first check that failed.
//!
//! The round trip goes through the api's own code: `POST /smoke` makes a board, a lane and a card, lists them as a page
//! would, and rolls back. That address is served by the api only and never passed on by web. With TLS it verifies the api
//! and shows who it is as web does.

use crate::{
    settings::{self, Services},
    tls,
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
    /// Take the way of a browser, too: the page, its version, a file that it names, and a call that the web tier passes on.
    #[arg(long)]
    page: bool,
    /// Address of the web tier; from the settings when it isn't given.
    #[arg(long, requires = "page")]
    web: Option<String>,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let upstream = Upstream::new(tls::Current::once()?);
    let told =
        |services: fn(Services) -> String| anyhow::Ok(services(settings::read(&settings::path())?.services));
    let api = match &args.api {
        Some(api) => api.clone(),
        None => told(|services| services.api)?,
    };
    let api = Tier::new("api", &api, &upstream)?;

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
    if args.page {
        let web = match &args.web {
            Some(web) => web.clone(),
            None => told(|services| services.web)?,
        };
        page(&Tier::new("web", &web, &upstream)?, &version["version"]).await?;
    }
    println!("ok: {version}");
    Ok(())
}

/// What a browser does with an address that was never opened before.
async fn page(web: &Tier<'_>, version: &Value) -> anyhow::Result<()> {
    let page = web.check(Method::GET, "/").await?;
    let script = page.split('"').find(|part| part.ends_with("/main.js"));
    let script = script.with_context(|| format!("{}: the page names no script", web.base))?;
    web.check(Method::GET, script).await?;
    let polled: Value = serde_json::from_str(&web.check(Method::GET, "/version.json").await?)?;
    ensure!(
        polled["version"] == *version,
        "{}: pages are told of {}, the api is {version}",
        web.base,
        polled["version"]
    );
    web.check(Method::GET, "/api/about").await?;
    Ok(())
}

struct Tier<'a> {
    base: &'a str,
    upstream: &'a Upstream,
}

impl<'a> Tier<'a> {
    fn new(name: &str, base: &'a str, upstream: &'a Upstream) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        ensure!(
            !base.is_empty(),
            "no address of the {name}: neither --{name} nor services.{name} in the settings"
        );
        Ok(Self { base, upstream })
    }

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
