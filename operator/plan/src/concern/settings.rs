//! What the product must know, as one file: `settings.json`. Its checksum stands on the pods, so that a change rolls them.
//!
//! Invariant: no secret is in it.

use std::collections::BTreeMap;

use freehold_crds::Edition;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::Scene;
use crate::kind::Kind;
use crate::model::Model;
use crate::names::{SETTINGS, digest};
use crate::object::Object;
use crate::outcome::Outcome;

/// The file's name, and the key in the ConfigMap.
pub const FILE: &str = "settings.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    tenant: TenantSettings<'a>,
    url: &'a str,
    release: ReleaseSettings<'a>,
    /// Where each component is found inside the namespace.
    services: BTreeMap<&'a str, String>,
    session: Session,
    password: Password,
    refresh: Refresh,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantSettings<'a> {
    name: &'a str,
    display_name: &'a str,
    owner: &'a str,
    edition: Edition,
    seats: i32,
}

#[derive(Serialize)]
struct ReleaseSettings<'a> {
    product: &'a str,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    idle_minutes: u32,
    max_hours: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Password {
    min_length: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refresh {
    idle_minutes: u32,
}

/// The file's text.
pub fn text(model: &Model<'_>) -> String {
    let spec = &model.tenant.spec;
    let services = model.components.iter().filter_map(|part| {
        let url = format!(
            "http://{}.{}.svc.cluster.local:{}",
            part.name, model.namespace, part.port?
        );
        Some((part.component.name.as_str(), url))
    });
    let settings = Settings {
        tenant: TenantSettings {
            name: model.name,
            display_name: &spec.display_name,
            owner: &spec.owner.email,
            edition: spec.edition,
            seats: spec.seats,
        },
        url: &model.url,
        release: ReleaseSettings {
            product: model.product,
            version: model.version.to_string(),
        },
        services: services.collect(),
        session: Session {
            idle_minutes: 30,
            max_hours: 12,
        },
        password: Password { min_length: 12 },
        refresh: Refresh { idle_minutes: 25 },
    };
    // Strings and numbers only: this can't fail.
    serde_json::to_string(&settings).unwrap_or_default()
}

/// For the pods' annotation.
pub fn checksum(model: &Model<'_>) -> String {
    digest(&[&text(model)])
}

pub fn plan(scene: Scene<'_>) -> Outcome {
    let map = ConfigMap {
        data: Some([(FILE.to_owned(), text(scene.model))].into()),
        ..ConfigMap::default()
    };
    Outcome::of(vec![Object::declare(
        scene.id(Kind::ConfigMap, SETTINGS),
        scene.marks(),
        &map,
    )])
}
