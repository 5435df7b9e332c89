//! A load on a tenant, as its users make it: so many requests a second through the gateway, each on a connection of its own and
//! never tried again; pages, lists of cards, and one new card in ten requests. In: where, and a session. Out: a [`Report`] of what
//! failed, and the titles of the cards that were acknowledged.
//!
//! Invariants: a request fails when it isn't answered as it should be, or late; requests begin on a fixed grid, whatever became of
//! those before; each is counted once. It runs on one thread.

mod report;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub use self::report::{Failure, Report, What};
use crate::http::User;
use crate::lab::priority;
use crate::prober::{Ask, Credentials, Target, attempt};

/// For people an answer that takes longer is none.
pub const LATE: Duration = Duration::from_secs(2);
/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(10);
/// One request of so many makes a card.
const A_CARD_IN: u64 = 10;
/// What the lists show: they don't grow with the load.
const CARDS: usize = 10;
/// More than was asked for by this, so that a moment for which the machine is busy at the end doesn't make it less.
const MORE: f64 = 1.04;

/// Where the requests go. Without `Debug`: the session must not reach a log.
#[allow(missing_debug_implementations)]
#[derive(Clone)]
pub struct Plan {
    pub address: SocketAddr,
    /// What the requests name, with the port; the certificate bears it without.
    pub host: String,
    /// PEM, one or several.
    pub roots: String,
    /// The header `Cookie`.
    pub session: String,
    /// The least number of requests in a second.
    pub rate: u32,
    /// An answer that takes longer is a failure; what it acknowledges is acknowledged all the same.
    pub late: Duration,
    pub page: String,
    pub list: String,
    /// Where cards are posted.
    pub lane: String,
    /// What the titles begin with. No other load on this tenant may have the same.
    pub prefix: String,
}

impl Plan {
    /// For a user who is in: makes a board that is looked at, and one to which cards are added.
    pub fn on(user: &User, rate: u32) -> Result<Plan> {
        let host = user.base.strip_prefix("https://").context("no HTTPS")?;
        let port = host.split_once(':').map_or(Ok(443), |(_, port)| port.parse())?;
        let (shown, lane) = board(user, "Looked at")?;
        let (_, written) = board(user, "Written to")?;
        for number in 1..=CARDS {
            user.post(&lane, &json!({"title": format!("card {number}")}))?;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Plan {
            // Names below localhost are this machine (RFC 6761), where the lab's forwarder listens.
            address: (Ipv4Addr::LOCALHOST, port).into(),
            host: host.to_owned(),
            roots: std::fs::read_to_string(&user.authority)?,
            session: user.session()?,
            rate,
            late: LATE,
            page: format!("/boards/{shown}"),
            list: format!("/api/boards/{shown}/cards"),
            lane: written,
            prefix: format!("load {:x}", now.as_millis()),
        })
    }
}

/// A new board: its number, and where the cards of its first lane are posted.
fn board(user: &User, name: &str) -> Result<(Value, String)> {
    let id = user.post("/api/boards", &json!({"name": name}))?["id"].clone();
    let board = user.get(&format!("/api/boards/{id}"))?;
    let lane = &board["lanes"][0]["id"];
    Ok((id, format!("/api/lanes/{lane}/cards")))
}

/// A load that goes on until this is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    stop: Option<oneshot::Sender<()>>,
    seen: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    pub fn start(plan: Plan) -> Result<Load> {
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::new(Mutex::new(Report::of(plan.rate)));
        let noted = seen.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let end = async { drop(stopped.await) };
        let thread = std::thread::spawn(move || {
            priority::as_a_client();
            runtime.block_on(press(&plan, &noted, end))
        });
        Ok(Load {
            stop: Some(stop),
            seen,
            thread: Some(thread),
        })
    }

    /// What was seen until now.
    pub fn report(&self) -> Report {
        held(&self.seen).clone()
    }

    /// Ends it, and waits for the answers that are still to come.
    pub fn stop(mut self) -> Result<Report> {
        self.end()?;
        Ok(self.report())
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(ended) => ended.map_err(|_| anyhow!("the load's thread broke down"))?,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The same in a runtime that is there.
pub async fn run(plan: &Plan, end: impl Future<Output = ()>) -> Result<Report> {
    let seen = Arc::new(Mutex::new(Report::of(plan.rate)));
    press(plan, &seen, end).await?;
    Ok(held(&seen).clone())
}

async fn press(plan: &Plan, seen: &Arc<Mutex<Report>>, end: impl Future<Output = ()>) -> Result<()> {
    let requests = Requests::of(plan)?;
    let start = Instant::now();
    let mut grid = interval_at(
        start,
        Duration::from_secs_f64(1.0 / (f64::from(plan.rate) * MORE)),
    );
    // What the machine was too busy for is made up, not left out.
    grid.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut outstanding = JoinSet::new();
    tokio::pin!(end);
    for number in 1.. {
        tokio::select! {
            biased;
            () = &mut end => break,
            _ = grid.tick() => (),
        }
        held(seen).begin(start.elapsed());
        let (request, seen, limit) = (requests.number(number), seen.clone(), plan.late);
        outstanding.spawn(async move {
            let begin = Instant::now();
            let ended = attempt(&request.target, LIMIT).await;
            let took = begin.elapsed();
            let reason = ended.failure.map(|(kind, error)| format!("{kind:?}: {error}"));
            let mut seen = held(&seen);
            if let (None, Some(title)) = (&reason, request.title) {
                seen.acknowledged.push(title);
            }
            let late = (took > limit).then(|| format!("answered after {:.2} s", took.as_secs_f64()));
            seen.end(request.what, begin - start, took, reason.or(late));
        });
        while outstanding.try_join_next().is_some() {}
    }
    held(seen).seconds = start.elapsed().as_secs_f64();
    while outstanding.join_next().await.is_some() {}
    Ok(())
}

fn held(seen: &Mutex<Report>) -> MutexGuard<'_, Report> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked, in turn.
struct Requests {
    target: Target,
    page: Arc<Ask>,
    list: Arc<Ask>,
    lane: String,
    origin: String,
    prefix: String,
}

struct Request {
    what: What,
    target: Target,
    /// Of the card that it makes.
    title: Option<String>,
}

impl Requests {
    fn of(plan: &Plan) -> Result<Requests> {
        let name = plan.host.split(':').next().unwrap_or_default().to_owned();
        let credentials = Credentials {
            roots: plan.roots.clone(),
            identity: None,
            login: None,
        };
        let (page, list) = (Arc::new(get(&plan.page)), Arc::new(get(&plan.list)));
        Ok(Requests {
            target: Target {
                address: plan.address,
                host: plan.host.clone(),
                server_name: ServerName::try_from(name)?,
                ask: page.clone(),
                client: Arc::new(credentials.client()?),
                login: None,
                cookie: Some(plan.session.clone()),
            },
            page,
            list,
            lane: plan.lane.clone(),
            origin: format!("https://{}", plan.host),
            prefix: plan.prefix.clone(),
        })
    }

    fn number(&self, number: u64) -> Request {
        let (what, ask, title) = if number.is_multiple_of(A_CARD_IN) {
            let title = format!("{} {number}", self.prefix);
            (What::Card, Arc::new(self.card(&title)), Some(title))
        } else if number.is_multiple_of(2) {
            (What::Page, self.page.clone(), None)
        } else {
            (What::List, self.list.clone(), None)
        };
        let target = Target {
            ask,
            ..self.target.clone()
        };
        Request { what, target, title }
    }

    /// With a key, so that a gateway or a tier that tried it again would make one card.
    fn card(&self, title: &str) -> Ask {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Ask::Http {
            method: "POST".to_owned(),
            path: self.lane.clone(),
            headers: vec![
                header("content-type", "application/json"),
                header("origin", &self.origin),
                header("idempotency-key", &title.replace(' ', "-")),
            ],
            body: json!({"title": title}).to_string(),
            expected: 201,
        }
    }
}

fn get(path: &str) -> Ask {
    Ask::Http {
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: String::new(),
        expected: 200,
    }
}
