//! The channels' loop: what tenants' passes found of themselves goes in, the status of each channel comes out. Client required.
//!
//! Invariants: a status is written onto the resource version that it was decided from, so that a leader that slept is stopped there; nothing
//! is decided of a channel before each of its tenants has had a pass.

pub mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_crds::{ReleaseApproval, ReleaseChannel, ReleaseChannelStatus, Tenant};
use freehold_plan::fleet::member::Member;
use freehold_plan::fleet::{Fleet, advance};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::Store as Reflector;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::cluster::{Refusal, refusal};
use crate::reconcile::Context;
use crate::report::{STATUS_MANAGER, publish};
use crate::store::is_newer;

/// Changes that come within this are taken together.
const GATHER: Duration = Duration::from_millis(250);
/// After a write that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Farther off than this nothing is slept, in case a clock was set.
const WAKE_MAX: Duration = Duration::from_secs(3600);

/// Every tenant as its own last pass saw it.
#[derive(Debug, Default)]
pub struct Members {
    known: Mutex<BTreeMap<String, Arc<Member>>>,
    changed: Notify,
}

impl Members {
    /// Takes in what a pass found. One that names no channel is none.
    pub fn saw(&self, tenant: &str, member: Option<Member>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match member {
            Some(member) if known.get(tenant).is_some_and(|before| **before == member) => false,
            Some(member) => {
                known.insert(tenant.to_owned(), Arc::new(member));
                true
            }
            None => known.remove(tenant).is_some(),
        };
        drop(known);
        if changed {
            self.poke();
        }
    }

    /// Something else changed by which channels decide.
    pub fn poke(&self) {
        self.changed.notify_one();
    }

    /// The tenants of a channel; none while one of them wasn't seen yet as it is.
    fn of(&self, channel: &str, tenants: &[Arc<Tenant>]) -> Option<Vec<Arc<Member>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = tenants
            .iter()
            .filter(|tenant| tenant.spec.release.channel.as_deref() == Some(channel));
        named
            .map(|tenant| {
                let member = known.get(&tenant.name_any())?;
                let is_it = Some(&member.uid) == tenant.metadata.uid.as_ref() && member.channel == channel;
                is_it.then(|| member.clone())
            })
            .collect()
    }
}

/// What the loop looks at beside the passes' own sources.
pub struct Sources {
    pub tenants: Reflector<Tenant>,
    pub approvals: Reflector<ReleaseApproval>,
}

/// The last status that was written, in case the watch is behind.
struct Written {
    resource_version: String,
    status: ReleaseChannelStatus,
}

/// Follows every channel, until it is dropped.
pub async fn follow(context: Arc<Context>, sources: Sources) {
    let mut written: HashMap<String, Written> = HashMap::new();
    loop {
        let now = Timestamp::now();
        let mut wake: Option<Timestamp> = None;
        for channel in context.channels.state() {
            let next = step(&context, &sources, &channel, &mut written, now).await;
            wake = [wake, next].into_iter().flatten().min();
        }
        let sleep = wake.map_or(WAKE_MAX, |wake| {
            let until = Duration::try_from(wake.duration_since(now)).unwrap_or_default();
            // A little later than the instant, so that the clock has certainly passed it.
            until.min(WAKE_MAX) + Duration::from_millis(10)
        });
        tokio::select! {
            () = context.members.changed.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// One look at one channel. Gives when it changes its mind by itself.
async fn step(
    context: &Context,
    sources: &Sources,
    channel: &ReleaseChannel,
    written: &mut HashMap<String, Written>,
    now: Timestamp,
) -> Option<Timestamp> {
    let name = channel.name_any();
    let channel = freshest(channel, written.get(&name));
    let Some(members) = context.members.of(&name, &sources.tenants.state()) else {
        debug!(channel = name, "not every tenant has had a pass yet");
        return None;
    };
    let members: Vec<&Member> = members.iter().map(AsRef::as_ref).collect();
    let releases = context.releases.state();
    let releases = releases.into_iter().map(|release| (release.name_any(), release));
    let releases = releases.filter(|(_, release)| release.spec.product == channel.spec.product);
    let approvals = sources.approvals.state();
    let approvals: Vec<&ReleaseApproval> = approvals
        .iter()
        .map(AsRef::as_ref)
        .filter(|approval| approval.spec.channel == name)
        .collect();
    let advanced = advance(&Fleet {
        channel: &channel,
        members: &members,
        releases: &releases.collect(),
        approvals: &approvals,
        now,
    });
    if is_same(channel.status.as_ref(), &advanced.status) {
        return advanced.wake;
    }
    match write(context, &channel, &advanced.status).await {
        Ok(resource_version) => {
            for event in &advanced.events {
                info!(channel = name, reason = event.reason, "{}", event.message);
                let reference = channel.object_ref(&());
                publish(&context.client, reference, event, &context.identity, now).await;
            }
            let status = advanced.status;
            written.insert(
                name,
                Written {
                    resource_version,
                    status,
                },
            );
            advanced.wake
        }
        Err(error) => {
            match refusal(&error) {
                // It is not as it was when this was decided: the watch tells how it is, and wakes.
                Refusal::Conflict | Refusal::NotFound => {
                    debug!(channel = name, %error, "the status is decided anew");
                    written.remove(&name);
                }
                _ => warn!(channel = name, %error, "the status could not be written"),
            }
            now.checked_add(AGAIN).ok()
        }
    }
}

/// The channel with the newest status that is known.
fn freshest(channel: &ReleaseChannel, written: Option<&Written>) -> ReleaseChannel {
    let mut channel = channel.clone();
    let known = channel.metadata.resource_version.clone().unwrap_or_default();
    if let Some(written) = written.filter(|written| is_newer(&written.resource_version, &known)) {
        channel.status = Some(written.status.clone());
        channel.metadata.resource_version = Some(written.resource_version.clone());
    }
    channel
}

async fn write(
    context: &Context,
    channel: &ReleaseChannel,
    status: &ReleaseChannelStatus,
) -> Result<String, kube::Error> {
    let name = channel.name_any();
    let api: Api<ReleaseChannel> = Api::all(context.client.clone());
    let body = json!({
        "apiVersion": ReleaseChannel::api_version(&()),
        "kind": ReleaseChannel::kind(&()),
        "metadata": {
            "name": name, "uid": channel.uid(), "resourceVersion": channel.resource_version(),
        },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let written = api.patch_status(&name, &params, &Patch::Apply(&body)).await?;
    Ok(written.resource_version().unwrap_or_default())
}

/// Compares in the form in which the API server keeps it.
fn is_same(before: Option<&ReleaseChannelStatus>, after: &ReleaseChannelStatus) -> bool {
    let before = before.cloned().unwrap_or_default();
    serde_json::to_value(before).ok() == serde_json::to_value(after).ok()
}

/// The tenants that a change of their channel concerns; none means all of them.
pub fn concerned(before: Option<&ReleaseChannel>, after: &ReleaseChannel) -> Option<BTreeSet<String>> {
    let before = before.filter(|before| before.spec == after.spec)?;
    let none = ReleaseChannelStatus::default();
    let (was, is) = (
        before.status.as_ref().unwrap_or(&none),
        after.status.as_ref().unwrap_or(&none),
    );
    let first = |status: &ReleaseChannelStatus| -> Vec<(String, Option<String>, Option<String>)> {
        let rings = status.rings.iter();
        rings
            .map(|ring| (ring.name.clone(), ring.stable.clone(), ring.release.clone()))
            .collect()
    };
    if first(was) != first(is) {
        return None;
    }
    let changed = |one: &ReleaseChannelStatus, other: &ReleaseChannelStatus| -> BTreeSet<String> {
        let grants = one.grants.iter().filter(|grant| !other.grants.contains(grant));
        let grants = grants.map(|grant| grant.tenant.clone());
        let known: Vec<_> = other.rings.iter().flat_map(|ring| &ring.gates).collect();
        let gates = one.rings.iter().flat_map(|ring| &ring.gates);
        let gates = gates.filter(|gate| !known.contains(gate));
        grants
            .chain(gates.filter_map(|gate| gate.tenant.clone()))
            .collect()
    };
    Some(changed(was, is).union(&changed(is, was)).cloned().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use serde_json::Value;

    use super::*;

    fn channel(status: &Value) -> ReleaseChannel {
        serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel",
            "metadata": {"name": "board", "resourceVersion": "7"},
            "spec": {"product": "board", "rings": [{"name": "dev"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn grant(tenant: &str, withdrawn: bool) -> Value {
        json!({
            "tenant": tenant, "uid": format!("uid-of-{tenant}"), "ring": "dev", "release": "board-1.1.0", "kind": "Wave",
            "at": "2027-01-15T08:00:00Z", "withdrawn": withdrawn.then_some("2027-01-15T08:00:05Z"),
        })
    }

    #[test]
    fn a_change_concerns_those_whose_grants_it_changes_and_all_when_the_ring_has_another_release() {
        let concerned = |before: &Value, after: &Value| {
            concerned(Some(&channel(before)), &channel(after))
                .map(|names| names.into_iter().collect::<Vec<_>>())
        };
        let before =
            json!({"grants": [grant("acme", false), grant("globex", false), grant("initech", false)]});
        let after =
            json!({"grants": [grant("acme", false), grant("globex", true), grant("umbrella", false)]});
        assert_eq!(
            concerned(&before, &after).unwrap(),
            ["globex", "initech", "umbrella"]
        );
        assert_eq!(concerned(&before, &before).unwrap(), [""; 0]);
        let gate = |verdict: &str| json!({"rings": [{"name": "dev", "gates": [{"name": "ui", "verdict": verdict, "tenant": "acme"}]}]});
        assert_eq!(concerned(&gate("Pending"), &gate("Passed")).unwrap(), ["acme"]);
        let stable = json!({"rings": [{"name": "dev", "stable": "board-1.1.0"}]});
        assert_eq!(concerned(&gate("Pending"), &stable), None);
        let mut paused = channel(&before);
        paused.spec.paused = true;
        assert_eq!(super::concerned(Some(&channel(&before)), &paused), None);
        assert_eq!(super::concerned(None, &channel(&before)), None);
    }

    #[test]
    fn what_was_written_last_counts_until_the_watch_knows_something_newer() {
        let mut written = Written {
            resource_version: "8".into(),
            status: serde_json::from_value(json!({"grants": [grant("acme", false)]})).unwrap(),
        };
        let seen = channel(&json!({}));
        let fresh = freshest(&seen, Some(&written));
        assert_eq!(fresh.status.unwrap().grants.len(), 1);
        assert_eq!(fresh.metadata.resource_version.unwrap(), "8");
        written.resource_version = "6".into();
        assert!(freshest(&seen, Some(&written)).status.unwrap().grants.is_empty());
    }
}
