//! The certificates of a tenant: one for each end of its connections. No client, no key.
//!
//! Invariant: this table alone says which there are, in which Secret each lies, and what it may be shown as.

use freehold_crds::Tier;
use serde::Serialize;

use crate::names::{
    APPLICATION_CERTIFICATE, DATABASE_CERTIFICATE, EDGE_CERTIFICATE, REPLICATION_CERTIFICATE,
    WEB_CERTIFICATE, WORKER_CERTIFICATE,
};

/// Who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Leaf {
    /// The gateway, to browsers.
    Edge,
    /// The pods of a tier, to each other and to the gateway.
    Web,
    Application,
    Worker,
    /// The database's instances, to their clients.
    Database,
    /// A replica, to its primary.
    Replication,
}

/// What a certificate may be shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownAs {
    Server,
    Client,
    Both,
}

impl Leaf {
    pub const ALL: [Self; 6] = [
        Self::Edge,
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
            Self::Edge => EDGE_CERTIFICATE,
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
            Self::Edge => "edge",
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
            Self::Edge | Self::Database => ShownAs::Server,
            Self::Web | Self::Application | Self::Worker => ShownAs::Both,
            Self::Replication => ShownAs::Client,
        }
    }

    /// Whether CloudNativePG reads it.
    pub const fn is_for_database(self) -> bool {
        matches!(self, Self::Database | Self::Replication)
    }
}
