//! One pass for one tenant: observe, plan, apply, report. Client required for all but the plan.

#[cfg(test)]
mod tests;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use freehold_crds::{Release, ReleaseChannel, Tenant, TenantClass};
use freehold_plan::names::digest;
use freehold_plan::{Config, Input, plan, releases_of};
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store as Reflector};
use kube::{Client, ResourceExt};
use tracing::{debug, warn};

use crate::apply::{self, ApplyError, Pass};
use crate::cluster::{Refusal, refusal, retry_after};
use crate::fleet::Members;
use crate::mint::MintError;
use crate::observe::{FOREIGN_TRUST, Sight, observe};
use crate::report::{self, ReportError, Reported};
use crate::serve::Metrics;
use crate::store::{LASTING, Store};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest that a pass waits which failed because the key service was away: asking that one costs the API server nothing,
/// and a rotation stands still meanwhile.
const KEY_SERVICE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A pass takes less than a second; one that takes longer than this hangs.
pub const PASS_MAX: Duration = Duration::from_secs(60);
/// A wake-up is never farther than this, in case a clock was set.
const WAKE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Everything that passes share.
pub struct Context {
    pub client: Client,
    pub store: Arc<Store>,
    pub classes: Reflector<TenantClass>,
    pub releases: Reflector<Release>,
    pub channels: Reflector<ReleaseChannel>,
    /// Tenants as their channels see them.
    pub members: Arc<Members>,
    /// Changes when the API server's addresses do.
    pub config: RwLock<Config>,
    /// The key service, where there is one.
    pub keys: Option<freehold_keys::client::Client>,
    pub identity: String,
    pub metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("observe: {0}")]
    Observe(#[source] MintError),
    #[error("apply: {0}")]
    Apply(#[source] ApplyError),
    #[error("report: {0}")]
    Report(#[source] ReportError),
    #[error("no end within {} s", PASS_MAX.as_secs())]
    TimedOut,
}

impl PassError {
    fn answer(&self) -> Option<&kube::Error> {
        match self {
            Self::Observe(MintError::Api { source, .. } | MintError::LookUp { source, .. }) => Some(source),
            Self::Observe(_) | Self::TimedOut => None,
            Self::Apply(error) => error.answer(),
            Self::Report(ReportError(source)) => Some(source),
        }
    }
}

/// One pass, which ends: a request without an answer must not hold a tenant for ever.
pub async fn reconcile(tenant: Arc<Tenant>, context: Arc<Context>) -> Result<Action, PassError> {
    tokio::time::timeout(PASS_MAX, pass(tenant, context))
        .await
        .unwrap_or(Err(PassError::TimedOut))
}

async fn pass(tenant: Arc<Tenant>, context: Arc<Context>) -> Result<Action, PassError> {
    let now = Timestamp::now();
    let started = std::time::Instant::now();
    let Context {
        client,
        store,
        identity,
        keys,
        ..
    } = context.as_ref();
    let config = context
        .config
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let tenant = report::freshest(store, &tenant);

    let Sight {
        observed,
        incarnation,
        look_again,
        failed,
    } = observe(client, store, &config, keys.as_ref(), &tenant, now).await;
    let class = context.classes.get(&ObjectRef::new(&tenant.spec.class_name));
    let channel = tenant.spec.release.channel.as_ref();
    let channel = channel.and_then(|name| context.channels.get(&ObjectRef::new(name)));
    let releases = releases_of(&tenant, channel.as_deref(), &observed).into_iter();
    let releases = releases
        .filter_map(|name| Some((name.to_owned(), context.releases.get(&ObjectRef::new(name))?)))
        .collect();
    let input = Input {
        tenant: &tenant,
        class: class.as_deref(),
        channel: channel.as_deref(),
        releases: &releases,
        observed: &observed,
        now,
        config: &config,
    };
    let plan = plan(&input);
    context.members.saw(&tenant.name_any(), plan.member.clone());
    let pass = Pass {
        client,
        store,
        config: &config,
        tenant: &tenant,
        incarnation: &incarnation,
        service: keys.as_ref(),
        now,
    };
    let applied = apply::apply(pass, &observed, &plan).await;
    // A read that fails once is no news; one that keeps failing is.
    let passing = failed.is_some() && store.failures(&tenant.name_any()) < LASTING;
    // What the plan thought has turned out otherwise: the next pass, which follows at once, knows what to say.
    let outdated = applied.as_ref().is_ok_and(|done| done.again || done.outdated);
    let reported = if passing || outdated {
        Ok(Reported::default())
    } else {
        report::report(client, store, &tenant, &plan, identity, now).await
    };

    // After the effects, which may have shown it anew.
    let doubted = plan
        .doubts
        .then(|| store.doubt(&tenant.name_any(), now + FOREIGN_TRUST));
    let done = applied.map_err(PassError::Apply)?;
    let reported = reported.map_err(PassError::Report)?;
    if let Some(failed) = failed {
        return Err(PassError::Observe(failed));
    }
    if !done.outdated {
        store.succeeded(&tenant.name_any());
    }
    context
        .metrics
        .pass(started.elapsed(), done.writes + usize::from(reported.written));
    let wake = [plan.wake, look_again, doubted, done.wake, reported.due]
        .into_iter()
        .flatten()
        .min();
    debug!(writes = done.writes, ?reported, again = done.again, ?wake, "pass");
    Ok(next(done.again, wake, now))
}

fn next(again: bool, wake: Option<Timestamp>, now: Timestamp) -> Action {
    if again {
        return Action::requeue(Duration::ZERO);
    }
    match wake {
        None => Action::await_change(),
        Some(wake) => {
            let wait = Duration::try_from(wake.duration_since(now)).unwrap_or_default();
            // A little later than the instant, so that the clock has certainly passed it.
            Action::requeue(wait.min(WAKE_MAX) + Duration::from_millis(10))
        }
    }
}

/// When a failed pass is tried again: soon at first, then ever later, and never at the same time as everybody else.
pub fn on_error(tenant: Arc<Tenant>, error: &PassError, context: Arc<Context>) -> Action {
    let name = tenant.name_any();
    let failures = context.store.failed(&name);
    let wait = error
        .answer()
        .and_then(retry_after)
        .unwrap_or_else(|| backoff(&name, failures));
    let wait = match error {
        PassError::Apply(error) if error.is_key_service_away() => wait.min(KEY_SERVICE_BACKOFF_MAX),
        _ => wait,
    };
    let expected = error
        .answer()
        .is_some_and(|answer| matches!(refusal(answer), Refusal::Conflict | Refusal::Forbidden));
    let error: &dyn std::error::Error = error;
    let cause = std::iter::successors(error.source(), |error| error.source()).last();
    if expected && failures <= 5 {
        debug!(tenant = name, %error, ?wait, "the pass will be repeated");
    } else {
        warn!(tenant = name, %error, cause = cause.map(ToString::to_string), failures, ?wait, "the pass failed");
    }
    context.metrics.failure();
    Action::requeue(wait)
}

/// How long to wait after so many failures in a row.
pub fn backoff(name: &str, failures: u32) -> Duration {
    let wait = BACKOFF_FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF_MAX);
    let hash = u32::from_str_radix(&digest(&[name, &failures.to_string()])[..4], 16).unwrap_or_default();
    wait.mul_f64(0.75 + 0.5 * f64::from(hash) / f64::from(u16::MAX))
}
