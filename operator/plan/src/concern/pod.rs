//! What every pod of the product has in common: the restricted security context, and one volume with all that it is told.

use freehold_crds::{Placement, Quantity, Resources, Tier};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, EmptyDirVolumeSource, KeyToPath, PodSecurityContext,
    PodSpec, ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretProjection, SecurityContext,
    Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

use super::settings;
use crate::leaf::Leaf;
use crate::names::{DATABASE_ACCOUNT, OWNER_TOKEN, SETTINGS};

/// Not root, and not a user of the node.
const USER: i64 = 10001;
/// Where the product finds what it is told: the contract with its images.
const TOLD: &str = "/etc/freehold";
/// The tier of the release's jobs.
pub const HOOK: &str = "hook";

/// What a pod is told beside its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The certificate that it shows, and whom it trusts.
    pub leaf: Leaf,
    pub database: bool,
    pub owner: bool,
}

/// The tier's label value, by which the policies select.
pub fn tier_label(tier: Tier) -> &'static str {
    match tier {
        Tier::Web => "web",
        Tier::Application => "application",
        Tier::Worker => "worker",
    }
}

/// A pod of one container. The caller adds probes, ports and the restart policy.
pub fn spec(service_account: &str, container: Container, told: Told, placement: &Placement) -> PodSpec {
    PodSpec {
        volumes: Some(vec![told_volume(told), temporary()]),
        ..bare(service_account, container, placement)
    }
}

/// The same without any volume.
pub fn bare(service_account: &str, container: Container, placement: &Placement) -> PodSpec {
    let Placement {
        node_selector,
        tolerations: taints,
        priority_class_name,
    } = placement;
    PodSpec {
        node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
        tolerations: (!taints.is_empty()).then(|| tolerations(placement)),
        priority_class_name: priority_class_name.clone(),
        service_account_name: Some(service_account.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container],
        ..PodSpec::default()
    }
}

/// The class's tolerations in the API's form.
pub fn tolerations(placement: &Placement) -> Vec<Toleration> {
    let wire = |given: &freehold_crds::Toleration| Toleration {
        key: Some(given.key.clone()),
        operator: Some(given.operator.as_str().to_owned()),
        value: given.value.clone(),
        effect: given.effect.map(|effect| effect.as_str().to_owned()),
        toleration_seconds: None,
    };
    placement.tolerations.iter().map(wire).collect()
}

/// The container, without what only some have.
pub fn container(name: &str, image: &str, args: &[String], resources: &Resources) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        // `false` is not kept by the API server, and would look like drift.
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        args: Some(args.to_vec()),
        resources: Some(requirements(resources, |value| Wire(value.0.clone()))),
        volume_mounts: Some(vec![mount("freehold", TOLD, true), mount("tmp", "/tmp", false)]),
        security_context: Some(confined()),
        ..Container::default()
    }
}

/// What a pod of ours asks for that only tries something and ends.
pub fn least() -> Resources {
    Resources {
        cpu_request: Some("5m".into()),
        memory_request: Some("16Mi".into()),
        cpu_limit: None,
        memory_limit: Some("64Mi".into()),
    }
}

/// What the Pod Security standard `restricted` asks of a container, and a root file system that can't be written.
pub fn confined() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

/// Requests and limits in the API's form.
pub fn requirements(resources: &Resources, wire: impl Fn(&Quantity) -> Wire) -> ResourceRequirements {
    let Resources {
        cpu_request,
        memory_request,
        cpu_limit,
        memory_limit,
    } = resources;
    let map = |cpu: &Option<Quantity>, memory: &Option<Quantity>| {
        let both = [("cpu", cpu), ("memory", memory)];
        let map: std::collections::BTreeMap<_, _> = both
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), wire(value.as_ref()?))))
            .collect();
        (!map.is_empty()).then_some(map)
    };
    ResourceRequirements {
        requests: map(cpu_request, memory_request),
        limits: map(cpu_limit, memory_limit),
        claims: None,
    }
}

fn temporary() -> Volume {
    Volume {
        name: "tmp".into(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: Some(Wire("64Mi".into())),
        }),
        ..Volume::default()
    }
}

/// One projected volume, so that all paths lie under one directory and change together.
fn told_volume(told: Told) -> Volume {
    let item = |key: &str, path: &str| KeyToPath {
        key: key.into(),
        path: path.into(),
        mode: None,
    };
    let secret = |name: &str, items: Vec<KeyToPath>| VolumeProjection {
        secret: Some(SecretProjection {
            name: name.into(),
            items: Some(items),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let mut sources = vec![VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: SETTINGS.into(),
            items: Some(vec![item(settings::FILE, settings::FILE)]),
            optional: None,
        }),
        ..VolumeProjection::default()
    }];
    let files = ["ca.crt", "tls.crt", "tls.key"];
    let files = files.map(|key| item(key, &format!("tls/{key}")));
    sources.push(secret(told.leaf.secret(), files.into()));
    if told.database {
        let account = ["host", "port", "dbname", "username", "password"];
        let account = account.map(|key| item(key, &format!("database/{key}")));
        sources.push(secret(DATABASE_ACCOUNT, account.into()));
    }
    if told.owner {
        sources.push(secret(OWNER_TOKEN, vec![item("token", "owner/token")]));
    }
    Volume {
        name: "freehold".into(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(sources),
        }),
        ..Volume::default()
    }
}
