//! The tenant's certificate authority, the gateway's certificate, and the account owner's token: what is to be minted,
//! and when it is renewed.
//!
//! In: metadata of what is there. Out: actions; the shell has the randomness. Invariant: a certificate is judged by
//! itself, never by a status; renewal is due after two thirds of its life, less a little that is a hash of the uid.

use freehold_crds::CertificateStatus;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Scene, hostnames as claims};
use crate::clock::jitter;
use crate::input::{Certificate, Input, Slot};
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::{AUTHORITY_BUNDLE, AuthorityName, EDGE_CERTIFICATE, OWNER_TOKEN};
use crate::object::Object;
use crate::outcome::{Action, Finding, Outcome, Wait};

pub const TOPIC: &str = "CertificateReady";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let minted = &scene.input.observed.minted;
    let namespace = scene.model.namespace.as_str();
    for (name, taken) in [
        (AUTHORITY_BUNDLE, minted.authority == Slot::Foreign),
        (EDGE_CERTIFICATE, minted.edge == Slot::Foreign),
        (OWNER_TOKEN, minted.owner == Slot::Foreign),
    ] {
        if taken {
            outcome.waits.push(foreign(name));
        }
    }
    if minted.owner == Slot::Absent {
        outcome.actions.push(Action::MintOwner {
            namespace: namespace.to_owned(),
        });
    }
    match &minted.authority {
        Slot::Foreign => {}
        // Its key may still be good, and everybody has its certificate: it is never replaced, and its bundle stays.
        Slot::Broken | Slot::Unread => {
            outcome.keep.insert(scene.id(Kind::ConfigMap, AUTHORITY_BUNDLE));
            if minted.authority == Slot::Broken {
                outcome.waits.push(broken(&scene));
            }
        }
        Slot::Absent => {
            outcome.actions.push(Action::MintAuthority);
            outcome.actions.extend(mint_edge(&scene));
        }
        Slot::Present(authority) => {
            outcome.objects.push(bundle(&scene, authority));
            edge(&scene, authority, &mut outcome);
        }
    }
    outcome.findings.push(finding(&scene));
    outcome.wake = [outcome.wake, end(scene.input)].into_iter().flatten().min();
    outcome
}

/// Without a class or a release: a certificate that is there is renewed as it is, with its own names and life.
pub fn renew_alone(input: &Input<'_>) -> Outcome {
    let mut outcome = Outcome {
        wake: end(input),
        ..Outcome::default()
    };
    let minted = &input.observed.minted;
    let (Some(_), Some(edge)) = (minted.authority.present(), minted.edge.present()) else {
        return outcome;
    };
    let renew_at = renewal(edge, input.tenant.metadata.uid.as_deref().unwrap_or_default());
    if input.now < renew_at {
        outcome.wake = Some(renew_at);
    } else {
        let life = edge.not_after.duration_since(edge.not_before).as_secs();
        outcome.actions.push(Action::MintEdge {
            namespace: namespace(input.tenant).as_str().to_owned(),
            dns_names: edge.dns_names.clone(),
            lifetime_seconds: u64::try_from(life).unwrap_or_default(),
        });
    }
    outcome
}

/// When users begin to be turned away, unless something is done.
fn end(input: &Input<'_>) -> Option<Timestamp> {
    let edge = input.observed.minted.edge.present()?;
    Some(edge.not_after).filter(|end| *end > input.now)
}

/// Whether the gateway's certificate has expired: clients refuse it.
pub fn is_expired(input: &Input<'_>) -> bool {
    let edge = input.observed.minted.edge.present();
    edge.is_some_and(|edge| input.now >= edge.not_after)
}

fn edge(scene: &Scene<'_>, authority: &Certificate, outcome: &mut Outcome) {
    let Slot::Present(edge) = &scene.input.observed.minted.edge else {
        if matches!(scene.input.observed.minted.edge, Slot::Absent | Slot::Broken) {
            outcome.actions.extend(mint_edge(scene));
        }
        return;
    };
    let renew_at = renewal(edge, scene.model.uid);
    if is_valid_for(scene, edge, authority) && scene.input.now < renew_at {
        outcome.wake = Some(renew_at);
    } else {
        outcome.actions.extend(mint_edge(scene));
    }
}

fn is_valid_for(scene: &Scene<'_>, edge: &Certificate, authority: &Certificate) -> bool {
    edge.dns_names == hostnames(scene) && edge.issuer == authority.fingerprint
}

/// When a certificate is renewed: two thirds of its life, less up to a twentieth by a hash of the uid.
pub fn renewal(certificate: &Certificate, uid: &str) -> Timestamp {
    let life = certificate
        .not_after
        .duration_since(certificate.not_before)
        .as_secs()
        .max(0);
    let after = SignedDuration::from_secs(life * 2 / 3) - jitter(&[uid], life / 20);
    certificate
        .not_before
        .checked_add(after)
        .unwrap_or(certificate.not_after)
}

/// For the status.
pub fn status(input: &Input<'_>) -> Option<CertificateStatus> {
    let edge = input.observed.minted.edge.present()?;
    let uid = input.tenant.metadata.uid.as_deref().unwrap_or_default();
    Some(CertificateStatus {
        not_after: Time(edge.not_after),
        renew_at: Time(renewal(edge, uid)),
        fingerprint: edge.fingerprint.clone(),
    })
}

fn finding(scene: &Scene<'_>) -> Finding {
    let minted = &scene.input.observed.minted;
    match (&minted.authority, &minted.edge) {
        (Slot::Foreign, _) | (_, Slot::Foreign) => Finding::new(
            TOPIC,
            false,
            "SecretNotOurs",
            "a Secret of another's making stands in the place of ours",
        ),
        (Slot::Broken, _) => Finding::new(
            TOPIC,
            false,
            "AuthorityBroken",
            "the Secret of the tenant's authority has no usable certificate",
        ),
        (Slot::Unread, _) | (_, Slot::Unread) => Finding::new(
            TOPIC,
            false,
            "Unread",
            "the Secrets with the certificates can't be read",
        ),
        (Slot::Present(authority), Slot::Present(edge)) if is_valid_for(scene, edge, authority) => {
            if scene.input.now >= edge.not_after {
                return Finding::new(TOPIC, false, "Expired", format!("expired at {}", edge.not_after));
            }
            Finding::new(TOPIC, true, "Ready", format!("valid until {}", edge.not_after))
        }
        _ => Finding::new(TOPIC, false, "Minting", "the certificate is being made"),
    }
}

fn hostnames(scene: &Scene<'_>) -> Vec<String> {
    let mut names: Vec<String> = claims::held(scene).into_iter().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// None while no hostname is ours.
fn mint_edge(scene: &Scene<'_>) -> Option<Action> {
    let dns_names = hostnames(scene);
    (!dns_names.is_empty()).then(|| Action::MintEdge {
        namespace: scene.model.namespace.as_str().to_owned(),
        dns_names,
        lifetime_seconds: scene.model.certificate_lifetime.as_secs(),
    })
}

/// The authority's certificate for people: `curl --cacert`.
fn bundle(scene: &Scene<'_>, authority: &Certificate) -> Object {
    let data = [("ca.crt".to_owned(), authority.pem.clone())];
    let map = ConfigMap {
        data: Some(data.into()),
        ..ConfigMap::default()
    };
    Object::declare(scene.id(Kind::ConfigMap, AUTHORITY_BUNDLE), scene.marks(), &map)
}

fn broken(scene: &Scene<'_>) -> Wait {
    let (namespace, name) = (
        &scene.input.config.keys_namespace,
        AuthorityName::of(scene.model.name),
    );
    Wait {
        reason: "AuthorityBroken",
        message: format!("the Secret {namespace}/{name} has no usable certificate in tls.crt"),
        unblocked_by: format!("put back the certificate and key that were in {namespace}/{name}"),
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
