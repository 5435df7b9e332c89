//! The five conditions that sum a tenant up, from what the concerns found and what is waited for.
//!
//! `Ready`, `Reconciling` and `Stalled` follow kstatus. `Serving` is told from what runs, apart from `UpToDate`: a failed
//! upgrade whose old version still serves is not an outage.

use crate::concern::{gateway, migration, tls, workload};
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
    let ready = ready(findings, wait);
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

fn ready(findings: &[Finding], wait: Option<&Wait>) -> Finding {
    let lacking = findings.iter().find(|finding| finding.truth != Some(true));
    match (wait, lacking) {
        (Some(wait), _) => Finding::new("Ready", false, wait.reason, wait.message.clone()),
        (None, Some(lacking)) => Finding::new("Ready", false, lacking.reason, lacking.message.clone()),
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
    let holds = |topic: &str| findings.iter().any(|f| f.topic == topic && f.truth == Some(true));
    let applied = findings.iter().all(|f| f.reason != APPLYING);
    match (applied && holds(workload::TOPIC) && holds(migration::TOPIC), wait) {
        (_, Some(wait)) => Finding::new("UpToDate", false, wait.reason, wait.message.clone()),
        (true, None) => Finding::new("UpToDate", true, "UpToDate", "what runs is what was asked for"),
        (false, None) => Finding::new(
            "UpToDate",
            false,
            "RollingOut",
            "what was asked for is being rolled out",
        ),
    }
}
