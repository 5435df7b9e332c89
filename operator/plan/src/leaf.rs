//! The certificates of a tenant: one for each end of its connections. No client, no key.
//!
//! Invariant: this table alone says which there are, in which Secret each lies, and what it may be shown as.

use freehold_crds::Tier;
use serde::{Serialize, Serializer};

use crate::names::{
    APPLICATION_CERTIFICATE, DATABASE_CERTIFICATE, EDGE_CERTIFICATES, REPLICATION_CERTIFICATE,
    WEB_CERTIFICATE, WORKER_CERTIFICATE,
};

/// Who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// The gateway, to browsers that ask for one hostname.
    Edge(EdgeSlot),
    /// The pods of a tier, to each other and to the gateway.
    Web,
    Application,
    Worker,
    /// The database's instances, to their clients.
    Database,
    /// A replica, to its primary.
    Replication,
}

/// A place for the gateway's certificate of one hostname: there are as many as a tenant may have hostnames. Roles name Secrets, so the
/// places have names of their own, and not those of hostnames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeSlot(usize);

impl EdgeSlot {
    pub const FIRST: Self = Self(0);

    /// In the order in which they are taken.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..EDGE_CERTIFICATES.len()).map(Self)
    }

    pub const fn secret(self) -> &'static str {
        EDGE_CERTIFICATES[self.0]
    }

    /// The one whose Secret has that name.
    pub fn of_secret(name: &str) -> Option<Self> {
        Self::all().find(|slot| slot.secret() == name)
    }
}

/// What a certificate may be shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownAs {
    Server,
    Client,
    Both,
}

impl Leaf {
    pub const ALL: [Self; 13] = [
        Self::Edge(EdgeSlot(0)),
        Self::Edge(EdgeSlot(1)),
        Self::Edge(EdgeSlot(2)),
        Self::Edge(EdgeSlot(3)),
        Self::Edge(EdgeSlot(4)),
        Self::Edge(EdgeSlot(5)),
        Self::Edge(EdgeSlot(6)),
        Self::Edge(EdgeSlot(7)),
        Self::Web,
        Self::Application,
        Self::Worker,
        Self::Database,
        Self::Replication,
    ];

    /// The one of a tier's pods.
    pub const fn of(tier: Tier) -> Self {
        match tier {
            Tier::Web => Self::Web,
            Tier::Application => Self::Application,
            Tier::Worker => Self::Worker,
        }
    }

    /// The Secret that it lies in, with its key and with the roots that its holder trusts.
    pub const fn secret(self) -> &'static str {
        match self {
            Self::Edge(slot) => slot.secret(),
            Self::Web => WEB_CERTIFICATE,
            Self::Application => APPLICATION_CERTIFICATE,
            Self::Worker => WORKER_CERTIFICATE,
            Self::Database => DATABASE_CERTIFICATE,
            Self::Replication => REPLICATION_CERTIFICATE,
        }
    }

    /// The subject's common name. Of one label: OpenSSL takes a longer one for a host name, and holds the authority's
    /// name constraints against it.
    pub const fn common_name(self) -> &'static str {
        match self {
            Self::Edge(_) => "edge",
            Self::Web => "web",
            Self::Application => "application",
            Self::Worker => "worker",
            Self::Database => "database",
            // PostgreSQL's role: CloudNativePG maps the name to it.
            Self::Replication => "streaming_replica",
        }
    }

    pub const fn shown_as(self) -> ShownAs {
        match self {
            Self::Edge(_) | Self::Database => ShownAs::Server,
            Self::Web | Self::Application | Self::Worker => ShownAs::Both,
            Self::Replication => ShownAs::Client,
        }
    }

    /// Whether CloudNativePG reads it.
    pub const fn is_for_database(self) -> bool {
        matches!(self, Self::Database | Self::Replication)
    }
}

/// By its Secret: that is what people know it by.
impl Serialize for Leaf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_place_for_each_hostname_and_each_is_in_the_table() {
        let edges: Vec<Leaf> = EdgeSlot::all().map(Leaf::Edge).collect();
        assert_eq!(edges.len(), freehold_crds::HOSTNAMES_MAX);
        assert_eq!(Leaf::ALL[..edges.len()], edges);
        // And one of an issuer.
        assert!(Leaf::ALL.len() < freehold_crds::CERTIFICATES_MAX);
        let mut secrets = Leaf::ALL.map(Leaf::secret).to_vec();
        secrets.sort_unstable();
        secrets.dedup();
        assert_eq!(secrets.len(), Leaf::ALL.len());
    }
}
