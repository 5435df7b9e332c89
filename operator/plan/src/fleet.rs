//! From a channel to its tenants: which of them may be upgraded now, and how far each ring is.
//!
//! In: the channel, its tenants as their own plans see them, the product's releases, what people said of them, and an instant. Out: the channel's
//! status, in which the grants stand, and the instant at which this changes its mind. Invariant: pure, as the plan of a tenant is.

pub mod member;

use freehold_crds::{Grant, ReleaseChannel, Ring, Selection, Tenant};

use member::Labels;

/// The ring of a tenant: the first one that selects it.
pub fn ring_of<'a>(channel: &'a ReleaseChannel, labels: Labels<'_>) -> Option<&'a Ring> {
    let mut rings = channel.spec.rings.iter();
    rings.find(|ring| selects(&ring.tenants, labels))
}

fn selects(selection: &Selection, labels: Labels<'_>) -> bool {
    let Selection {
        environments,
        match_labels,
    } = selection;
    let mut wanted = match_labels.iter();
    (environments.is_empty() || environments.contains(&labels.environment))
        && wanted.all(|(name, value)| labels.labels.get(name) == Some(value))
}

/// A tenant's leave to be upgraded, as long as it wasn't taken back.
pub fn grant_of<'a>(channel: &'a ReleaseChannel, tenant: &Tenant) -> Option<&'a Grant> {
    let uid = tenant.metadata.uid.as_deref()?;
    let mut grants = channel.status.as_ref()?.grants.iter();
    grants.find(|grant| grant.uid == uid && !grant.withdrawn)
}

/// The release that a tenant gets which has none yet: its ring's stable one, or that which has just come into it.
pub fn first_of<'a>(channel: &'a ReleaseChannel, tenant: &Tenant) -> Option<&'a str> {
    let ring = ring_of(channel, Labels::of(tenant))?;
    let mut rings = channel.status.as_ref()?.rings.iter();
    let status = rings.find(|status| status.name == ring.name)?;
    status.stable.as_deref().or(status.release.as_deref())
}
