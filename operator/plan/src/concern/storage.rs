//! Whether a StorageClass encrypts, and with whose key.
//!
//! In: the cluster's StorageClasses, and what the TenantClass allows. Out: the condition `VolumesEncrypted`, and whether a
//! database may be made on it. Invariants: a class that Freehold does not know, or that does not say that it encrypts, is
//! refused unless the TenantClass spells out that it may not; a database that is there already goes on.

use std::collections::BTreeMap;

use freehold_crds::{ClassDatabase, DesiredState, KeyScope};

use super::{Scene, keys};
use crate::input::{Config, Input, StorageClass};
use crate::kind::Kind;
use crate::model::namespace;
use crate::names::DATABASE;
use crate::outcome::{Finding, Outcome, Wait};
use crate::seen::Facts;

/// The word for a StorageClass that isn't there.
const NOT_FOUND: &str = "StorageClassNotFound";
pub const TOPIC: &str = "VolumesEncrypted";

/// Freehold's own driver, which asks the key service for each volume's key.
pub const DRIVER: &str = "csi.freehold.dev";

/// What a driver needs so that its volumes are encrypted.
struct Driver {
    provisioner: &'static str,
    /// Whether it is installed several times, each under a name that ends with its own behind a dot.
    has_many: bool,
    /// The parameter that says so, with the value that it must have; none where it always encrypts.
    parameter: Option<(&'static str, &'static str)>,
    /// Whether it takes a passphrase from a Secret of the cluster, unless [`KMS`] names a key service.
    has_passphrase: bool,
}

const KMS: &str = "encryptionKMSID";

/// The drivers that are known, from their own documentation as of 2026:
/// - <https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/parameters.md>: `encrypted`, with `kmsKeyId` for a key
///   of one's own;
/// - <https://learn.microsoft.com/azure/virtual-machines/disk-encryption>: server-side encryption always, and
///   <https://github.com/kubernetes-sigs/azuredisk-csi-driver/blob/master/docs/driver-parameters.md>: `diskEncryptionSetID` for
///   one's own key;
/// - <https://cloud.google.com/compute/docs/disks/disk-encryption>: encryption at rest always, and
///   <https://github.com/kubernetes-sigs/gcp-compute-persistent-disk-csi-driver/blob/master/README.md>: `disk-encryption-kms-key`
///   for one's own key;
/// - <https://github.com/ceph/ceph-csi/blob/devel/docs/rbd/deploy.md> and
///   <https://github.com/ceph/ceph-csi/blob/devel/docs/cephfs/deploy.md>: `encrypted`. `encryptionKMSID` is needed "if encryption is
///   enabled and a kms is used to store passphrases"; without it `encryptionPassphrase` of the class's Secret is what encrypts, so
///   it isn't asked for. Rook puts its namespace before the name:
///   <https://github.com/rook/rook/blob/master/deploy/examples/csi/rbd/storageclass.yaml>;
/// - <https://longhorn.io/docs/latest/advanced-resources/security/volume-encryption/>: `encrypted` with a passphrase in a Secret.
const DRIVERS: [Driver; 6] = [
    Driver {
        provisioner: "ebs.csi.aws.com",
        has_many: false,
        parameter: Some(("encrypted", "true")),
        has_passphrase: false,
    },
    Driver {
        provisioner: "disk.csi.azure.com",
        has_many: false,
        parameter: None,
        has_passphrase: false,
    },
    Driver {
        provisioner: "pd.csi.storage.gke.io",
        has_many: false,
        parameter: None,
        has_passphrase: false,
    },
    Driver {
        provisioner: "rbd.csi.ceph.com",
        has_many: true,
        parameter: Some(("encrypted", "true")),
        has_passphrase: true,
    },
    Driver {
        provisioner: "cephfs.csi.ceph.com",
        has_many: true,
        parameter: Some(("encrypted", "true")),
        has_passphrase: true,
    },
    Driver {
        provisioner: "driver.longhorn.io",
        has_many: false,
        parameter: Some(("encrypted", "true")),
        has_passphrase: true,
    },
];

impl Driver {
    fn is(&self, provisioner: &str) -> bool {
        match provisioner.strip_suffix(self.provisioner) {
            Some("") => true,
            Some(before) => self.has_many && before.len() > 1 && before.ends_with('.'),
            None => false,
        }
    }
}

/// What is known of the volumes that a StorageClass gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The StorageClasses are not known.
    Unknown,
    /// Encrypted, by this StorageClass.
    Encrypted { class: String, scope: KeyScope },
    /// Not as far as Freehold can tell.
    Refused {
        reason: &'static str,
        message: String,
        unblocked_by: String,
    },
}

/// Judges a StorageClass; the cluster's default where none is named.
pub fn judge(config: &Config, name: Option<&str>) -> Verdict {
    let Some(classes) = &config.storage_classes else {
        return Verdict::Unknown;
    };
    let found = match name {
        Some(name) => classes.get_key_value(name),
        None => classes.iter().find(|(_, class)| class.is_default),
    };
    let Some((name, class)) = found else {
        let (message, unblocked_by) = match name {
            Some(name) => (
                format!("the StorageClass {name} does not exist"),
                format!("create the StorageClass {name}"),
            ),
            None => (
                "the cluster has no default StorageClass, and the TenantClass names none".to_owned(),
                "name one in spec.database.storageClassName of the TenantClass".to_owned(),
            ),
        };
        return Verdict::Refused {
            reason: NOT_FOUND,
            message,
            unblocked_by,
        };
    };
    match encrypts(class, &config.keys_namespace) {
        Ok(scope) => Verdict::Encrypted {
            class: name.clone(),
            scope,
        },
        Err(set) => Verdict::Refused {
            reason: "StorageNotEncrypted",
            message: format!(
                "the StorageClass {name} of {} does not encrypt, as far as Freehold can tell",
                class.provisioner
            ),
            unblocked_by: format!(
                "{set}; or name another StorageClass in spec.database.storageClassName of the TenantClass; or, if the \
                 data may lie in the clear, set allowUnencrypted there"
            ),
        },
    }
}

/// With whose key, or what would have to be set.
fn encrypts(class: &StorageClass, keys_namespace: &str) -> Result<KeyScope, String> {
    if class.provisioner == DRIVER {
        return own_driver(&class.parameters, keys_namespace);
    }
    let known = DRIVERS.iter().find(|driver| driver.is(&class.provisioner));
    match known.map(|driver| driver.parameter) {
        Some(None) => Ok(KeyScope::Platform),
        Some(Some((key, value))) if class.parameters.get(key).is_some_and(|set| set == value) => {
            Ok(KeyScope::Platform)
        }
        Some(Some((key, value))) => Err(format!(
            "take a StorageClass of {} with the parameter {key}: \"{value}\"",
            class.provisioner
        )),
        None => Err("take a StorageClass of a driver that docs/guide/keys.md lists".to_owned()),
    }
}

/// The secrets' names must come from the volume alone: a template that the author of a claim controls could name another's.
fn own_driver(parameters: &BTreeMap<String, String>, keys_namespace: &str) -> Result<KeyScope, String> {
    let wanted = [
        ("encryption", "fscrypt"),
        ("csi.storage.k8s.io/node-stage-secret-name", "${pv.name}"),
        ("csi.storage.k8s.io/node-stage-secret-namespace", keys_namespace),
    ];
    for (key, value) in wanted {
        // Encryption is what the driver does when nothing is said.
        let said = parameters.get(key).map(String::as_str);
        let fits = said == Some(value) || (said.is_none() && key == "encryption");
        if !fits {
            return Err(format!(
                "set the parameter {key}: \"{value}\" of the StorageClass"
            ));
        }
    }
    Ok(KeyScope::Tenant)
}

/// Whether the driver of a StorageClass takes a passphrase from a Secret of this cluster: whoever reads the Secrets can read the data.
pub fn has_passphrase(config: &Config, class: &str) -> bool {
    let class = config
        .storage_classes
        .as_ref()
        .and_then(|classes| classes.get(class));
    class.is_some_and(|class| {
        let mut known = DRIVERS.iter().filter(|driver| driver.is(&class.provisioner));
        known.any(|driver| driver.has_passphrase) && !class.parameters.contains_key(KMS)
    })
}

/// Whose key encrypts the database's volumes: none while it can't be told or is refused.
pub fn scope(scene: &Scene<'_>) -> Option<KeyScope> {
    scope_of(scene.input.config, scene.model.database.class)
}

/// A volume of the tenant's.
pub struct Volume<'a> {
    pub claim: &'a str,
    pub name: &'a str,
    /// The database instance whose volume it is.
    pub instance: Option<&'a str>,
    /// Its claim is being deleted.
    pub ending: bool,
    /// Of its StorageClass, as that is now.
    pub verdict: Verdict,
}

impl Volume<'_> {
    /// Whether Freehold's own driver encrypts it.
    pub fn is_ours(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::Encrypted {
                scope: KeyScope::Tenant,
                ..
            }
        )
    }
}

/// The volumes that are there, in the order of their claims.
pub fn volumes<'a>(input: &'a Input<'_>) -> impl Iterator<Item = Volume<'a>> {
    let namespace = namespace(input.tenant);
    let seen = input.observed.objects.iter();
    seen.filter(move |(id, _)| id.kind == Kind::Volume && id.namespace == namespace.as_str())
        .filter_map(|(id, seen)| match &seen.facts {
            Facts::Volume {
                volume,
                storage_class,
                instance,
            } => Some(Volume {
                claim: &id.name,
                name: volume,
                instance: instance.as_deref(),
                ending: seen.ending,
                verdict: judge(input.config, storage_class.as_deref()),
            }),
            _ => None,
        })
}

/// A volume of the database's that was made under another StorageClass than the TenantClass names now. It stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older<'a> {
    pub claim: &'a str,
    pub scope: KeyScope,
    /// Its driver takes a passphrase from a Secret of the cluster.
    pub has_passphrase: bool,
}

impl Older<'_> {
    fn told(self) -> String {
        let what = match self.scope {
            KeyScope::Tenant => "encrypts with keys of this tenant's own",
            KeyScope::Platform => "encrypts with the platform's key",
            KeyScope::Nobody => "does not encrypt, as far as Freehold can tell",
        };
        format!(
            "the claim {} is older, and of a StorageClass that {what}",
            self.claim
        )
    }
}

/// How far from the tenant's hands whoever can read the volumes is.
fn weakness(scope: KeyScope) -> u8 {
    match scope {
        KeyScope::Tenant => 0,
        KeyScope::Platform => 1,
        KeyScope::Nobody => 2,
    }
}

/// The least encrypted of the database's volumes that are less so than what the TenantClass asks for now. One whose StorageClass is gone
/// is the tenant's when it has a key of the tenant's; else nothing is known of it, and the worst is said.
pub fn older<'a>(scene: &Scene<'a>) -> Option<Older<'a>> {
    let wanted = weakness(scope(scene)?);
    let keys = &scene.input.observed.minted.keys.data;
    let of_instances = volumes(scene.input).filter(|volume| volume.instance.is_some() && !volume.ending);
    let judged = of_instances.filter_map(|volume| {
        let keyed = keys.get(volume.name).is_some_and(|slot| slot.present().is_some());
        let (scope, has_passphrase) = match volume.verdict {
            Verdict::Unknown => return None,
            Verdict::Encrypted { scope, class } => (scope, has_passphrase(scene.input.config, &class)),
            Verdict::Refused {
                reason: NOT_FOUND, ..
            } if keyed => (KeyScope::Tenant, false),
            Verdict::Refused { .. } => (KeyScope::Nobody, false),
        };
        Some(Older {
            claim: volume.claim,
            scope,
            has_passphrase,
        })
    });
    judged
        .filter(|older| weakness(older.scope) > wanted)
        .max_by_key(|older| (weakness(older.scope), older.has_passphrase))
}

/// Whose key encrypts what is there: of the TenantClass and the volumes that are older than its word the least.
pub fn scope_there(scene: &Scene<'_>) -> Option<KeyScope> {
    let asked = scope(scene)?;
    Some(older(scene).map_or(asked, |older| older.scope))
}

/// The same as `scope`, of a class.
pub fn scope_of(config: &Config, class: &ClassDatabase) -> Option<KeyScope> {
    match judge(config, class.storage_class_name.as_deref()) {
        Verdict::Encrypted { scope, .. } => Some(scope),
        Verdict::Refused { .. } if class.allow_unencrypted => Some(KeyScope::Nobody),
        Verdict::Refused { .. } | Verdict::Unknown => None,
    }
}

/// Whether a database may be made. One that is there goes on, whatever becomes of its StorageClass.
pub fn may_create(scene: &Scene<'_>) -> bool {
    scene.input.config.storage_classes.is_none() || scope(scene).is_some()
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let class = scene.model.database.class;
    match judge(scene.input.config, class.storage_class_name.as_deref()) {
        Verdict::Unknown => {}
        Verdict::Encrypted { class, scope } => {
            let whose = match scope {
                KeyScope::Tenant => "with keys of this tenant's own",
                KeyScope::Platform | KeyScope::Nobody => "with the platform's key",
            };
            let message = format!("the StorageClass {class} encrypts {whose}");
            let (truth, reason, message) = match older(&scene) {
                None => (true, "Encrypted", message),
                Some(older) => {
                    let message = format!("{message}; but {}", older.told());
                    outcome.asides.extend(stale(&scene, scope, message.clone()));
                    (older.scope != KeyScope::Nobody, "OlderVolumes", message)
                }
            };
            let finding = Finding::aside(TOPIC, Some(truth), reason, message);
            outcome.findings.push(finding);
        }
        Verdict::Refused { message, .. } if class.allow_unencrypted => {
            let message = format!("{message}; the TenantClass allows it");
            let finding = Finding::aside(TOPIC, Some(false), "AllowedByClass", message);
            outcome.findings.push(finding);
        }
        Verdict::Refused {
            reason,
            message,
            unblocked_by,
        } => {
            outcome.waits.push(Wait {
                reason,
                message: message.clone(),
                unblocked_by,
                stalls: true,
            });
            let there = scene.seen(Kind::Cluster, DATABASE).is_some();
            let message = if there {
                format!("{message}; the database goes on as it is")
            } else {
                format!("{message}; no database is made")
            };
            outcome.findings.push(Finding::new(TOPIC, false, reason, message));
        }
    }
    outcome
}

/// What brings the volumes to what the TenantClass asks for: nothing is moved without a word. Nothing to tell while they are being moved,
/// or the word is there and its wait is told, or the keys are to be destroyed.
fn stale(scene: &Scene<'_>, wanted: KeyScope, message: String) -> Option<Wait> {
    let is_told = wanted == KeyScope::Tenant && keys::is_moving(scene);
    if is_told || scene.model.tenant.spec.desired_state == DesiredState::Terminated {
        return None;
    }
    let unblocked_by = match wanted {
        KeyScope::Tenant => {
            "set spec.keys.rotateDataKeys to a new word: the database moves to new volumes while it is used"
        }
        KeyScope::Platform | KeyScope::Nobody => {
            "more instances (spec.database.instances): each new one gets such volumes. When one of those is the primary (kubectl cnpg \
             promote), replicas on older ones can be replaced; never the only one that is ready, and never the primary"
        }
    };
    Some(Wait {
        reason: "VolumesNotReplaced",
        message,
        unblocked_by: unblocked_by.to_owned(),
        stalls: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(provisioner: &str, parameters: &[(&str, &str)]) -> StorageClass {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        StorageClass {
            provisioner: provisioner.to_owned(),
            parameters: parameters.iter().map(own).collect(),
            is_default: false,
        }
    }

    fn of(provisioner: &str, parameters: &[(&str, &str)]) -> Result<KeyScope, String> {
        encrypts(&class(provisioner, parameters), "freehold-keys")
    }

    #[test]
    fn a_class_encrypts_when_its_driver_does_and_was_told_to() {
        for always in ["disk.csi.azure.com", "pd.csi.storage.gke.io"] {
            assert_eq!(of(always, &[]), Ok(KeyScope::Platform));
        }
        for told in [
            "ebs.csi.aws.com",
            "rbd.csi.ceph.com",
            "cephfs.csi.ceph.com",
            "rook-ceph.cephfs.csi.ceph.com",
            "driver.longhorn.io",
        ] {
            assert_eq!(of(told, &[("encrypted", "true")]), Ok(KeyScope::Platform));
            for not in [&[][..], &[("encrypted", "false")], &[("Encrypted", "true")]] {
                assert!(of(told, not).unwrap_err().contains("encrypted: \"true\""));
            }
        }
        let of_a_key_service = [("encrypted", "true"), ("encryptionKMSID", "vault")];
        assert_eq!(of("rbd.csi.ceph.com", &of_a_key_service), Ok(KeyScope::Platform));
    }

    #[test]
    fn a_driver_is_known_by_its_whole_name_or_by_its_end_where_several_are_installed() {
        for ours in [
            "rook-ceph.rbd.csi.ceph.com",
            "openshift-storage.cephfs.csi.ceph.com",
        ] {
            assert_eq!(of(ours, &[("encrypted", "true")]), Ok(KeyScope::Platform));
        }
        for strange in [
            "rancher.io/local-path",
            "my.ebs.csi.aws.com",
            "notrbd.csi.ceph.com",
            ".rbd.csi.ceph.com",
            "rbd.csi.ceph.com.example",
            "nfs.csi.ceph.com",
            "my.driver.longhorn.io",
            "my.disk.csi.azure.com",
        ] {
            assert!(of(strange, &[("encrypted", "true")]).is_err(), "{strange}");
        }
    }

    #[test]
    fn the_own_driver_s_keys_are_named_by_the_volume_and_lie_in_the_keys_namespace() {
        const NAME: &str = "csi.storage.k8s.io/node-stage-secret-name";
        const NAMESPACE: &str = "csi.storage.k8s.io/node-stage-secret-namespace";
        let good = [(NAME, "${pv.name}"), (NAMESPACE, "freehold-keys")];
        assert_eq!(of(DRIVER, &good), Ok(KeyScope::Tenant));
        let told = [&good[..], &[("encryption", "fscrypt")]].concat();
        assert_eq!(of(DRIVER, &told), Ok(KeyScope::Tenant));
        for bad in [
            vec![],
            vec![(NAME, "${pvc.name}"), (NAMESPACE, "freehold-keys")],
            vec![(NAME, "${pvc.annotations['key']}"), (NAMESPACE, "freehold-keys")],
            vec![(NAME, "${pv.name}"), (NAMESPACE, "${pvc.namespace}")],
            [&good[..], &[("encryption", "none")]].concat(),
        ] {
            assert!(of(DRIVER, &bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn without_a_name_the_default_class_counts() {
        let mut config = Config::default();
        assert_eq!(judge(&config, None), Verdict::Unknown);
        config.storage_classes = Some(BTreeMap::new());
        assert!(matches!(
            judge(&config, None),
            Verdict::Refused {
                reason: "StorageClassNotFound",
                ..
            }
        ));
        let mut default = class("pd.csi.storage.gke.io", &[]);
        default.is_default = true;
        config.storage_classes = Some(
            [
                ("a".to_owned(), class("rancher.io/local-path", &[])),
                ("b".to_owned(), default),
            ]
            .into(),
        );
        assert!(matches!(judge(&config, None), Verdict::Encrypted { class, .. } if class == "b"));
        let refused = judge(&config, Some("a"));
        assert!(matches!(
            refused,
            Verdict::Refused {
                reason: "StorageNotEncrypted",
                ..
            }
        ));
    }
}
