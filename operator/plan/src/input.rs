//! Everything that a plan may know.
//!
//! Invariant: nothing else reaches the plan: no clock, no client, no environment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_crds::{
    Release, ReleaseChannel, Span, Tenant, TenantClass, TenantOperationSpec, TenantOperationStatus,
};
use jiff::{SignedDuration, Timestamp};

use crate::fleet;
use crate::kind::Kind;
use crate::leaf::Leaf;
use crate::names::RELEASE;
use crate::object::Id;
use crate::seen::Seen;

/// One tenant's facts at one instant.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub tenant: &'a Tenant,
    /// The class that the tenant names, if it exists.
    pub class: Option<&'a TenantClass>,
    /// The channel that the tenant names, if it exists.
    pub channel: Option<&'a ReleaseChannel>,
    /// Those of the releases that the tenant or its upgrades name which exist, by name: see [`releases_of`].
    pub releases: &'a BTreeMap<String, Arc<Release>>,
    pub observed: &'a Observed,
    pub now: Timestamp,
    pub config: &'a Config,
}

/// The names of the releases that a plan may need: the one that is asked for, those that the channel may have it go to, that which runs,
/// and those between which it was upgraded.
pub fn releases_of<'a>(
    tenant: &'a Tenant,
    channel: Option<&'a ReleaseChannel>,
    observed: &'a Observed,
) -> BTreeSet<&'a str> {
    let upgrades = observed
        .operations
        .values()
        .filter_map(|operation| operation.spec.upgrade.as_ref());
    let between = upgrades.flat_map(|upgrade| [upgrade.from.as_str(), upgrade.to.as_str()]);
    let asked = &tenant.spec.release;
    let named = asked.name.iter().chain(asked.pin.iter().map(|pin| &pin.name));
    let brought = channel.into_iter().flat_map(|channel| {
        let grant = fleet::grant_of(channel, tenant).map(|grant| grant.release.as_str());
        let first = fleet::first_of(channel, tenant).map(|(first, _)| first);
        grant.into_iter().chain(first)
    });
    let installed = observed
        .objects
        .iter()
        .filter(|(id, _)| id.kind == Kind::Deployment);
    let runs = installed.filter_map(|(_, seen)| seen.live["metadata"]["annotations"][RELEASE].as_str());
    between
        .chain(named.map(String::as_str))
        .chain(brought)
        .chain(runs)
        .collect()
}

/// What was seen of a tenant in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Objects that carry the tenant's mark.
    pub objects: BTreeMap<Id, Seen>,
    /// Kinds that the cluster doesn't know: what provides them is not installed.
    pub unknown: BTreeSet<Kind>,
    /// Objects in our names' places without our mark: found when a create was refused.
    pub strangers: BTreeMap<Id, Stranger>,
    /// What the API server refused as wrong, with its words; forgotten when a write succeeds.
    pub refused: BTreeMap<Id, String>,
    /// Metadata of the minted Secrets.
    pub minted: Minted,
    /// The TenantOperations that name this tenant, of every life, by name.
    pub operations: BTreeMap<String, Operation>,
    /// Another tenant whose database answers: what this one must not reach.
    pub neighbour: Option<Neighbour>,
}

/// Another tenant's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub namespace: String,
    /// The primary's address: whose it is, the customers of this tenant need not learn.
    pub address: String,
}

/// A TenantOperation as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub resource_version: String,
    pub created: Timestamp,
    pub spec: TenantOperationSpec,
    pub status: TenantOperationStatus,
}

impl Operation {
    /// When it ended, for an order in time: of two that ended at one instant the one that was made later is the later one.
    pub fn ended(&self) -> (Option<Timestamp>, Timestamp) {
        let at = self.status.finished_at.as_ref().map(|at| at.0);
        (at, self.created)
    }

    /// The word of the spec that it was for.
    pub fn token(&self) -> Option<&str> {
        let spec = &self.spec;
        let rotation = spec.rotation.as_ref().map(|rotation| &rotation.token);
        let reencryption = spec.reencryption.as_ref().map(|reencryption| &reencryption.token);
        let authority = spec.authority.as_ref().map(|authority| &authority.token);
        rotation.or(reencryption).or(authority)?.as_deref()
    }
}

impl Observed {
    /// The object of that name, unless it is somebody else's.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Seen> {
        self.objects.get(&Id {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// An object that stands where ours should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// When the shell looks again whether it is still there.
    pub look_again: Timestamp,
}

/// What is known of key material: never the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minted {
    pub authority: Slot<Certificate>,
    /// The authorities beside it, while one follows the other. Empty while that one isn't known.
    pub succession: Succession,
    /// What the ends of the tenant's connections were found to trust and to show, when they were last looked at.
    pub ends: Option<Ends>,
    /// Those that are not there are absent.
    pub leaves: BTreeMap<Leaf, Slot<Certificate>>,
    pub owner: Slot<()>,
    pub keys: Keys,
}

impl Minted {
    /// The place of a certificate.
    pub fn leaf(&self, leaf: Leaf) -> &Slot<Certificate> {
        self.leaves.get(&leaf).unwrap_or(&Slot::Absent)
    }

    /// Every authority that is to be trusted, the one that issues first.
    pub fn trusted(&self) -> impl Iterator<Item = &Certificate> {
        let Succession { next, previous } = &self.succession;
        self.authority.present().into_iter().chain(next).chain(previous)
    }
}

/// The authorities beside the one that issues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// Issues next.
    pub next: Option<Certificate>,
    /// Has issued before. Its key is no more.
    pub previous: Option<Certificate>,
}

/// What the ends of a tenant's connections trust and show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub looked_at: Timestamp,
    /// By the pod's name.
    pub pods: BTreeMap<String, End>,
    /// The gateway, where it could be asked.
    pub gateway: Option<End>,
}

/// A pod that takes connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The fingerprints of the roots that it was found to trust; none when it can't tell.
    pub trusts: Option<BTreeSet<String>>,
    /// The fingerprint of the root that has signed what it shows.
    pub shows: Option<String>,
    /// Why that is not known.
    pub trouble: Option<String>,
}

/// What is known of the keys that the volumes are encrypted with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    /// The tenant key, as its provider tells of it.
    pub tenant: Slot<TenantKey>,
    /// The wrapped data keys, by the volume that each is for.
    pub data: BTreeMap<String, Slot<DataKey>>,
    /// Whether one of the two could not be looked at: what was known of it before is here, and nothing may be decided by it.
    pub unread: bool,
    /// Why they were not destroyed when it came to it: found right before.
    pub held: Option<String>,
    /// Those whose volumes were there still when they should have been forgotten.
    pub kept: BTreeSet<String>,
    /// Volumes that were looked up, and were gone.
    pub gone: BTreeSet<String>,
    /// Those that don't open, with the resource version of the Secret that was tried.
    pub refused: BTreeMap<String, String>,
}

/// The tenant key at its provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantKey {
    /// When each version that can be used was made.
    pub versions: BTreeMap<u32, Timestamp>,
    /// The highest number that was ever given.
    pub last: u32,
    /// When the last version was destroyed, if none is left.
    pub destroyed_at: Option<Timestamp>,
    /// What its provider said of that, if it was asked.
    pub evidence: Option<String>,
    /// What it said of the versions that were destroyed last, while others went on.
    pub retired: Option<String>,
}

impl TenantKey {
    /// The version that wraps; none when the key was destroyed.
    pub fn current(&self) -> Option<(u32, Timestamp)> {
        let (version, created) = self.versions.last_key_value()?;
        (*version == self.last).then_some((*version, *created))
    }
}

/// A wrapped data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// The version of the tenant key that it is wrapped by.
    pub version: u32,
    pub created: Timestamp,
}

/// The place of a minted Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slot<T> {
    #[default]
    Absent,
    Present(T),
    /// Something is there that was not minted for this tenant.
    Foreign,
    /// It was minted for this tenant, and what is in it now is no certificate.
    Broken,
    /// It could not be read, and nothing is known of it from before.
    Unread,
}

impl<T> Slot<T> {
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Foreign | Self::Broken | Self::Unread => None,
        }
    }
}

/// A certificate without its key, as parsed from the artefact itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER form, in hexadecimal.
    pub fingerprint: String,
    /// The fingerprint of the one of those roots whose key has signed it.
    pub issuer: Option<String>,
    /// The fingerprints of the roots that lie beside it, in their order.
    pub roots: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Sorted.
    pub dns_names: Vec<String>,
    /// Of an authority: the domains that it may issue for, sorted.
    pub permitted: Vec<String>,
    pub pem: String,
}

/// What the platform's operator was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the operator's ServiceAccount is.
    pub operator_namespace: String,
    pub operator_service_account: String,
    /// The ClusterRole that the operator binds for itself in each tenant's namespace.
    pub tenant_role: String,
    /// Where the tenants' authorities are kept.
    pub keys_namespace: String,
    /// Where CloudNativePG's operator runs.
    pub database_operator_namespace: String,
    /// Addresses of the API server, which database pods must reach.
    pub api_server: Vec<Endpoint>,
    /// Address ranges of the cluster itself, which no declared egress ever reaches.
    pub cluster_cidrs: Vec<String>,
    /// For how long a hostname that was given up is kept from others.
    pub hostname_hold: SignedDuration,
    /// How the isolation is verified; not at all when there is no image for it.
    pub verification: Option<Verification>,
    /// The key service, where there is one.
    pub key_service: Option<KeyService>,
    /// For how long backups of what holds keys are kept, as the platform states; none when it does not.
    pub key_backups_kept_for: Option<Span>,
    /// How many ended operations of each type are kept of a tenant, at least.
    pub operation_history: usize,
    /// The cluster's StorageClasses; none when they are not known, as offline.
    pub storage_classes: Option<BTreeMap<String, StorageClass>>,
}

/// The key service, as it was last heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyService {
    /// `local`, `pkcs11`; none before it was first heard of.
    pub provider: Option<String>,
    /// What protects the keys lies outside of the cluster.
    pub separated: bool,
    /// Why it does not answer.
    pub failure: Option<String>,
}

/// A StorageClass, as far as it says whether it encrypts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClass {
    pub provisioner: String,
    pub parameters: BTreeMap<String, String>,
    /// What a claim gets that names none.
    pub is_default: bool,
}

/// How the isolation is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The image with `/freehold probe`: the operator's own.
    pub image: String,
    /// Where the unrestricted pods run that must reach the same targets.
    pub namespace: String,
    /// How often, at rest.
    pub every: SignedDuration,
    /// The cloud's metadata service as `address:port`, where there is one.
    pub metadata: Option<String>,
    /// Something outside of the cluster as `address:port`, where anything may be reached.
    pub internet: Option<String>,
}

/// Private ranges (RFC 1918, RFC 6598, RFC 4193): where clusters have their nodes, pods and services.
pub const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            operator_namespace: "freehold-system".into(),
            operator_service_account: "freehold".into(),
            tenant_role: "freehold-tenant".into(),
            keys_namespace: "freehold-keys".into(),
            database_operator_namespace: "cnpg-system".into(),
            api_server: Vec::new(),
            cluster_cidrs: PRIVATE.map(str::to_owned).into(),
            hostname_hold: SignedDuration::from_hours(720),
            verification: None,
            key_service: None,
            key_backups_kept_for: None,
            operation_history: 20,
            storage_classes: None,
        }
    }
}

/// A range of addresses and the port there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub cidr: String,
    pub port: u16,
}
