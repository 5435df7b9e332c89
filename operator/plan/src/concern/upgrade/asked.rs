//! Which release is asked for: the one that the tenant names, or what its channel brings.
//!
//! Invariant: a tenant of a channel keeps what runs unless a grant, a pin or an upgrade that has begun says otherwise.

use freehold_crds::{Grant, Phase, Pin, Tier};
use jiff::Timestamp;

use super::{is_installed, under_way, upgrades};
use crate::concern::pod::tier_label;
use crate::concern::workload::COMPONENT_LABEL;
use crate::contents;
use crate::fleet;
use crate::input::Input;
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::RELEASE;

/// Who asks for a release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By<'a> {
    /// The tenant names it.
    Name,
    /// The tenant keeps it for a time.
    Pin(&'a Pin),
    /// The channel has granted it.
    Grant(&'a Grant),
    /// It was granted, and its upgrade has begun.
    Begun,
    /// It runs, and nobody asks for another.
    Runs,
    /// It is the ring's, and the first one of this tenant.
    Ring,
    /// Nobody has one for it yet.
    Nobody,
}

/// The release that is asked for, by its object's name, and by whom.
pub fn asked<'a>(input: &Input<'a>) -> (&'a str, By<'a>) {
    let asked = &input.tenant.spec.release;
    if let Some(name) = &asked.name {
        return (name, By::Name);
    }
    if let Some(pin) = pin(input) {
        return (&pin.name, By::Pin(pin));
    }
    if let Some(grant) = input
        .channel
        .and_then(|channel| fleet::grant_of(channel, input.tenant))
        .filter(|grant| is_it(input, &grant.release, grant.digest.as_deref()))
    {
        return (&grant.release, By::Grant(grant));
    }
    let observed = input.observed;
    let begun = under_way(input).and_then(|(name, _)| observed.operations.get(name)?.spec.upgrade.as_ref());
    if let Some(begun) = begun {
        return (&begun.to, By::Begun);
    }
    if let Some(runs) = runs(input).or_else(|| ran(input)) {
        return (runs, By::Runs);
    }
    let first = input
        .channel
        .filter(|_| !is_installed(input))
        .and_then(|channel| fleet::first_of(channel, input.tenant))
        .filter(|(first, digest)| is_it(input, first, *digest));
    first.map_or(("", By::Nobody), |(first, _)| (first, By::Ring))
}

/// Whether a release is the one that its channel means: published again with other contents since, it isn't.
fn is_it(input: &Input<'_>, name: &str, digest: Option<&str>) -> bool {
    let release = input.releases.get(name);
    release.is_none_or(|release| !contents::is_other(release, digest))
}

/// What the last upgrade has left: somebody may have deleted every Deployment since, and the schema is that one's still.
fn ran<'a>(input: &Input<'a>) -> Option<&'a str> {
    let observed = input.observed;
    let over = upgrades(input)
        .filter(|(_, operation)| matches!(operation.status.phase, Phase::Succeeded | Phase::Failed));
    let last = over.max_by_key(|(_, operation)| operation.status.finished_at.as_ref().map(|at| at.0));
    let last = observed.operations.get(last?.0)?;
    let upgrade = last.spec.upgrade.as_ref()?;
    match last.status.phase {
        Phase::Succeeded => Some(&upgrade.to),
        _ => Some(&upgrade.from),
    }
}

/// What keeps a tenant of a channel at a release now.
pub fn pin<'a>(input: &Input<'a>) -> Option<&'a Pin> {
    let pin = input.tenant.spec.release.pin.as_ref()?;
    (input.now < pin.until.0).then_some(pin)
}

/// When a pin ends.
pub fn unpinned(input: &Input<'_>) -> Option<Timestamp> {
    pin(input).map(|pin| pin.until.0)
}

/// The release that runs, by what is last changed of it: the web tier, or while that isn't there yet what is.
pub fn runs<'a>(input: &Input<'a>) -> Option<&'a str> {
    let namespace = namespace(input.tenant);
    let observed = input.observed;
    let seen = observed
        .objects
        .iter()
        .filter(|(id, _)| id.kind == Kind::Deployment && id.namespace == namespace.as_str());
    let (_, last) = seen
        .max_by_key(|(_, seen)| seen.live["metadata"]["labels"][COMPONENT_LABEL] == tier_label(Tier::Web))?;
    last.live["metadata"]["annotations"][RELEASE].as_str()
}
