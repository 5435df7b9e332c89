//! `postgresql.cnpg.io/v1` `Cluster`, as of CloudNativePG 1.30.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ProjectedVolumeSource, ResourceRequirements, Toleration};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    pub spec: ClusterSpec,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    pub image_name: String,
    pub instances: i32,
    pub storage: Storage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_storage: Option<Storage>,
    pub bootstrap: Bootstrap,
    pub enable_superuser_access: bool,
    pub resources: ResourceRequirements,
    pub primary_update_strategy: &'static str,
    pub primary_update_method: &'static str,
    pub affinity: Affinity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    pub inherited_metadata: InheritedMetadata,
    /// Seconds.
    pub failover_delay: i32,
    /// Seconds.
    pub switchover_delay: i32,
    /// Seconds.
    pub stop_delay: i32,
    /// Seconds.
    pub smart_shutdown_timeout: i32,
    pub probes: Probes,
    pub certificates: Certificates,
    pub monitoring: Monitoring,
    pub env: Vec<EnvVar>,
    pub projected_volume_template: ProjectedVolumeSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_lease: Option<PrimaryLease>,
    pub postgresql: Postgresql,
}

/// Secrets that CloudNativePG takes instead of making its own.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    #[serde(rename = "serverCASecret")]
    pub server_ca_secret: &'static str,
    #[serde(rename = "serverTLSSecret")]
    pub server_tls_secret: &'static str,
    #[serde(rename = "clientCASecret")]
    pub client_ca_secret: &'static str,
    #[serde(rename = "replicationTLSSecret")]
    pub replication_tls_secret: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Monitoring {
    pub tls: MonitoringTls,
}

#[derive(Clone, Debug, Serialize)]
pub struct MonitoringTls {
    pub enabled: bool,
}

/// How long a primary that vanished keeps the others from being promoted, in seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrimaryLease {
    pub lease_duration_seconds: i32,
    pub renew_deadline_seconds: i32,
    pub retry_period_seconds: i32,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    pub size: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Bootstrap {
    pub initdb: InitDb,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitDb {
    pub database: &'static str,
    pub owner: &'static str,
    pub encoding: &'static str,
    pub data_checksums: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    pub enable_pod_anti_affinity: bool,
    pub topology_key: &'static str,
    pub pod_anti_affinity_type: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

#[derive(Clone, Debug, Serialize)]
pub struct InheritedMetadata {
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Probes {
    pub startup: Probe,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub period_seconds: i32,
}

#[derive(Clone, Debug, Serialize)]
pub struct Postgresql {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<&'static str, &'static str>,
    /// Before CloudNativePG's own last line, which takes every connection with a password.
    pub pg_hba: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronous: Option<Synchronous>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Synchronous {
    pub method: &'static str,
    pub number: i32,
    pub data_durability: &'static str,
    pub failover_quorum: bool,
}
