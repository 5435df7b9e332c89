//! The table of managed kinds: what is watched, in which order it is written and taken away, and which rights that needs.
//!
//! Invariant: nothing outside this table is written, watched or deleted, and the chart's roles are generated from it.

use serde::Serialize;

/// A kind that Freehold declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    Namespace,
    DestructionRecord,
    HostnameClaim,
    RoleBinding,
    ResourceQuota,
    LimitRange,
    NetworkPolicy,
    ServiceAccount,
    ConfigMap,
    Volume,
    Cluster,
    Service,
    Certificate,
    Gateway,
    BackendTlsPolicy,
    HttpRoute,
    PodDisruptionBudget,
    Deployment,
    Job,
    Pod,
}

/// Objects of a wave are written together, after those of the waves before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    Namespace,
    /// The operator's own right to write in the namespace.
    Access,
    /// Policies stand before the first pod does.
    Policy,
    /// The database takes longest, so it starts as early as it may.
    Database,
    Exposure,
    Workload,
}

impl Wave {
    pub const ALL: [Self; 6] = [
        Self::Namespace,
        Self::Access,
        Self::Policy,
        Self::Database,
        Self::Exposure,
        Self::Workload,
    ];
}

/// How an object of a kind comes to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Deleted when no longer wanted.
    Pruned,
    /// Holds data or everything else: deleted only when the tenant ends.
    Kept,
}

/// What the table says about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    pub wave: Wave,
    pub ending: Ending,
}

impl Kind {
    /// Every kind, in the order in which it is written.
    pub const ALL: [Self; 20] = [
        Self::Namespace,
        Self::DestructionRecord,
        Self::HostnameClaim,
        Self::RoleBinding,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::NetworkPolicy,
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Volume,
        Self::Cluster,
        Self::Service,
        Self::Certificate,
        Self::Gateway,
        Self::BackendTlsPolicy,
        Self::HttpRoute,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::Job,
        Self::Pod,
    ];

    /// The kind's row of the table.
    pub const fn row(self) -> Row {
        use Ending::{Kept, Pruned};
        match self {
            Self::Namespace => row("", "v1", "Namespace", "namespaces", Wave::Namespace, Kept),
            // Belongs to no namespace, and outlives the tenant.
            Self::DestructionRecord => row(
                "freehold.dev",
                "v1alpha1",
                "DestructionRecord",
                "destructionrecords",
                Wave::Namespace,
                Kept,
            ),
            // In the operator's own namespace, and left there as a tombstone.
            Self::HostnameClaim => row(
                "freehold.dev",
                "v1alpha1",
                "HostnameClaim",
                "hostnameclaims",
                Wave::Access,
                Kept,
            ),
            Self::RoleBinding => row(
                "rbac.authorization.k8s.io",
                "v1",
                "RoleBinding",
                "rolebindings",
                Wave::Access,
                Pruned,
            ),
            Self::ResourceQuota => row("", "v1", "ResourceQuota", "resourcequotas", Wave::Policy, Pruned),
            Self::LimitRange => row("", "v1", "LimitRange", "limitranges", Wave::Policy, Pruned),
            Self::NetworkPolicy => row(
                "networking.k8s.io",
                "v1",
                "NetworkPolicy",
                "networkpolicies",
                Wave::Policy,
                Pruned,
            ),
            Self::ServiceAccount => row(
                "",
                "v1",
                "ServiceAccount",
                "serviceaccounts",
                Wave::Database,
                Pruned,
            ),
            Self::ConfigMap => row("", "v1", "ConfigMap", "configmaps", Wave::Database, Pruned),
            // CloudNativePG makes them and takes them away.
            Self::Volume => row(
                "",
                "v1",
                "PersistentVolumeClaim",
                "persistentvolumeclaims",
                Wave::Database,
                Kept,
            ),
            Self::Cluster => row(
                "postgresql.cnpg.io",
                "v1",
                "Cluster",
                "clusters",
                Wave::Database,
                Kept,
            ),
            Self::Service => row("", "v1", "Service", "services", Wave::Exposure, Pruned),
            // Of cert-manager, which not every cluster has. What it issues lies in a Secret of cert-manager's making.
            Self::Certificate => row(
                "cert-manager.io",
                "v1",
                "Certificate",
                "certificates",
                Wave::Exposure,
                Pruned,
            ),
            Self::Gateway => row(
                "gateway.networking.k8s.io",
                "v1",
                "Gateway",
                "gateways",
                Wave::Exposure,
                Pruned,
            ),
            // Before the route: without it the gateway would speak plain HTTP to the web tier.
            Self::BackendTlsPolicy => row(
                "gateway.networking.k8s.io",
                "v1",
                "BackendTLSPolicy",
                "backendtlspolicies",
                Wave::Exposure,
                Pruned,
            ),
            Self::HttpRoute => row(
                "gateway.networking.k8s.io",
                "v1",
                "HTTPRoute",
                "httproutes",
                Wave::Exposure,
                Pruned,
            ),
            Self::PodDisruptionBudget => row(
                "policy",
                "v1",
                "PodDisruptionBudget",
                "poddisruptionbudgets",
                Wave::Exposure,
                Pruned,
            ),
            Self::Deployment => row("apps", "v1", "Deployment", "deployments", Wave::Workload, Pruned),
            Self::Job => row("batch", "v1", "Job", "jobs", Wave::Workload, Pruned),
            // Only those that verify the isolation.
            Self::Pod => row("", "v1", "Pod", "pods", Wave::Workload, Pruned),
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(self) -> String {
        let Row { group, version, .. } = self.row();
        if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        }
    }
}

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    wave: Wave,
    ending: Ending,
) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        namespaced: !matches!(wave, Wave::Namespace),
        wave,
        ending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_waves_and_what_holds_data_is_never_pruned() {
        let waves: Vec<_> = Kind::ALL.iter().map(|kind| kind.row().wave).collect();
        assert!(waves.is_sorted());
        let kept: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| kind.row().ending == Ending::Kept)
            .collect();
        assert_eq!(
            kept,
            [
                Kind::Namespace,
                Kind::DestructionRecord,
                Kind::HostnameClaim,
                Kind::Volume,
                Kind::Cluster
            ]
        );
    }
}
