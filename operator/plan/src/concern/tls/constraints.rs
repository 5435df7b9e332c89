//! What the tenant's authority may issue for: its hostnames, and its own Services.
//!
//! Invariants: a hostname that is added is among its constraints before anything is issued for it; one that is given up stays there until
//! nobody can be shown a certificate that names it, for everybody who has the narrower root would refuse that one.

use super::edge::Edges;
use super::hostnames;
use crate::concern::Scene;
use crate::input::Certificate;
use crate::names::service_domain;

/// The domains that it should be for.
pub fn permitted(scene: &Scene<'_>) -> Vec<String> {
    let mut names = hostnames(scene);
    names.push(service_domain(scene.model.namespace.as_str()));
    names.sort();
    names
}

/// What it is to be issued anew for, with the same key.
pub fn other_names(scene: &Scene<'_>, authority: &Certificate) -> Option<Vec<String>> {
    let wanted = permitted(scene);
    if authority.permitted == wanted {
        return None;
    }
    let lacks = wanted.iter().any(|name| !authority.permitted.contains(name));
    let edges = Edges::of(scene.input);
    let given_up = authority.permitted.iter().filter(|name| !wanted.contains(name));
    let mut permitted = wanted.clone();
    permitted.extend(given_up.filter(|name| edges.is_about(name)).cloned());
    permitted.sort();
    (lacks || permitted == wanted).then_some(permitted)
}
