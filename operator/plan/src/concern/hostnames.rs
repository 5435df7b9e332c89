//! One hostname belongs to one tenant of the cluster: a claim for each, in the operator's namespace.
//!
//! In: the claims that are known. Out: claims to take, to keep and to give up. A create that meets another's claim is
//! refused by the API server itself, which is what makes a name unique. Invariant: nothing is served under a name whose
//! claim another holds.

use freehold_crds::{ClaimState, HostnameClaimSpec};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use super::Scene;
use crate::clock::{soon, stamp};
use crate::input::Input;
use crate::kind::Kind;
use crate::model::incarnation;
use crate::names::ClaimName;
use crate::object::{Id, Marks, Object};
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::{Facts, Seen};

pub const TOPIC: &str = "HostnamesClaimed";

#[derive(Serialize)]
struct Claim {
    spec: HostnameClaimSpec,
}

/// The claims of the names that are asked for; those that are no longer are given up.
pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut missing = Vec::new();
    let held = held(scene.input);
    let mut wanted = Vec::new();
    for hostname in &scene.model.tenant.spec.hostnames {
        let id = id(scene.input, hostname);
        wanted.push(id.clone());
        if held.contains(&hostname.as_str()) {
            outcome.objects.push(claim(scene.input, id, hostname, None));
        } else {
            outcome.waits.push(taken(hostname));
            let stranger = scene.input.observed.strangers.get(&id);
            outcome.wake_at(stranger.map(|stranger| stranger.look_again));
            missing.push(hostname.as_str());
        }
    }
    outcome.add(given_up(scene.input, &wanted));
    outcome.findings.push(if missing.is_empty() {
        Finding::new(TOPIC, true, "Claimed", "every hostname belongs to this tenant")
    } else {
        let message = format!("not this tenant's: {}", missing.join(", "));
        Finding::new(TOPIC, false, "HostnameTaken", message)
    });
    outcome
}

/// The names that are asked for and that nobody else is known to hold. Their claims are written before anything is served
/// under them, and a claim that turns out to be another's ends the pass.
pub fn held<'a>(input: &Input<'a>) -> Vec<&'a str> {
    let is_free = |id: &Id| !input.observed.strangers.contains_key(id) && !is_anothers(input, id);
    let names = input.tenant.spec.hostnames.iter().map(String::as_str);
    names.filter(|name| is_free(&id(input, name))).collect()
}

/// Claims of this tenant on other names than these, as given up. They stay as tombstones.
pub fn given_up(input: &Input<'_>, wanted: &[Id]) -> Outcome {
    let ours = input
        .observed
        .objects
        .iter()
        .filter(|(id, _)| id.kind == Kind::HostnameClaim);
    let unwanted = ours.filter(|(id, _)| !wanted.contains(id) && is_held(input, id));
    let mut outcome = Outcome::of(
        unwanted
            .filter_map(|(id, seen)| match &seen.facts {
                Facts::Claim { hostname, .. } => {
                    Some(claim(input, id.clone(), hostname, Some(stamp(input.now))))
                }
                _ => None,
            })
            .collect(),
    );
    if !outcome.objects.is_empty() {
        outcome.wake_at(soon(input.now));
    }
    outcome
}

/// Whether a claim that is known may be taken by a tenant: one that a tenant of its name holds or held (names of Tenants are
/// unique, so that is nobody else), or one that was given up long ago.
pub fn is_takeable(facts: &Facts, tenant: &str, hold: jiff::SignedDuration, now: Timestamp) -> bool {
    let Facts::Claim {
        tenant: holder,
        given_up_at,
        ..
    } = facts
    else {
        return false;
    };
    let over = |at: &Timestamp| at.checked_add(hold).is_ok_and(|until| until <= now);
    holder == tenant || given_up_at.as_ref().is_some_and(over)
}

fn is_anothers(input: &Input<'_>, id: &Id) -> bool {
    let hold = input.config.hostname_hold;
    seen(input, id).is_some_and(|seen| !is_takeable(&seen.facts, name(input), hold, input.now))
}

/// Whatever life of the tenant took it.
fn is_held(input: &Input<'_>, id: &Id) -> bool {
    seen(input, id).is_some_and(
        |seen| matches!(&seen.facts, Facts::Claim { tenant, given_up_at: None, .. } if tenant == name(input)),
    )
}

fn seen<'a>(input: &'a Input<'_>, id: &Id) -> Option<&'a Seen> {
    input.observed.objects.get(id)
}

fn name<'a>(input: &'a Input<'_>) -> &'a str {
    input.tenant.metadata.name.as_deref().unwrap_or_default()
}

fn id(input: &Input<'_>, hostname: &str) -> Id {
    Id {
        kind: Kind::HostnameClaim,
        namespace: input.config.operator_namespace.clone(),
        name: ClaimName::of(hostname).as_str().to_owned(),
    }
}

fn claim(input: &Input<'_>, id: Id, hostname: &str, given_up_at: Option<Timestamp>) -> Object {
    let spec = HostnameClaimSpec {
        hostname: hostname.to_owned(),
        tenant: name(input).to_owned(),
        incarnation: incarnation(input),
        state: if given_up_at.is_some() {
            ClaimState::GivenUp
        } else {
            ClaimState::Held
        },
        given_up_at: given_up_at.map(Time),
    };
    Object::declare(id, Marks::of(name(input)), &Claim { spec })
}

/// Who holds it is not said: the customer of one tenant need not learn of another.
fn taken(hostname: &str) -> Wait {
    Wait {
        reason: "HostnameTaken",
        message: format!("the hostname {hostname} belongs to another tenant, or did until a short while ago"),
        unblocked_by: format!(
            "name another hostname; `kubectl get hostnameclaims -A` shows who holds {hostname}, and deleting a claim \
             that was given up sets its name free"
        ),
        stalls: true,
    }
}
