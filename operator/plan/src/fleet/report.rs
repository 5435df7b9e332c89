//! A channel in three conditions.

use freehold_crds::{Condition, ReleaseChannelStatus, RingPhase, RingStatus, Verdict};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::target::EMERGENCY;
use super::{Advance, Fleet};

/// Ready, Reconciling, Stalled: an unchanged status keeps the time of its transition.
pub fn conditions(fleet: &Fleet<'_>, before: &ReleaseChannelStatus, advance: &Advance) -> Vec<Condition> {
    let after = &advance.status;
    let awaits = |ring: &RingStatus| awaits(fleet, advance, ring);
    let mut rolling = after.rings.iter().filter(|ring| awaits(ring).is_none());
    let busy = rolling.find(|ring| {
        matches!(
            ring.phase,
            RingPhase::Canary | RingPhase::Rolling | RingPhase::Verifying
        )
    });
    let stopped = after
        .rings
        .iter()
        .find(|ring| awaits(ring).is_some() || matches!(ring.phase, RingPhase::Paused | RingPhase::Frozen));
    let in_words = |ring: &RingStatus| format!("{}: {}", ring.name, ring.message);
    let stuck = after.rings.iter().find(|ring| is_stuck(ring)).map(|ring| {
        let is_halted = ring.phase == RingPhase::Halted;
        (if is_halted { "Halted" } else { "Inconclusive" }, in_words(ring))
    });
    let refused = |is_emergency: bool| {
        let mut refused = advance.refused.iter();
        let refused = refused.find(|it| (it.reason == EMERGENCY) == is_emergency)?;
        Some((refused.reason, refused.message.clone()))
    };
    let stalled = refused(true).or(stuck).or_else(|| refused(false));
    let is_stalled = stalled.is_some();
    let (ready, reason, message) = match (stalled, busy, stopped) {
        (Some((reason, message)), _, _) => (false, reason, message),
        (None, Some(ring), _) => (false, "Rolling", in_words(ring)),
        (None, None, Some(ring)) if ring.phase == RingPhase::Frozen => (true, "Frozen", in_words(ring)),
        (None, None, Some(ring)) => (true, awaits(ring).unwrap_or("Paused"), in_words(ring)),
        (None, None, None) => (true, "Current", every(after)),
    };
    let say = |kind: &str, truth: bool, reason: &str, message: &str| {
        let status = if truth { "True" } else { "False" };
        let mut known = before.conditions.iter();
        let same = known.find(|known| known.type_ == kind && known.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(500).collect(),
            observed_generation: fleet.channel.metadata.generation,
            last_transition_time: same.map_or_else(
                || Time(seconds(fleet.now)),
                |same| same.last_transition_time.clone(),
            ),
        }
    };
    let reconciling = !is_stalled && busy.is_some();
    vec![
        say("Ready", ready, reason, &message),
        say(
            "Reconciling",
            reconciling,
            reason,
            if reconciling {
                &message
            } else {
                "nothing is under way"
            },
        ),
        say(
            "Stalled",
            is_stalled,
            reason,
            if is_stalled { &message } else { "nothing is stuck" },
        ),
    ]
}

/// Somebody must do something.
fn is_stuck(ring: &RingStatus) -> bool {
    let mut gates = ring.gates.iter();
    ring.phase == RingPhase::Halted
        || (ring.phase == RingPhase::Paused && gates.any(|gate| gate.verdict == Verdict::Inconclusive))
}

/// Nothing but people's word or the hour is missing, which may take days: no pipeline is to wait for that.
fn awaits(fleet: &Fleet<'_>, advance: &Advance, ring: &RingStatus) -> Option<&'static str> {
    if asks_a_person(fleet, ring) {
        Some("AwaitsApproval")
    } else if advance.shut.contains(&ring.name) {
        Some("AwaitsWindow")
    } else {
        None
    }
}

/// Whether only gates are open that somebody opens.
fn asks_a_person(fleet: &Fleet<'_>, ring: &RingStatus) -> bool {
    let mut rings = fleet.channel.spec.rings.iter();
    let gates = rings
        .find(|spec| spec.name == ring.name)
        .map_or(&[][..], |spec| &spec.gates);
    let is_manual = |name: &str| {
        gates
            .iter()
            .any(|gate| gate.name == name && gate.manual.is_some())
    };
    let mut open = ring
        .gates
        .iter()
        .filter(|gate| gate.verdict != Verdict::Passed)
        .peekable();
    ring.phase == RingPhase::Verifying
        && open.peek().is_some()
        && open.all(|gate| gate.verdict == Verdict::Pending && is_manual(&gate.name))
}

fn every(status: &ReleaseChannelStatus) -> String {
    let last = status.rings.last().and_then(|ring| ring.release.as_deref());
    match last {
        Some(release) => format!("the last ring has {release}"),
        None => "no release has come to the last ring so far".to_owned(),
    }
}

fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
