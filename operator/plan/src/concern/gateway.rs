//! How users get in: one Gateway, and one HTTPRoute to the web component, whose certificate the gateway verifies.
//!
//! Invariant: nothing is served in the clear: what comes by plain HTTP is sent to HTTPS.

use super::tls::Edges;
use super::{Scene, hostnames, issuer};
use crate::foreign::gateway_api::{
    AllowedRoutes, Backend, BackendTlsPolicy, BackendTlsPolicySpec, Filter, From, Gateway, GatewaySpec,
    Header, Headers, HttpRoute, HttpRouteSpec, Listener, Named, Parent, Redirect, Rule, Target, Tls,
    Validation,
};
use crate::input::Input;
use crate::kind::Kind;
use crate::leaf::EdgeSlot;
use crate::model;
use crate::names::{AUTHORITY_BUNDLE, GATEWAY, digest, service_host};
use crate::object::Object;
use crate::outcome::{APPLYING, Finding, Outcome};
use crate::seen::Facts;

pub const TOPIC: &str = "RouteReady";
/// The one route.
const ROUTE: &str = "web";
/// The one that sends plain HTTP to HTTPS, and its listener.
const REDIRECT: &str = "redirect";
/// How long browsers take nothing but HTTPS from a hostname: a year (RFC 6797; hstspreload.org asks for as much). Only the
/// hostname itself, for what is below it may be the customer's.
const HSTS_SECONDS: u32 = 31_536_000;

pub fn plan(scene: Scene<'_>) -> Outcome {
    let hostnames = hostnames::held(scene.input);
    if hostnames.is_empty() {
        // Nothing is served under a name that isn't ours: not even one that was, for its claim is given up.
        return Outcome {
            findings: vec![finding(&scene)],
            ..Outcome::default()
        };
    }
    let plain = scene.model.plain_port;
    let mut listeners = listeners(&scene, &hostnames);
    listeners.extend(plain.map(plain_listener));
    let gateway = Gateway {
        spec: GatewaySpec {
            gateway_class_name: scene.model.gateway.class_name.clone(),
            listeners,
        },
    };
    let mut outcome = Outcome::of(vec![
        Object::declare(scene.id(Kind::Gateway, GATEWAY), scene.marks(), &gateway),
        Object::declare(
            scene.id(Kind::BackendTlsPolicy, ROUTE),
            scene.marks(),
            &verified(&scene, scene.model.web.name.as_str()),
        ),
        Object::declare(
            scene.id(Kind::HttpRoute, ROUTE),
            scene.marks(),
            &route(scene.model.gateway_port, &hostnames, serve(&scene)),
        ),
    ]);
    if let Some(port) = plain {
        let id = scene.id(Kind::HttpRoute, REDIRECT);
        let route = route(port, &hostnames, redirect(scene.model.gateway_port));
        outcome.objects.push(Object::declare(id, scene.marks(), &route));
    }
    outcome.findings.push(finding(&scene));
    outcome
}

/// What comes for the hostnames at one of the gateway's ports.
pub fn route(port: u16, hostnames: &[&str], rule: Rule) -> HttpRoute {
    HttpRoute {
        spec: HttpRouteSpec {
            parent_refs: vec![Parent {
                name: GATEWAY.into(),
                port,
            }],
            hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
            rules: vec![rule],
        },
    }
}

fn serve(scene: &Scene<'_>) -> Rule {
    let header = Header {
        name: "Strict-Transport-Security",
        value: format!("max-age={HSTS_SECONDS}"),
    };
    Rule {
        matches: Vec::new(),
        filters: vec![Filter::ResponseHeaderModifier {
            response_header_modifier: Headers { set: vec![header] },
        }],
        backend_refs: vec![Backend {
            name: scene.model.web.name.as_str().to_owned(),
            port: scene.model.web_port,
        }],
    }
}

fn redirect(port: u16) -> Rule {
    Rule {
        matches: Vec::new(),
        filters: vec![Filter::RequestRedirect {
            request_redirect: Redirect {
                scheme: "https",
                port,
                status_code: 301,
            },
        }],
        backend_refs: Vec::new(),
    }
}

/// The gateway speaks TLS to what is behind a Service, and takes it for that by its certificate.
pub fn verified(scene: &Scene<'_>, service: &str) -> BackendTlsPolicy {
    let target = |kind, name: &str| Target {
        group: "",
        kind,
        name: name.to_owned(),
    };
    BackendTlsPolicy {
        spec: BackendTlsPolicySpec {
            target_refs: vec![target("Service", service)],
            validation: Validation {
                ca_certificate_refs: vec![target("ConfigMap", AUTHORITY_BUNDLE)],
                hostname: service_host(service, scene.model.namespace.as_str()),
            },
        },
    }
}

/// One for all hostnames: what it is asked for tells them apart.
fn plain_listener(port: u16) -> Listener {
    Listener {
        name: REDIRECT.to_owned(),
        hostname: None,
        port,
        protocol: "HTTP",
        tls: None,
        allowed_routes: AllowedRoutes {
            namespaces: From { from: "Same" },
        },
    }
}

/// A listener is named after its hostname, so that adding one leaves the others as they are.
pub fn listener_of(hostname: &str) -> String {
    format!("https-{}", &digest(&[hostname])[..8])
}

/// One for each hostname that there is something to show for: controllers call a Gateway broken as a whole that refers to a Secret which
/// isn't there. In the beginning there is nothing for any, and no Gateway is without listeners: then the Secrets are made in this very
/// pass, before it.
fn listeners(scene: &Scene<'_>, hostnames: &[&str]) -> Vec<Listener> {
    let edges = Edges::of(scene.input);
    let shown = hostnames.iter().filter_map(|hostname| {
        let secret = issuer::shown(scene, &edges, hostname)?;
        Some(listener(scene, hostname, secret))
    });
    let shown: Vec<Listener> = shown.collect();
    if !shown.is_empty() {
        return shown;
    }
    let begun = hostnames.iter().map(|hostname| {
        listener(
            scene,
            hostname,
            edges.place(hostname).unwrap_or(EdgeSlot::FIRST).secret(),
        )
    });
    begun.collect()
}

fn listener(scene: &Scene<'_>, hostname: &str, secret: &str) -> Listener {
    Listener {
        name: listener_of(hostname),
        hostname: Some(hostname.to_owned()),
        port: scene.model.gateway_port,
        protocol: "HTTPS",
        tls: Some(Tls {
            mode: "Terminate",
            certificate_refs: vec![Named {
                name: secret.to_owned(),
            }],
        }),
        allowed_routes: AllowedRoutes {
            namespaces: From { from: "Same" },
        },
    }
}

/// What the Gateway shows as it was last seen: each hostname of a listener with the Secret that it is shown with.
pub fn shown<'a>(input: &Input<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let namespace = model::namespace(input.tenant);
    let seen = input.observed.get(Kind::Gateway, namespace.as_str(), GATEWAY);
    let listeners = seen.and_then(|seen| seen.live["spec"]["listeners"].as_array());
    listeners.into_iter().flatten().filter_map(|listener| {
        let secret = &listener["tls"]["certificateRefs"][0]["name"];
        Some((listener["hostname"].as_str()?, secret.as_str()?))
    })
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
