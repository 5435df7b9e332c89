//! What a tenant of a channel is told: whose word its release is, what its channel lacks for it, and what somebody can do.
//!
//! In: the tenant with its channel. Out: words, and waits that don't disturb what runs.

use freehold_crds::{Grant, GrantKind};

use super::asked::{self, By};
use super::{TOPIC, is_installed};
use crate::concern::Scene;
use crate::fleet::{self, member::Labels};
use crate::input::Input;
use crate::model::{Invalid, another_release};
use crate::outcome::{Finding, Wait};

/// Why there is no release that a tenant could have.
pub fn none(input: &Input<'_>, name: &str) -> Invalid {
    let asked = &input.tenant.spec.release;
    let (_, By::Nobody) = asked::asked(input) else {
        // It is there, and isn't the one that is gone back to.
        if input.releases.contains_key(name) {
            return Invalid::ReleaseReplaced(name.to_owned());
        }
        return Invalid::ReleaseNotFound(name.to_owned());
    };
    if is_installed(input) {
        return Invalid::UnknownRelease;
    }
    let named = asked.channel.clone().unwrap_or_default();
    let Some(channel) = input.channel else {
        return Invalid::ChannelNotFound(named);
    };
    match fleet::ring_of(channel, Labels::of(input.tenant)) {
        Some(ring) => Invalid::NoRelease {
            channel: named,
            ring: ring.name.clone(),
        },
        None => Invalid::NoRing(named),
    }
}

/// What the channel lacks for a tenant that runs: it keeps what it has.
pub fn lacks(input: &Input<'_>) -> Option<Wait> {
    let named = input.tenant.spec.release.channel.as_deref()?;
    let lacking = match input.channel {
        None => Invalid::ChannelNotFound(named.to_owned()),
        Some(channel) if fleet::ring_of(channel, Labels::of(input.tenant)).is_none() => {
            Invalid::NoRing(named.to_owned())
        }
        Some(_) => return None,
    };
    let what = match &lacking {
        Invalid::NoRing(_) => format!("no ring of the ReleaseChannel {named} is for this tenant"),
        _ => format!("the ReleaseChannel {named} does not exist"),
    };
    Some(Wait {
        reason: lacking.reason(),
        message: format!("{what}: it keeps the release that it has"),
        unblocked_by: lacking.unblocked_by(&input.tenant.spec.release),
        stalls: false,
    })
}

/// That the release which is asked for runs, and who asked.
pub fn current(scene: &Scene<'_>) -> Finding {
    let version = &scene.model.version;
    let channel = scene
        .model
        .tenant
        .spec
        .release
        .channel
        .as_deref()
        .unwrap_or_default();
    let (_, by) = asked::asked(scene.input);
    if let By::Pin(pin) = by {
        let message = format!("{version} is pinned until {}: {}", pin.until.0, pin.reason);
        return Finding::aside(TOPIC, Some(true), "Pinned", message);
    }
    if let Some(lacks) = lacks(scene.input) {
        return Finding::aside(TOPIC, Some(false), lacks.reason, lacks.message);
    }
    let message = match by {
        By::Name | By::Pin(_) | By::Nobody => format!("{version} is what was asked for"),
        By::Grant(_) | By::Begun | By::Ring | By::Runs => {
            format!("{version} is what the channel {channel} has brought")
        }
    };
    Finding::aside(TOPIC, Some(true), "Current", message)
}

/// The grant by which the release is wanted, if it is by one: its channel may have granted what was recalled since.
pub fn granted<'a>(scene: &Scene<'a>) -> Option<&'a Grant> {
    match asked::asked(scene.input).1 {
        By::Grant(grant) if grant.release == scene.model.release => Some(grant),
        _ => None,
    }
}

/// Why the tenant's window isn't waited for, if it isn't.
pub fn urgency(scene: &Scene<'_>) -> Option<GrantKind> {
    let kind = granted(scene)?.kind;
    (kind != GrantKind::Wave).then_some(kind)
}

/// The channel and the ring that have granted the upgrade which begins, if they have.
pub fn granted_by(scene: &Scene<'_>) -> Option<String> {
    let grant = granted(scene)?;
    let channel = scene.model.tenant.spec.release.channel.as_deref()?;
    Some(format!("{channel}/{}", grant.ring))
}

/// How a release that failed is mended.
pub fn mended(input: &Input<'_>) -> &'static str {
    match asked::asked(input).1 {
        By::Name | By::Pin(_) => another_release(&input.tenant.spec.release),
        _ => "publish a release that mends it",
    }
}

/// How one that can't be undone is mended.
pub fn stuck(input: &Input<'_>) -> &'static str {
    if input.tenant.spec.release.channel.is_some() {
        "pin a release that mends it in spec.release.pin"
    } else {
        "name a release that mends it in spec.release.name"
    }
}

/// How one gets a third release, instead of the one that failed and the one before.
pub fn third(input: &Input<'_>) -> &'static str {
    if input.tenant.spec.release.channel.is_some() {
        "pin a third release in spec.release.pin"
    } else {
        "name a third release in spec.release.name"
    }
}
