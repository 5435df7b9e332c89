//! How users get in: one Gateway and one HTTPRoute to the web component.

use super::{Scene, hostnames};
use crate::foreign::gateway_api::{
    AllowedRoutes, Backend, From, Gateway, GatewaySpec, HttpRoute, HttpRouteSpec, Listener, Named, Rule, Tls,
};
use crate::input::Input;
use crate::kind::Kind;
use crate::model;
use crate::names::{EDGE_CERTIFICATE, GATEWAY, digest};
use crate::object::Object;
use crate::outcome::{APPLYING, Finding, Outcome};
use crate::seen::Facts;

pub const TOPIC: &str = "RouteReady";
/// The one route.
const ROUTE: &str = "web";

pub fn plan(scene: Scene<'_>) -> Outcome {
    let hostnames = hostnames::held(&scene);
    if hostnames.is_empty() {
        // Nothing is served under a name that isn't ours: not even one that was, for its claim is given up.
        return Outcome {
            findings: vec![finding(&scene)],
            ..Outcome::default()
        };
    }
    let gateway = Gateway {
        spec: GatewaySpec {
            gateway_class_name: scene.model.gateway.class_name.clone(),
            listeners: hostnames
                .iter()
                .map(|hostname| listener(&scene, hostname))
                .collect(),
        },
    };
    let backend = Backend {
        name: scene.model.web.name.as_str().to_owned(),
        port: scene.model.web_port,
    };
    let route = HttpRoute {
        spec: HttpRouteSpec {
            parent_refs: vec![Named { name: GATEWAY.into() }],
            hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
            rules: vec![Rule {
                backend_refs: vec![backend],
            }],
        },
    };
    let mut outcome = Outcome::of(vec![
        Object::declare(scene.id(Kind::Gateway, GATEWAY), scene.marks(), &gateway),
        Object::declare(scene.id(Kind::HttpRoute, ROUTE), scene.marks(), &route),
    ]);
    outcome.findings.push(finding(&scene));
    outcome
}

/// A listener is named after its hostname, so that adding one leaves the others as they are.
fn listener(scene: &Scene<'_>, hostname: &str) -> Listener {
    Listener {
        name: format!("https-{}", &digest(&[hostname])[..8]),
        hostname: hostname.to_owned(),
        port: scene.model.gateway_port,
        protocol: "HTTPS",
        tls: Tls {
            mode: "Terminate",
            certificate_refs: vec![Named {
                name: EDGE_CERTIFICATE.into(),
            }],
        },
        allowed_routes: AllowedRoutes {
            namespaces: From { from: "Same" },
        },
    }
}

/// Whether a route leads to the product, from what is observed alone.
pub fn routed(input: &Input<'_>) -> bool {
    let namespace = model::namespace(input.tenant);
    let facts = |kind, name| {
        input
            .observed
            .get(kind, namespace.as_str(), name)
            .map(|seen| &seen.facts)
    };
    matches!(
        facts(Kind::Gateway, GATEWAY),
        Some(Facts::Gateway { programmed: true, .. })
    ) && matches!(
        facts(Kind::HttpRoute, ROUTE),
        Some(Facts::Route { accepted: true, .. })
    )
}

fn finding(scene: &Scene<'_>) -> Finding {
    let waits = |what: &str, message: &str| {
        let why = if message.is_empty() {
            "no word from the gateway's controller yet"
        } else {
            message
        };
        Finding::new(TOPIC, false, "RouteNotReady", format!("{what}: {why}"))
    };
    let applying = |what: &str| {
        let message = format!("the gateway's controller has not yet seen the last change of {what}");
        Finding::new(TOPIC, false, APPLYING, message)
    };
    match scene.seen(Kind::Gateway, GATEWAY).map(|seen| &seen.facts) {
        Some(Facts::Gateway { current: false, .. }) => return applying("the Gateway"),
        Some(Facts::Gateway { programmed: true, .. }) => {}
        Some(Facts::Gateway { message, .. }) => return waits("the Gateway is not programmed", message),
        _ => return waits("the Gateway is not programmed", "it is being created"),
    }
    match scene.seen(Kind::HttpRoute, ROUTE).map(|seen| &seen.facts) {
        Some(Facts::Route { current: false, .. }) => applying("the route"),
        Some(Facts::Route { accepted: true, .. }) => {
            Finding::new(TOPIC, true, "Ready", "the gateway sends requests to the web tier")
        }
        Some(Facts::Route { message, .. }) => waits("the route is not accepted", message),
        _ => waits("the route is not accepted", "it is being created"),
    }
}
