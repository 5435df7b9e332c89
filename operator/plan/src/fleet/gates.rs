//! What a release must pass once all of a ring have it.
//!
//! Invariant: nothing passes without a proof; a test that could not be had is no verdict.

use freehold_crds::{Gate, GateStatus, RingStatus, Verdict};

use super::approvals::{self, Word};
use super::member::{Test, Tested};
use super::ring::Turn;
use super::wave::{Stand, Wave};

/// Another attempt at all that have not passed.
pub fn again(gates: &mut [GateStatus]) {
    for gate in gates.iter_mut().filter(|gate| gate.verdict != Verdict::Passed) {
        gate.verdict = Verdict::Pending;
        gate.attempt += 1;
        gate.tenant = None;
        gate.message = None;
    }
}

/// Looks at every gate.
pub fn go_through(turn: &Turn<'_>, wave: &Wave<'_>, status: &mut RingStatus) {
    let known = std::mem::take(&mut status.gates);
    let look = |gate: &Gate| {
        let before = known.iter().find(|known| known.name == gate.name);
        let before = before.cloned().unwrap_or_else(|| GateStatus {
            name: gate.name.clone(),
            verdict: Verdict::Pending,
            tenant: None,
            attempt: 0,
            message: None,
        });
        if before.verdict != Verdict::Pending && !had_nobody(&before) {
            return before;
        }
        match &gate.manual {
            Some(required) => {
                let word = approvals::word(
                    turn.fleet,
                    &turn.ring.name,
                    Some(&gate.name),
                    wave.release,
                    required,
                );
                said(before, word)
            }
            None => tested(turn, wave, &status.canaries, before),
        }
    };
    status.gates = turn.ring.gates.iter().map(look).collect();
}

fn said(before: GateStatus, word: Word) -> GateStatus {
    let (verdict, message) = match word {
        Word::Given => (Verdict::Passed, "approved".to_owned()),
        Word::Waits(what) => (Verdict::Pending, what),
        Word::Rejected(by) => (Verdict::Failed, format!("{by} has rejected it")),
    };
    GateStatus {
        verdict,
        message: Some(message),
        ..before
    }
}

/// Whether a test could not be had because nobody was there to run it beside: it runs as soon as somebody is.
pub fn had_nobody(gate: &GateStatus) -> bool {
    gate.verdict == Verdict::Inconclusive && gate.tenant.is_none()
}

fn tested(turn: &Turn<'_>, wave: &Wave<'_>, canaries: &[String], before: GateStatus) -> GateStatus {
    let runs = |name: &str| {
        let mut places = wave.places.iter().filter(|place| place.stand == Stand::Current);
        places.find(|place| place.member.name == name)
    };
    let chosen = before.tenant.as_deref().and_then(runs);
    let chosen = chosen.or_else(|| {
        let current = || wave.places.iter().filter(|place| place.stand == Stand::Current);
        let canary = current().find(|place| canaries.contains(&place.member.uid));
        canary.or_else(|| current().next())
    });
    let Some(place) = chosen else {
        // A ring without tenants has nothing that could be tested; one whose tenants take no part has.
        let (verdict, message) = if turn.members.is_empty() {
            (Verdict::Passed, "nobody is there to test it with")
        } else {
            (
                Verdict::Inconclusive,
                "no tenant of the ring takes part: they sleep, are pinned or not well",
            )
        };
        return GateStatus {
            verdict,
            tenant: None,
            message: Some(message.to_owned()),
            ..before
        };
    };
    let test = Test {
        gate: before.name.clone(),
        release: wave.release.to_owned(),
        attempt: before.attempt,
    };
    let (verdict, message) = match place.member.tests.get(&test) {
        None => (
            Verdict::Pending,
            format!("its test runs beside {}", place.member.name),
        ),
        Some(Tested::Passed) => (Verdict::Passed, "its test has passed".to_owned()),
        Some(Tested::Failed(why)) => (Verdict::Failed, why.chars().take(150).collect()),
        Some(Tested::Unknown(why)) => (Verdict::Inconclusive, why.chars().take(150).collect()),
    };
    GateStatus {
        verdict,
        tenant: Some(place.member.name.clone()),
        message: Some(message),
        ..before
    }
}
