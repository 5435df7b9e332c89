//! The database: one CloudNativePG `Cluster`.
//!
//! Every connection to it is encrypted: it shows a certificate of the tenant's authority, replicas show one too, and what comes
//! in the clear is refused.
//!
//! Invariants: with two or more instances an acknowledged write is on a replica before it is acknowledged, and
//! CloudNativePG promotes the reachable replica that has received most; storage is never asked to shrink.

use freehold_crds::Amount;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, EnvVar, KeyToPath, ProjectedVolumeSource, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use super::keys::reencryption::{self, Surge};
use super::pod::{requirements, tolerations};
use super::{Scene, migration, storage, tls};
use crate::foreign::cloudnative_pg::{
    Affinity, Bootstrap, Certificates, Cluster, ClusterSpec, InheritedMetadata, InitDb, Monitoring,
    MonitoringTls, Postgresql, PrimaryLease, Probe, Probes, Storage, Synchronous,
};
use crate::kind::Kind;
use crate::names::{
    DATABASE, DATABASE_CERTIFICATE, HIBERNATION, OPENSSL, REPLICATION_CERTIFICATE, TENANT_LABEL, TIER_LABEL,
};
use crate::object::Object;
use crate::outcome::{APPLYING, Finding, Outcome, Wait};
use crate::seen::{Facts, Seen};

pub const TOPIC: &str = "DatabaseReady";
const TIER: &str = "database";
/// Where CloudNativePG mounts what it is given to mount (`ProjectedVolumeDirectory` of its source).
const PROJECTED: &str = "/projected";
const OPENSSL_FILE: &str = "openssl.cnf";
/// PostgreSQL 17 has no setting for the suites of TLS 1.3, and its OpenSSL would take AES-128 too: the library's own
/// configuration is what is left. It holds for replicas as clients as well.
const OPENSSL_CONFIGURATION: &str = "\
openssl_conf = openssl_init
[openssl_init]
ssl_conf = ssl_module
[ssl_module]
system_default = tls_default
[tls_default]
MinProtocol = TLSv1.2
Ciphersuites = TLS_AES_256_GCM_SHA384
CipherString = ECDHE-ECDSA-AES256-GCM-SHA384
";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let seen = scene.seen(Kind::Cluster, DATABASE);
    if seen.is_none() && !storage::may_create(&scene) {
        let message = "no database is made on storage that does not encrypt";
        let finding = Finding::new(TOPIC, false, "StorageRefused", message);
        return Outcome {
            findings: vec![finding],
            ..Outcome::default()
        };
    }
    if seen.is_none() && !tls::database_may_start(&scene) {
        let message = "the database's certificates are being made";
        let finding = Finding::new(TOPIC, false, "CertificatesMissing", message);
        return Outcome {
            findings: vec![finding],
            ..Outcome::default()
        };
    }
    let mut outcome = Outcome::of(vec![openssl(&scene)]);
    let surge = reencryption::surge(&scene);
    let cluster = Cluster {
        spec: spec(&scene, &sizes(&scene, &mut outcome), surge),
    };
    let mut marks = scene.marks();
    // A migration that is under way comes to its end first.
    if scene.model.suspended && !migration::is_under_way(&scene) {
        marks = marks.annotation(HIBERNATION, "on");
    }
    outcome.objects.push(Object::declare(
        scene.id(Kind::Cluster, DATABASE),
        marks,
        &cluster,
    ));
    let usual = reencryption::under_way(scene.input).map(|_| scene.model.database.instances);
    outcome.findings.push(finding(seen, scene.model.suspended, usual));
    outcome
}

/// While it moves to other volumes it is ready when as many instances are as are usual.
fn finding(seen: Option<&Seen>, suspended: bool, moving: Option<i32>) -> Finding {
    let Some(Seen {
        facts:
            Facts::Database {
                ready,
                instances,
                ready_instances,
                phase,
                current,
                hibernated,
                primary,
                target,
                address: _,
                healthy: _,
            },
        ..
    }) = seen
    else {
        return Finding::new(TOPIC, false, "Creating", "the database is being created");
    };
    match (suspended, hibernated) {
        (true, true) => {
            return Finding::new(
                TOPIC,
                true,
                "Hibernated",
                "the database sleeps, its volumes are kept",
            );
        }
        (true, false) => {
            return Finding::new(TOPIC, false, "Hibernating", "the database is being stopped");
        }
        (false, true) => return Finding::new(TOPIC, false, "Waking", "the database is being started"),
        (false, false) => {}
    }
    if moving.is_some_and(|usual| *ready_instances >= usual) && primary == target {
        return Finding::new(
            TOPIC,
            true,
            "Reencrypting",
            format!(
                "{ready_instances} of {instances} instances are ready, for as long as volumes are replaced"
            ),
        );
    }
    if *ready && !*current {
        return Finding::new(
            TOPIC,
            false,
            APPLYING,
            "CloudNativePG has not yet seen the last change",
        );
    }
    if *ready {
        return Finding::new(
            TOPIC,
            true,
            "Ready",
            format!("{ready_instances} of {instances} instances are ready"),
        );
    }
    let phase = if phase.is_empty() {
        "not yet seen by CloudNativePG"
    } else {
        phase
    };
    let message = format!("{ready_instances} of {instances} instances are ready: {phase}");
    Finding::new(TOPIC, false, "DatabaseNotReady", message)
}

/// The sizes of an instance's volumes.
pub struct Sizes {
    pub data: String,
    /// Of the write-ahead log's own volume.
    pub wal: Option<String>,
}

/// The sizes to ask for: never less than what is there, and a volume that is there stays.
pub fn sizes(scene: &Scene<'_>, outcome: &mut Outcome) -> Sizes {
    let seen = scene.seen(Kind::Cluster, DATABASE);
    let there = |path: &str| seen.and_then(|seen| seen.live.pointer(path)?.as_str());
    let mut size = |path: &str, wanted: &str, field: &str| match there(path) {
        Some(there) if Amount::parse(there) > Amount::parse(wanted) => {
            outcome.waits.push(Wait {
                reason: "StorageCannotShrink",
                message: format!("the database's volumes have {there}; {wanted} is asked for"),
                unblocked_by: format!("set spec.database.{field} of the tenant to {there} or more"),
                stalls: false,
            });
            there.to_owned()
        }
        _ => wanted.to_owned(),
    };
    let database = &scene.model.database;
    let data = size("/spec/storage/size", &database.storage_size.0, "storageSize");
    let wal = "/spec/walStorage/size";
    Sizes {
        data,
        wal: match database.wal_storage_size {
            Some(wanted) => Some(size(wal, &wanted.0, "walStorageSize")),
            None => there(wal).map(str::to_owned),
        },
    }
}

fn spec(scene: &Scene<'_>, sizes: &Sizes, surge: Option<Surge>) -> ClusterSpec {
    let (database, placement) = (&scene.model.database, scene.model.placement);
    let labels = [(TENANT_LABEL, scene.model.name), (TIER_LABEL, TIER)];
    let storage = |size: &str| Storage {
        size: size.to_owned(),
        storage_class: database.class.storage_class_name.clone(),
    };
    ClusterSpec {
        image_name: database.class.image.clone(),
        instances: surge.map_or(database.instances, |surge| surge.instances),
        storage: storage(&sizes.data),
        wal_storage: sizes.wal.as_deref().map(storage),
        bootstrap: Bootstrap {
            initdb: InitDb {
                database: "app",
                owner: "app",
                encoding: "UTF8",
                data_checksums: true,
            },
        },
        enable_superuser_access: false,
        resources: requirements(&database.class.resources, |value| Wire(value.0.clone())),
        primary_update_strategy: "unsupervised",
        primary_update_method: if database.instances > 1 {
            "switchover"
        } else {
            "restart"
        },
        affinity: Affinity {
            enable_pod_anti_affinity: true,
            topology_key: "kubernetes.io/hostname",
            // `required` would leave replicas pending on a cluster with fewer nodes than instances.
            pod_anti_affinity_type: "preferred",
            node_selector: placement.node_selector.clone(),
            tolerations: tolerations(placement),
        },
        priority_class_name: placement.priority_class_name.clone(),
        // Without managed-by: CloudNativePG's objects are not ours to prune.
        inherited_metadata: InheritedMetadata {
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        },
        failover_delay: 0,
        switchover_delay: 60,
        stop_delay: 60,
        // Clients keep pooled connections open, so a smart shutdown would wait out its whole time.
        smart_shutdown_timeout: 5,
        // CloudNativePG's default is 10: a database that has started in 2 s would count as started after 10.
        probes: Probes {
            startup: Probe { period_seconds: 1 },
        },
        certificates: Certificates {
            server_ca_secret: DATABASE_CERTIFICATE,
            server_tls_secret: DATABASE_CERTIFICATE,
            client_ca_secret: REPLICATION_CERTIFICATE,
            replication_tls_secret: REPLICATION_CERTIFICATE,
        },
        monitoring: Monitoring {
            tls: MonitoringTls { enabled: true },
        },
        env: vec![EnvVar {
            name: "OPENSSL_CONF".to_owned(),
            value: Some(format!("{PROJECTED}/{OPENSSL_FILE}")),
            value_from: None,
        }],
        projected_volume_template: projected(),
        // A primary that vanishes together with its network can't give its lease back, and nobody is promoted before it has
        // run out: CloudNativePG's default is 15 s, and was the largest part of the pause. Losing it while the API server is
        // away stops no primary (1.30: a lease that can't be verified is asked for again).
        primary_lease: (database.instances > 1).then_some(PrimaryLease {
            lease_duration_seconds: 3,
            renew_deadline_seconds: 2,
            retry_period_seconds: 1,
        }),
        postgresql: postgresql(database.instances, surge),
    }
}

/// What OpenSSL is told in the database's pods.
fn openssl(scene: &Scene<'_>) -> Object {
    let map = ConfigMap {
        data: Some([(OPENSSL_FILE.to_owned(), OPENSSL_CONFIGURATION.to_owned())].into()),
        ..ConfigMap::default()
    };
    Object::declare(scene.id(Kind::ConfigMap, OPENSSL), scene.marks(), &map)
}

fn projected() -> ProjectedVolumeSource {
    let file = KeyToPath {
        key: OPENSSL_FILE.to_owned(),
        path: OPENSSL_FILE.to_owned(),
        mode: None,
    };
    ProjectedVolumeSource {
        default_mode: None,
        sources: Some(vec![VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: OPENSSL.to_owned(),
                items: Some(vec![file]),
                optional: None,
            }),
            ..VolumeProjection::default()
        }]),
    }
}

fn postgresql(instances: i32, surge: Option<Surge>) -> Postgresql {
    const ENCRYPTED_ONLY: &str = "hostnossl all all all reject";
    let synchronous = |data_durability| Synchronous {
        method: "any",
        number: 1,
        data_durability,
        // docs/adr/0004: with it a failover of CloudNativePG 1.30.0 can stop for good.
        failover_quorum: false,
    };
    if instances > 1 {
        return Postgresql {
            // A failover waits until the replicas have noticed that the primary is gone, and one that vanished with its
            // network never says goodbye: CloudNativePG's default is 5 s. Writes go on when a replica has found the new
            // primary, for which PostgreSQL's default would have it try every 5 s.
            parameters: [
                ("wal_receiver_timeout", "2s"),
                ("wal_retrieve_retry_interval", "500ms"),
                ("wal_sender_timeout", "2s"),
            ]
            .into(),
            pg_hba: vec![ENCRYPTED_ONLY],
            synchronous: Some(synchronous("required")),
        };
    }
    // Not `required`: nothing would be acknowledged before the replica is there.
    let moving = surge.filter(|surge| surge.synchronous);
    Postgresql {
        parameters: [].into(),
        pg_hba: vec![ENCRYPTED_ONLY],
        synchronous: moving.map(|_| synchronous("preferred")),
    }
}
