//! The gateway's certificate from an issuer of the platform, where the class names one: a `Certificate` of cert-manager.
//!
//! In: what cert-manager says of it, and what the gateway shows. Out: the Certificate, which Secret each hostname is shown
//! with, and what is waited for. Invariants: a hostname is shown with what was issued only when cert-manager says that it is
//! valid for it, and from then on as long as it lasts, through renewals and changes; with the tenant's own certificate, which is
//! kept good all the while, before and after. The issued Secret is never read: its key is cert-manager's.

use freehold_crds::{CertificateStatus, IssuerRef};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Scene, gateway, tls};
use crate::foreign::cert_manager::{Certificate, CertificateSpec, Issuer, PrivateKey};
use crate::input::Input;
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::ISSUED_CERTIFICATE;
use crate::object::Object;
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::{Facts, Seen};

/// The one Certificate.
const NAME: &str = "edge";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let (Some(issuer), names) = (scene.model.issuer, tls::hostnames(&scene)) else {
        return Outcome::default();
    };
    if names.is_empty() {
        return Outcome::default();
    }
    if is_unknown(scene.input) {
        return Outcome {
            waits: vec![not_installed(issuer)],
            ..Outcome::default()
        };
    }
    let id = scene.id(Kind::Certificate, NAME);
    let mut outcome = Outcome::of(vec![Object::declare(
        id,
        scene.marks(),
        &certificate(issuer, names),
    )]);
    outcome.waits.extend(not_ready(&scene, issuer));
    // What is shown then is another.
    outcome.wake_at(end(scene.input).filter(|end| *end > scene.input.now));
    outcome
}

fn certificate(issuer: &IssuerRef, dns_names: Vec<String>) -> Certificate {
    Certificate {
        spec: CertificateSpec {
            secret_name: ISSUED_CERTIFICATE,
            dns_names,
            issuer_ref: Issuer {
                name: issuer.name.clone(),
                kind: issuer.kind.clone(),
                group: issuer.group.clone(),
            },
            private_key: PrivateKey {
                algorithm: "ECDSA",
                size: 256,
                rotation_policy: "Always",
            },
            usages: vec!["digital signature", "server auth"],
        },
    }
}

/// The Secret with which the gateway serves a hostname; none as long as there is nothing to show for it.
pub fn shown(scene: &Scene<'_>, edges: &tls::Edges<'_>, hostname: &str) -> Option<&'static str> {
    let input = scene.input;
    let own = || edges.shown(hostname);
    let over = end(input).is_some_and(|end| input.now >= end);
    if scene.model.issuer.is_none() || is_unknown(input) || over {
        return own();
    }
    let is_issued = is_ready(input) && asked_for(input, hostname);
    // Once shown it stays: while names change or a renewal fails, what is in the Secret goes on being valid for this one.
    let is_shown = || gateway::shown(input).any(|shown| shown == (hostname, ISSUED_CERTIFICATE));
    if is_issued || is_shown() {
        Some(ISSUED_CERTIFICATE)
    } else {
        own()
    }
}

/// When what was issued ends to be valid, as far as cert-manager says.
pub fn end(input: &Input<'_>) -> Option<Timestamp> {
    match &seen(input, Kind::Certificate, NAME)?.facts {
        Facts::Issued { not_after, .. } => *not_after,
        _ => None,
    }
}

/// For the status.
pub fn status(input: &Input<'_>) -> Option<CertificateStatus> {
    let Facts::Issued {
        not_after, renew_at, ..
    } = &seen(input, Kind::Certificate, NAME)?.facts
    else {
        return None;
    };
    let not_after = (*not_after)?;
    Some(CertificateStatus {
        name: ISSUED_CERTIFICATE.to_owned(),
        not_after: Time(not_after),
        renew_at: Time(renew_at.unwrap_or(not_after)),
        fingerprint: None,
    })
}

/// What keeps the gateway from having a certificate of the issuer.
pub fn lacking(scene: &Scene<'_>) -> Option<Finding> {
    let issuer = scene.model.issuer?;
    let wait = if is_unknown(scene.input) {
        Some(not_installed(issuer))
    } else {
        not_ready(scene, issuer)
    };
    wait.map(|wait| Finding::new(tls::TOPIC, false, wait.reason, wait.message))
}

fn not_ready(scene: &Scene<'_>, issuer: &IssuerRef) -> Option<Wait> {
    if is_ready(scene.input) {
        return None;
    }
    let IssuerRef { name, kind, .. } = issuer;
    let said = match seen(scene.input, Kind::Certificate, NAME).map(|seen| &seen.facts) {
        Some(Facts::Issued { message, .. }) if !message.is_empty() => message.as_str(),
        _ => "no word from cert-manager yet",
    };
    let namespace = scene.model.namespace.as_str();
    Some(Wait {
        reason: "IssuerNotReady",
        message: format!("the {kind} {name} has issued no certificate for the hostnames as they are: {said}"),
        unblocked_by: format!(
            "an issuance: kubectl describe certificate {NAME} -n {namespace} and its CertificateRequest say what it lacks; until then the gateway shows what it has"
        ),
        // cert-manager goes on trying.
        stalls: false,
    })
}

fn not_installed(issuer: &IssuerRef) -> Wait {
    let IssuerRef { name, kind, .. } = issuer;
    Wait {
        reason: "CertManagerMissing",
        message: format!("the class names the {kind} {name}, and the cluster knows no certificates.cert-manager.io"),
        unblocked_by: "install cert-manager, or take certificates.issuer out of the class; until then the gateway shows the \
                       tenant's own certificate"
            .to_owned(),
        stalls: true,
    }
}

fn is_unknown(input: &Input<'_>) -> bool {
    input.observed.unknown.contains(&Kind::Certificate)
}

fn is_ready(input: &Input<'_>) -> bool {
    seen(input, Kind::Certificate, NAME)
        .is_some_and(|seen| !seen.ending && matches!(seen.facts, Facts::Issued { ready: true, .. }))
}

fn asked_for(input: &Input<'_>, hostname: &str) -> bool {
    let names =
        seen(input, Kind::Certificate, NAME).and_then(|seen| seen.live["spec"]["dnsNames"].as_array());
    names.is_some_and(|names| names.iter().any(|name| name == hostname))
}

fn seen<'a>(input: &Input<'a>, kind: Kind, name: &str) -> Option<&'a Seen> {
    input.observed.get(kind, namespace(input.tenant).as_str(), name)
}
