//! Who has said what of a release.

use std::collections::BTreeSet;

use freehold_crds::{Decision, RequiredApproval};

use super::Fleet;

/// What came of the words of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Given,
    /// What is lacking.
    Waits(String),
    /// By whom.
    Rejected(String),
}

/// Whether a release has the approval that is required for a ring, or for a gate of it.
pub fn word(
    fleet: &Fleet<'_>,
    ring: &str,
    gate: Option<&str>,
    release: &str,
    required: &RequiredApproval,
) -> Word {
    let about = |approval: &&freehold_crds::ReleaseApproval| {
        let spec = &approval.spec;
        spec.ring == ring
            && spec.release == release
            && spec.gate.as_deref() == gate
            && spec.groups.iter().any(|group| required.groups.contains(group))
            && approval.metadata.deletion_timestamp.is_none()
    };
    let about: Vec<_> = fleet.approvals.iter().copied().filter(about).collect();
    if let Some(no) = about
        .iter()
        .find(|approval| approval.spec.decision == Decision::Reject)
    {
        return Word::Rejected(no.spec.approver.clone());
    }
    let source = fleet
        .releases
        .get(release)
        .and_then(|found| found.spec.source.as_ref());
    let Some(author) = source.and_then(|source| source.author.as_deref()) else {
        return Word::Waits(format!(
            "an approval of {release}, which counts for nothing as long as the release doesn't say in source.author whose it is: publish it anew with \
             its author"
        ));
    };
    let others = about.iter().map(|approval| approval.spec.approver.as_str());
    let others: BTreeSet<&str> = others.filter(|approver| *approver != author).collect();
    let wanted = usize::try_from(required.required).unwrap_or(1).max(1);
    if others.len() >= wanted {
        return Word::Given;
    }
    let gate = gate.map_or_else(String::new, |gate| format!(" for the gate {gate}"));
    Word::Waits(format!(
        "{} of {wanted} approvals of {release}{gate} by members of {} who are not its author",
        others.len(),
        required.groups.join(", ")
    ))
}
