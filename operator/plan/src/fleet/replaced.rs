//! Releases that are published under a name that the channel knows, with other contents than it knows under it.
//!
//! In: the releases as they are now, and the digests in the channel's status. Out: which of them come to nobody. Invariant: what is verified,
//! brought or granted is what was seen when it came in, whatever its object is now.

use std::collections::BTreeSet;

use freehold_crds::{ReleaseChannelStatus, VerifiedRelease};

use super::Fleet;
use super::ring::Turn;
use crate::contents;

/// The names of those releases. What was noted without a digest is taken as the same.
pub fn find<'a>(fleet: &Fleet<'a>, before: &'a ReleaseChannelStatus) -> BTreeSet<&'a str> {
    let rings = before.rings.iter();
    let brought = rings
        .clone()
        .filter_map(|ring| Some((ring.release.as_deref()?, ring.digest.as_deref()?)));
    let verified = rings
        .flat_map(|ring| &ring.verified)
        .filter_map(|it| Some((it.release.as_str(), it.digest.as_deref()?)));
    // Each of them once, however many rings know it.
    let known: BTreeSet<(&str, &str)> = brought.chain(verified).collect();
    let other = known.into_iter().filter(|(name, digest)| {
        let release = fleet.releases.get(*name);
        release.is_some_and(|release| contents::is_other(release, Some(digest)))
    });
    other.map(|(name, _)| name).collect()
}

/// What a release is for this ring: as it came into it, else as it is published.
pub fn digest(turn: &Turn<'_>, release: &str) -> Option<String> {
    let before = turn
        .before
        .filter(|before| before.release.as_deref() == Some(release));
    let known = before.and_then(|before| before.digest.clone());
    let published = || {
        turn.fleet
            .releases
            .get(release)
            .map(|release| contents::of(release))
    };
    known.or_else(published)
}

/// What was verified in a ring, as it is kept: one that is gone or was replaced is remembered, for it may come back as it was, and must not as
/// another one. One that was recalled is not.
pub fn remembered(turn: &Turn<'_>) -> Vec<VerifiedRelease> {
    let releases = turn.fleet.releases;
    let verified = turn.before.into_iter().flat_map(|before| &before.verified);
    let is_kept = |it: &&VerifiedRelease| {
        let release = releases.get(&it.release);
        release.is_none_or(|release| release.spec.recall.is_none())
    };
    let noted = |it: &VerifiedRelease| VerifiedRelease {
        digest: it
            .digest
            .clone()
            .or_else(|| releases.get(&it.release).map(|release| contents::of(release))),
        ..it.clone()
    };
    verified.filter(is_kept).map(noted).collect()
}

/// In words.
pub fn told(release: &str) -> String {
    format!(
        "{release} was published again with other contents: publish what changed as a new version, or put the Release back as it was"
    )
}
