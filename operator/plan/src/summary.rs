//! The five conditions that sum a tenant up, from what the concerns found and what is waited for.
//!
//! `Ready`, `Reconciling` and `Stalled` follow kstatus. `Serving` is told from what runs, apart from `UpToDate`: a failed
//! upgrade whose old version still serves is not an outage.

use freehold_crds::DesiredState;

use crate::concern::{class, gateway, migration, termination, tls, upgrade, workload};
use crate::input::Input;
use crate::model::Model;
use crate::outcome::{APPLYING, Finding, Wait};

/// The five, in the order in which they are shown.
pub fn summarise(
    input: &Input<'_>,
    model: Option<&Model<'_>>,
    findings: &[Finding],
    waits: &[Wait],
) -> [Finding; 5] {
    let stalled = waits.iter().find(|wait| wait.stalls);
    // What is waited for without stalling keeps a tenant from being what was asked for, too.
    let wait = stalled.or(waits.first());
    let ready = ready(input, model, findings, wait);
    let reconciling = if ready.truth == Some(true) || stalled.is_some() {
        Finding::new("Reconciling", false, "Idle", "nothing is under way")
    } else {
        Finding::new("Reconciling", true, ready.reason, ready.message.clone())
    };
    [
        ready,
        reconciling,
        stalls(stalled),
        serving(input, model),
        up_to_date(findings, wait),
    ]
}

fn ready(input: &Input<'_>, model: Option<&Model<'_>>, findings: &[Finding], wait: Option<&Wait>) -> Finding {
    let lacking = findings
        .iter()
        .find(|finding| finding.counts && finding.truth != Some(true));
    let terminated = input.tenant.spec.desired_state == DesiredState::Terminated;
    match (wait, lacking) {
        (Some(wait), _) => Finding::new("Ready", false, wait.reason, wait.message.clone()),
        (None, Some(lacking)) => Finding::new("Ready", false, lacking.reason, lacking.message.clone()),
        (None, None) if terminated => {
            let keys = findings
                .iter()
                .find(|finding| finding.topic == termination::TOPIC);
            let keys = keys.map_or("the data is kept", |finding| finding.message.as_str());
            let message = format!("nothing runs and nobody gets in; {keys}");
            Finding::new("Ready", true, "Terminated", message)
        }
        (None, None) if model.is_some_and(|model| model.suspended) => Finding::new(
            "Ready",
            true,
            "Suspended",
            "nothing runs, as it was asked for; the data is kept",
        ),
        (None, None) => Finding::new("Ready", true, "Ready", "everything runs as it was asked for"),
    }
}

fn stalls(stalled: Option<&Wait>) -> Finding {
    match stalled {
        Some(wait) => {
            let message = format!("unblocked by: {}", wait.unblocked_by);
            Finding::new("Stalled", true, wait.reason, message)
        }
        None => Finding::new(
            "Stalled",
            false,
            "Progressing",
            "nothing waits for anybody's deed",
        ),
    }
}

fn serving(input: &Input<'_>, model: Option<&Model<'_>>) -> Finding {
    if model.is_some_and(|model| model.suspended) {
        let (reason, message) = match input.tenant.spec.desired_state {
            DesiredState::Active => (
                "TenantKeyDestroyed",
                "nothing can be started without the tenant key",
            ),
            DesiredState::Suspended => ("Suspended", "spec.desiredState is Suspended"),
            DesiredState::Terminated => ("Terminated", "spec.desiredState is Terminated"),
        };
        return Finding::new("Serving", false, reason, message);
    }
    match (workload::serves(input, model), gateway::routed(input)) {
        (true, true) if tls::is_expired(input) => Finding::new(
            "Serving",
            false,
            "CertificateExpired",
            "the certificate at the gateway has expired: clients refuse it",
        ),
        (true, true) => Finding::new("Serving", true, "Serving", "users are served"),
        (true, false) => Finding::new(
            "Serving",
            false,
            "NoRoute",
            "the product runs, but no route leads to it",
        ),
        (false, _) => Finding::new("Serving", false, "NoPods", "a tier has no pod that can answer"),
    }
}

fn up_to_date(findings: &[Finding], wait: Option<&Wait>) -> Finding {
    const TOPIC: &str = "UpToDate";
    if let Some(wait) = wait {
        return Finding::new(TOPIC, false, wait.reason, wait.message.clone());
    }
    let drift = findings
        .iter()
        .find(|finding| finding.topic == class::TOPIC && finding.truth == Some(false));
    if let Some(drift) = drift {
        return Finding::new(TOPIC, false, drift.reason, drift.message.clone());
    }
    let other = findings
        .iter()
        .find(|finding| finding.topic == upgrade::TOPIC && finding.truth == Some(false));
    if let Some(other) = other {
        return Finding::new(TOPIC, false, other.reason, other.message.clone());
    }
    let holds = |topic: &str| findings.iter().any(|f| f.topic == topic && f.truth == Some(true));
    let applied = findings.iter().all(|f| f.reason != APPLYING);
    if applied && holds(workload::TOPIC) && holds(migration::TOPIC) {
        Finding::new(TOPIC, true, "UpToDate", "what runs is what was asked for")
    } else {
        Finding::new(
            TOPIC,
            false,
            "RollingOut",
            "what was asked for is being rolled out",
        )
    }
}
