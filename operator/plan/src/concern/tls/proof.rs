//! Whether the gateway trusts the authority that issues next. It can't be asked, so it is seen: a pod of ours shows a certificate of that
//! one, stands behind a Service, a policy and a route as the web tier does, and is asked for through the gateway.
//!
//! In: the hostnames that are ours, the addresses that the Gateway has. Out: those objects, the certificate's minting, and where to
//! ask. Invariant: without an address, a hostname or pods of ours (`verification.enabled` of the chart) nothing of it is there, and
//! the gateway has the overlap, as a worker has.

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, SecretVolumeSource, Service, ServicePort, ServiceSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use freehold_crds::Tier;

use crate::concern::pod::{self, tier_label};
use crate::concern::{Scene, gateway, hostnames};
use crate::foreign::gateway_api::{Backend, Match, Path, Rule};
use crate::kind::Kind;
use crate::names::{GATEWAY, PROOF, PROOF_CERTIFICATE, TIER_LABEL, service_host};
use crate::object::Object;
use crate::outcome::{Action, EndGateway};
use crate::seen::Facts;

/// By which its Service finds the pod: the label of components would make it one of the web tier's.
const LABEL: &str = "freehold.dev/proof";
/// Where it is asked for. Below what belongs to no product (RFC 8615).
const PATH: &str = "/.well-known/freehold/next-authority";
/// Where it finds its certificate.
const SHOWN: &str = "/etc/freehold/tls";
/// How long a pod shows what it has read; the next one is given another certificate.
const POD_SECONDS: i64 = 86_400;
/// How long a certificate is good for: longer than its pod is there.
const CERTIFICATE_SECONDS: u64 = 2 * 86_400;

/// Where to ask, if it can be done.
pub fn asked(scene: &Scene<'_>) -> Option<EndGateway> {
    scene.input.config.verification.as_ref()?;
    let seen = scene.seen(Kind::Gateway, GATEWAY)?;
    let Facts::Gateway { addresses, .. } = &seen.facts else {
        return None;
    };
    Some(EndGateway {
        address: addresses.first()?.clone(),
        port: scene.model.gateway_port,
        hostname: asked_for(scene)?.to_owned(),
        path: PATH.to_owned(),
    })
}

/// The first hostname that the gateway has something to show for: one that was just added has nothing yet.
fn asked_for<'a>(scene: &Scene<'a>) -> Option<&'a str> {
    let held = hostnames::held(scene.input);
    let is_shown = |name: &&&str| gateway::shown(scene.input).any(|(shown, _)| shown == **name);
    held.iter().find(is_shown).or(held.first()).copied()
}

/// What must be there for that.
pub fn stage(scene: &Scene<'_>) -> (Vec<Object>, Option<Action>) {
    let (Some(asked), Some(verification)) = (asked(scene), &scene.input.config.verification) else {
        return (Vec::new(), None);
    };
    let port = scene.model.web_port;
    let rule = Rule {
        matches: vec![Match {
            path: Path {
                kind: "Exact",
                value: asked.path,
            },
        }],
        filters: Vec::new(),
        backend_refs: vec![Backend {
            name: PROOF.to_owned(),
            port,
        }],
    };
    let hostnames = hostnames::held(scene.input);
    let route = gateway::route(scene.model.gateway_port, &hostnames, rule);
    let policy = gateway::verified(scene, PROOF);
    let mut objects = vec![
        Object::declare(scene.id(Kind::Service, PROOF), scene.marks(), &service(port)),
        Object::declare(scene.id(Kind::BackendTlsPolicy, PROOF), scene.marks(), &policy),
        Object::declare(scene.id(Kind::HttpRoute, PROOF), scene.marks(), &route),
    ];
    let seen = scene.seen(Kind::Pod, PROOF);
    // One that is over (evicted, its node gone, its time up) serves no more: it makes room for the next.
    let is_over = seen.is_some_and(|seen| matches!(seen.facts, Facts::Pod { over: true, .. }));
    if !is_over {
        objects.push(Object::declare(
            scene.id(Kind::Pod, PROOF),
            scene
                .marks()
                .label(TIER_LABEL, tier_label(Tier::Web))
                .label(LABEL, PROOF),
            &pod(scene, &verification.image),
        ));
    }
    // Before the pod is: actions go before what is written in the last wave.
    let mint = seen.is_none().then(|| Action::MintProof {
        namespace: scene.model.namespace.as_str().to_owned(),
        dns_name: service_host(PROOF, scene.model.namespace.as_str()),
        lifetime_seconds: CERTIFICATE_SECONDS,
    });
    (objects, mint)
}

fn service(port: u16) -> Service {
    let spec = ServiceSpec {
        type_: Some("ClusterIP".into()),
        selector: Some([(LABEL.to_owned(), PROOF.to_owned())].into()),
        ports: Some(vec![ServicePort {
            name: Some("http".into()),
            port: port.into(),
            target_port: Some(IntOrString::Int(port.into())),
            protocol: Some("TCP".into()),
            app_protocol: Some("https".into()),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    };
    Service {
        spec: Some(spec),
        ..Service::default()
    }
}

/// On the port that the policies of the web tier let the gateway reach.
fn pod(scene: &Scene<'_>, image: &str) -> Pod {
    let args = [
        "show",
        "--port",
        &scene.model.web_port.to_string(),
        "--tls",
        SHOWN,
    ]
    .map(str::to_owned);
    let container = Container {
        command: Some(vec!["/freehold".to_owned()]),
        volume_mounts: Some(vec![VolumeMount {
            name: "tls".into(),
            mount_path: SHOWN.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..pod::container("show", image, &args, &pod::least())
    };
    let volume = Volume {
        name: "tls".into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(PROOF_CERTIFICATE.into()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let spec = PodSpec {
        volumes: Some(vec![volume]),
        termination_grace_period_seconds: Some(1),
        active_deadline_seconds: Some(POD_SECONDS),
        ..pod::bare("default", container, scene.model.placement)
    };
    Pod {
        spec: Some(spec),
        ..Pod::default()
    }
}
