//! Everything that a plan may know.
//!
//! Invariant: nothing else reaches the plan: no clock, no client, no environment.

use std::collections::BTreeMap;

use freehold_crds::{Release, Tenant, TenantClass};
use jiff::Timestamp;

use crate::kind::Kind;
use crate::object::Id;
use crate::seen::Seen;

/// One tenant's facts at one instant.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub tenant: &'a Tenant,
    /// The class that the tenant names, if it exists.
    pub class: Option<&'a TenantClass>,
    /// The release that the tenant names, if it exists.
    pub release: Option<&'a Release>,
    pub observed: &'a Observed,
    pub now: Timestamp,
    pub config: &'a Config,
}

/// What was seen of a tenant in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Objects that carry the tenant's mark.
    pub objects: BTreeMap<Id, Seen>,
    /// Objects in our names' places without our mark: found when a create was refused.
    pub strangers: BTreeMap<Id, Stranger>,
    /// What the API server refused as wrong, with its words; forgotten when a write succeeds.
    pub refused: BTreeMap<Id, String>,
    /// Metadata of the minted Secrets.
    pub minted: Minted,
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
    pub edge: Slot<Certificate>,
    pub owner: Slot<()>,
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
    /// The fingerprint of the authority's certificate that it was minted under.
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Sorted.
    pub dns_names: Vec<String>,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            operator_namespace: "freehold-system".into(),
            operator_service_account: "freehold".into(),
            tenant_role: "freehold-tenant".into(),
            keys_namespace: "freehold-keys".into(),
            database_operator_namespace: "cnpg-system".into(),
            api_server: Vec::new(),
        }
    }
}

/// A range of addresses and the port there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub cidr: String,
    pub port: u16,
}
