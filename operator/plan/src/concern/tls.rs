//! The tenant's certificate authority, the certificates of both ends of each connection, and the account owner's token:
//! what is to be minted, and when it is renewed.
//!
//! In: metadata of what is there. Out: actions; the shell has the randomness. Invariants: a certificate is judged by
//! itself, never by a status; it is renewed before two thirds of its life are over, at an instant that is a hash of the uid;
//! what the holders trust is written before anything that only that vouches for.

mod constraints;
mod edge;
mod proof;
mod succession;

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::{CertificateStatus, Tier};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::constraints::{other_names, permitted};
use super::{Scene, hostnames as claims, issuer, workload};
use crate::clock::slot;
use crate::input::{Certificate, Input, Slot};
use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::model::namespace;
use crate::names::{AUTHORITY_BUNDLE, AuthorityName, DATABASE_SERVICES, OWNER_TOKEN, service_host};
use crate::object::Object;
use crate::outcome::{Action, Finding, Outcome, Wait};

pub use edge::Edges;
pub use succession::{give_up, status as authority_status, under_way};

pub const TOPIC: &str = "CertificateReady";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let needed = Needed::of(scene);
    let minted = &scene.input.observed.minted;
    let leaves = Leaf::ALL.map(|leaf| (leaf.secret(), *minted.leaf(leaf) == Slot::Foreign));
    let owner = (OWNER_TOKEN, minted.owner == Slot::Foreign);
    let taken = leaves.into_iter().chain([owner]).filter(|(_, taken)| *taken);
    outcome.waits.extend(taken.map(|(name, _)| foreign(name)));
    if minted.owner == Slot::Absent {
        outcome.actions.push(Action::MintOwner {
            namespace: scene.model.namespace.as_str().to_owned(),
        });
    }
    match &minted.authority {
        Slot::Present(authority) => with_authority(&needed, authority, &mut outcome),
        // Its key may still be good, and everybody has its certificate: it is never replaced, and its bundle stays.
        Slot::Foreign | Slot::Broken | Slot::Unread => {
            outcome.keep.insert(scene.id(Kind::ConfigMap, AUTHORITY_BUNDLE));
            outcome.waits.extend(strange(&scene));
        }
        Slot::Absent => {
            // Until there is another one.
            outcome.keep.insert(scene.id(Kind::ConfigMap, AUTHORITY_BUNDLE));
            if let Some(until) = lost(&scene) {
                outcome.waits.push(lost_until(&scene, until));
            } else {
                outcome.actions.push(Action::MintAuthority {
                    permitted: permitted(&scene),
                    lifetime_seconds: scene.model.authority_lifetime.as_secs(),
                });
                let mints = needed.leaves().into_iter().map(|leaf| needed.mint(leaf));
                outcome.actions.extend(mints);
            }
        }
    }
    outcome.add(issuer::plan(scene));
    outcome.findings.push(finding(&needed));
    outcome.wake = [outcome.wake, end(scene.input)].into_iter().flatten().min();
    outcome
}

fn with_authority(needed: &Needed<'_>, authority: &Certificate, outcome: &mut Outcome) {
    let scene = &needed.scene;
    let minted = &scene.input.observed.minted;
    let bundle = bundle(scene);
    let mut issue = [Some(authority), minted.succession.next.as_ref()]
        .into_iter()
        .flatten();
    let is_over = succession::is_over(scene);
    let other_names = issue.find_map(|authority| other_names(scene, authority));
    if let Some(permitted) = other_names.filter(|_| !is_over) {
        outcome.actions.push(Action::ReissueAuthority { permitted });
    } else {
        let roots = succession::roots(minted);
        let holds = |leaf: &Leaf| {
            let there = minted.leaf(*leaf).present();
            there.is_none_or(|there| is_beside(there, &roots))
        };
        let is_ours = |leaf: &Leaf| {
            let there = minted.leaf(*leaf).present();
            there.is_some_and(|there| there.issuer.as_ref() == Some(&authority.fingerprint))
        };
        let seen = scene.seen(Kind::ConfigMap, AUTHORITY_BUNDLE);
        let leaves = needed.leaves();
        let state = succession::State {
            permitted: permitted(scene),
            is_published: leaves.iter().all(holds) && seen.is_some_and(|seen| bundle.is_settled(&seen.live)),
            is_issued: leaves.iter().all(is_ours),
        };
        succession::plan(scene, authority, &state, outcome);
        if !is_over && !succession::is_changing_hands(scene) {
            for leaf in leaves {
                keep_good(needed, authority, leaf, outcome);
            }
        }
    }
    outcome.objects.push(bundle);
}

/// Whether the roots beside a certificate are these, in whichever order.
fn is_beside(there: &Certificate, roots: &BTreeSet<&str>) -> bool {
    there.roots.iter().map(String::as_str).collect::<BTreeSet<_>>() == *roots
}

/// Without a class or a release: certificates that are there are renewed as they are, with their own names and lives.
pub fn renew_alone(input: &Input<'_>) -> Outcome {
    let mut outcome = Outcome {
        wake: end(input),
        ..Outcome::default()
    };
    let authority = input.observed.minted.authority.present();
    let Some(authority) = authority.filter(|authority| input.now < authority.not_after) else {
        return outcome;
    };
    // What is found again of a hostname that was given up may be outside of what the authority is for by now.
    let is_within = |(leaf, certificate): &(Leaf, &Certificate)| {
        let mut names = certificate.dns_names.iter();
        !matches!(leaf, Leaf::Edge(_)) || names.all(|name| authority.permitted.contains(name))
    };
    for (leaf, certificate) in used(input).filter(is_within) {
        let renew_at = renewal(certificate, uid(input), leaf);
        if input.now < renew_at {
            outcome.wake = [outcome.wake, Some(renew_at)].into_iter().flatten().min();
            continue;
        }
        let life = certificate
            .not_after
            .duration_since(certificate.not_before)
            .as_secs();
        outcome.actions.push(Action::MintCertificate {
            leaf,
            namespace: namespace(input.tenant).as_str().to_owned(),
            dns_names: certificate.dns_names.clone(),
            lifetime_seconds: u64::try_from(life).unwrap_or_default(),
        });
    }
    outcome
}

/// The certificates that are there and of use to anybody.
fn used<'a>(input: &Input<'a>) -> impl Iterator<Item = (Leaf, &'a Certificate)> + use<'a> {
    let edges = Edges::of(input);
    let minted = &input.observed.minted;
    let leaves = Leaf::ALL.into_iter().filter(move |leaf| match leaf {
        Leaf::Edge(slot) => edges.is_used(*slot),
        _ => true,
    });
    leaves.filter_map(|leaf| Some((leaf, minted.leaf(leaf).present()?)))
}

fn uid<'a>(input: &'a Input<'_>) -> &'a str {
    input.tenant.metadata.uid.as_deref().unwrap_or_default()
}

/// Until when an authority that is gone is waited for: what it has issued is shown and trusted so long, and nothing that another one issues would be.
/// Somebody may say that it is not to be waited for.
fn lost(scene: &Scene<'_>) -> Option<Timestamp> {
    let ends = used(scene.input).map(|(_, certificate)| certificate.not_after);
    let first = ends.min().filter(|end| *end > scene.input.now)?;
    (!succession::is_compromised(scene)).then_some(first)
}

/// When somebody begins to be turned away, unless something is done.
fn end(input: &Input<'_>) -> Option<Timestamp> {
    let ends = used(input).map(|(_, certificate)| certificate.not_after);
    ends.filter(|end| *end > input.now).min()
}

/// Whether what the gateway shows for a hostname has expired: clients refuse it.
pub fn is_expired(input: &Input<'_>) -> bool {
    Edges::of(input).is_expired(input)
}

/// Whether the database's own certificates are there: CloudNativePG can't begin without them.
pub fn database_may_start(scene: &Scene<'_>) -> bool {
    let minted = &scene.input.observed.minted;
    let mut leaves = Leaf::ALL.into_iter().filter(|leaf| leaf.is_for_database());
    leaves.all(|leaf| minted.leaf(leaf).present().is_some())
}

/// Renews a certificate, or makes it anew, or hands out what its holder is to trust.
fn keep_good(needed: &Needed<'_>, authority: &Certificate, leaf: Leaf, outcome: &mut Outcome) {
    let scene = &needed.scene;
    let there = match scene.input.observed.minted.leaf(leaf) {
        Slot::Present(there) => there,
        Slot::Absent | Slot::Broken => return outcome.actions.push(needed.mint(leaf)),
        Slot::Foreign | Slot::Unread => return,
    };
    let renew_at = renewal(there, scene.model.uid, leaf);
    let is_ours = there.issuer.as_ref() == Some(&authority.fingerprint);
    let is_revoked = !is_ours && succession::is_revoked(scene);
    if there.dns_names != needed.dns_names(leaf) || scene.input.now >= renew_at || is_revoked {
        outcome.actions.push(needed.mint(leaf));
    } else if !is_beside(there, &succession::roots(&scene.input.observed.minted)) {
        // The roots alone: whether one of them has signed what is there is seen then.
        outcome.actions.push(Action::ShareRoots {
            leaf,
            namespace: scene.model.namespace.as_str().to_owned(),
        });
    } else if !is_ours {
        outcome.actions.push(needed.mint(leaf));
    } else {
        outcome.wake = [outcome.wake, Some(renew_at)].into_iter().flatten().min();
    }
}

/// When a certificate is renewed: before two thirds of its life are over, at an instant that comes round by a hash of the uid.
/// So those that were issued at one time are spread when they are first renewed, and stay so, each a little over 0.6 lives
/// after the one before.
pub fn renewal(certificate: &Certificate, uid: &str, leaf: Leaf) -> Timestamp {
    let life = certificate
        .not_after
        .duration_since(certificate.not_before)
        .as_secs()
        .max(0);
    let latest = SignedDuration::from_secs(life * 2 / 3);
    let Ok(latest) = certificate.not_before.checked_add(latest) else {
        return certificate.not_after;
    };
    slot(&[uid, leaf.secret()], latest, life * 2 / 3 - too_young(life))
}

/// How many seconds a certificate is not renewed in the beginning, whatever comes round: it is valid since a minute before it was
/// issued, and one that is issued where its time comes round must not be renewed at once.
fn too_young(life: i64) -> i64 {
    (life / 20).max(120)
}

/// For the status.
pub fn status(input: &Input<'_>) -> Vec<CertificateStatus> {
    let status = |(leaf, certificate): (Leaf, &Certificate)| CertificateStatus {
        name: leaf.secret().to_owned(),
        not_after: Time(certificate.not_after),
        renew_at: Time(renewal(certificate, uid(input), leaf)),
        fingerprint: Some(certificate.fingerprint.clone()),
    };
    let own = used(input).map(status);
    own.chain(issuer::status(input)).collect()
}

fn finding(needed: &Needed<'_>) -> Finding {
    let scene = &needed.scene;
    let says = |reason: &'static str, message: String| Finding::new(TOPIC, false, reason, message);
    let minted = &scene.input.observed.minted;
    let leaves: BTreeMap<Leaf, &Slot<Certificate>> = needed
        .leaves()
        .into_iter()
        .map(|leaf| (leaf, minted.leaf(leaf)))
        .collect();
    let missed = needed.edges.missed();
    let stands = |there: Slot<Certificate>| leaves.values().chain(&missed).any(|slot| **slot == there);
    if minted.authority == Slot::Foreign || stands(Slot::Foreign) {
        let message = "a Secret of another's making stands in the place of ours";
        return says("SecretNotOurs", message.to_owned());
    }
    if minted.authority == Slot::Broken {
        let message = "the Secret of the tenant's authority has no usable certificate";
        return says("AuthorityBroken", message.to_owned());
    }
    if minted.authority == Slot::Absent && lost(scene).is_some() {
        return says(
            "AuthorityLost",
            "the Secret of the tenant's authority is gone".to_owned(),
        );
    }
    if minted.authority == Slot::Unread || stands(Slot::Unread) {
        return says(
            "Unread",
            "the Secrets with the certificates can't be read".to_owned(),
        );
    }
    let trusted = succession::roots(minted);
    let is_good = |(leaf, slot): (&Leaf, &&Slot<Certificate>)| {
        let Some(there) = slot.present() else {
            return false;
        };
        let issuer = there.issuer.as_deref();
        there.dns_names == needed.dns_names(*leaf) && issuer.is_some_and(|issuer| trusted.contains(issuer))
    };
    if leaves.is_empty() || !missed.is_empty() || !leaves.iter().all(is_good) {
        return says("Minting", "a certificate is being made".to_owned());
    }
    let there = leaves
        .iter()
        .filter_map(|(leaf, slot)| Some((*leaf, slot.present()?)));
    let Some((first, certificate)) = there.min_by_key(|(_, certificate)| certificate.not_after) else {
        return says("Minting", "a certificate is being made".to_owned());
    };
    let (name, end) = (first.secret(), certificate.not_after);
    if scene.input.now >= end {
        return says("Expired", format!("{name} expired at {end}"));
    }
    if let Some(finding) = issuer::lacking(scene) {
        return finding;
    }
    let message = format!(
        "{} certificates; {name} is the first to end, at {end}",
        leaves.len()
    );
    Finding::new(TOPIC, true, "Ready", message)
}

/// What the pods of a new release would lack: a certificate of their tier that bears their names, and isn't over.
pub fn lacking(scene: &Scene<'_>) -> Option<String> {
    let needed = Needed::of(*scene);
    let is_good = |leaf: Leaf| {
        let there = scene.input.observed.minted.leaf(leaf).present();
        there.is_some_and(|there| {
            there.dns_names == needed.dns_names(leaf) && there.not_after > scene.input.now
        })
    };
    let parts = scene.model.components.iter();
    let mut leaves = parts.map(|part| Leaf::of(part.component.tier));
    let lacking = leaves.find(|leaf| !is_good(*leaf))?;
    Some(format!(
        "the certificate {} for its pods is being made",
        lacking.secret()
    ))
}

/// The certificates that a tenant needs.
struct Needed<'a> {
    scene: Scene<'a>,
    edges: Edges<'a>,
}

impl<'a> Needed<'a> {
    fn of(scene: Scene<'a>) -> Self {
        let edges = Edges::of(scene.input);
        Self { scene, edges }
    }

    /// For the gateway one for each hostname that is ours.
    fn leaves(&self) -> Vec<Leaf> {
        let mut parts = self.scene.model.components.iter();
        let has_workers = parts.any(|part| part.component.tier == Tier::Worker);
        let is_needed = |leaf: &Leaf| match leaf {
            Leaf::Edge(slot) => self.edges.is_taken(*slot),
            Leaf::Worker => has_workers,
            // The release's jobs show that of the application tier.
            Leaf::Web | Leaf::Application | Leaf::Database | Leaf::Replication => true,
        };
        Leaf::ALL.into_iter().filter(is_needed).collect()
    }

    /// The names in a certificate: sorted, and fully qualified, for short ones are none of the authority's subtrees.
    fn dns_names(&self, leaf: Leaf) -> Vec<String> {
        let namespace = self.scene.model.namespace.as_str();
        let of_tier = |tier: Tier| {
            let services = workload::services(&self.scene, tier).into_iter();
            services.map(|name| service_host(&name, namespace)).collect()
        };
        let mut names: Vec<String> = match leaf {
            Leaf::Edge(slot) => return self.edges.names(slot),
            Leaf::Web => of_tier(Tier::Web),
            Leaf::Application => of_tier(Tier::Application),
            Leaf::Worker => of_tier(Tier::Worker),
            Leaf::Database => DATABASE_SERVICES
                .iter()
                .map(|name| service_host(name, namespace))
                .collect(),
            Leaf::Replication => Vec::new(),
        };
        names.sort();
        names
    }

    fn mint(&self, leaf: Leaf) -> Action {
        let model = self.scene.model;
        Action::MintCertificate {
            leaf,
            namespace: model.namespace.as_str().to_owned(),
            dns_names: self.dns_names(leaf),
            lifetime_seconds: model.certificate_lifetime.as_secs(),
        }
    }
}

/// The names that the gateway is asked for.
pub fn hostnames(scene: &Scene<'_>) -> Vec<String> {
    let mut names: Vec<String> = claims::held(scene.input).into_iter().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// The roots for people (`curl --cacert`) and for the gateway.
fn bundle(scene: &Scene<'_>) -> Object {
    let trusted = scene.input.observed.minted.trusted();
    let text = trusted.map(|root| root.pem.as_str()).collect();
    let data = [("ca.crt".to_owned(), text)];
    let map = ConfigMap {
        data: Some(data.into()),
        ..ConfigMap::default()
    };
    Object::declare(scene.id(Kind::ConfigMap, AUTHORITY_BUNDLE), scene.marks(), &map)
}

/// The Secret of the authority, for people.
fn place(scene: &Scene<'_>) -> String {
    let namespace = &scene.input.config.keys_namespace;
    format!("{namespace}/{}", AuthorityName::of(scene.model.name))
}

/// An authority that can't be used as it is.
fn strange(scene: &Scene<'_>) -> Option<Wait> {
    let place = place(scene);
    let (reason, message, unblocked_by) = match scene.input.observed.minted.authority {
        Slot::Broken => (
            "AuthorityBroken",
            format!("the Secret {place} has no usable certificate in tls.crt"),
            format!("put back the certificate and key that were in {place}"),
        ),
        Slot::Foreign if used(scene.input).next().is_some() => (
            "SecretNotOurs",
            format!("the Secret {place} does not bear the mark of this life of the tenant"),
            format!(
                "put {place} back as it was, its annotations too; deleting it would end the tenant's authority"
            ),
        ),
        Slot::Foreign => (
            "SecretNotOurs",
            format!("the Secret {place} exists and was not minted for this tenant"),
            format!("look where {place} comes from, and delete it"),
        ),
        _ => return None,
    };
    Some(Wait {
        reason,
        message,
        unblocked_by,
        stalls: true,
    })
}

fn lost_until(scene: &Scene<'_>, until: Timestamp) -> Wait {
    let place = place(scene);
    Wait {
        reason: "AuthorityLost",
        message: format!(
            "the Secret {place} is gone: what the authority has issued is trusted until {until}, and nothing is renewed; then another authority takes \
             its place"
        ),
        unblocked_by: format!(
            "put {place} back; or a new word in spec.certificates.revokeAuthority: another authority takes its place at once, the tiers are interrupted \
             until they have read their files, and clients need the new ca.crt"
        ),
        stalls: true,
    }
}

fn foreign(name: &str) -> Wait {
    Wait {
        reason: "SecretNotOurs",
        message: format!("the Secret for {name} exists and was not minted for this tenant"),
        unblocked_by: "look where that Secret comes from, and delete it".to_owned(),
        stalls: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::EdgeSlot;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const NOON: i64 = 1_800_000_000;

    fn issued(at: i64, life: i64) -> Certificate {
        let time = |seconds| Timestamp::from_second(seconds).unwrap();
        Certificate {
            fingerprint: String::new(),
            issuer: None,
            roots: Vec::new(),
            // As they are issued: a minute back, for clocks differ.
            not_before: time(NOON + at - MINUTE),
            not_after: time(NOON + at - MINUTE + life),
            dns_names: Vec::new(),
            permitted: Vec::new(),
            pem: String::new(),
        }
    }

    /// When each of some tenants' certificates is renewed, all issued at one time, in seconds since then, until `end`.
    fn renewals(tenants: usize, life: i64, end: i64) -> Vec<i64> {
        let mut all = Vec::new();
        for tenant in 0..tenants {
            let mut at = 0;
            loop {
                let certificate = issued(at, life);
                let renew_at = renewal(
                    &certificate,
                    &format!("uid-{tenant}"),
                    Leaf::Edge(EdgeSlot::FIRST),
                );
                let next = renew_at.as_second() - NOON;
                assert!(next > at && next - at <= life * 2 / 3, "{at} -> {next} of {life}");
                if next >= end {
                    break;
                }
                all.push(next);
                at = next;
            }
        }
        all
    }

    /// The most in any `span` of seconds of a grid, and the mean.
    fn most(renewals: &[i64], span: i64, end: i64) -> (usize, f64) {
        let mut counts = vec![0_usize; usize::try_from(end / span).unwrap()];
        for at in renewals {
            counts[usize::try_from(at / span).unwrap()] += 1;
        }
        let mean = renewals.len() as f64 / counts.len() as f64;
        (counts.into_iter().max().unwrap(), mean)
    }

    #[test]
    fn ten_thousand_certificates_issued_at_once_are_never_renewed_at_more_than_twice_the_mean() {
        // By the minute where there are enough of them in one. Few come in any number, whatever spreads them: of 1.6 a minute, the
        // default life's mean, more than 3.2 are to be expected in every tenth minute (Poisson).
        for (life, span) in [
            (10 * MINUTE, MINUTE),
            (4 * HOUR, MINUTE),
            (24 * HOUR, HOUR),
            (168 * HOUR, HOUR),
        ] {
            let end = life * 6 / span * span;
            let (most, mean) = most(&renewals(10_000, life, end), span, end);
            println!("a life of {life} s: at most {most} renewals in {span} s, {mean:.1} in the mean");
            assert!(most as f64 <= 2.0 * mean, "{most} > 2 * {mean}");
        }
    }
}
