//! What the product must know, as one file: `settings.json`. Its checksum stands on the pods, so that a change rolls them.
//!
//! Its form is `freehold_crds::Settings`. Invariant: no secret is in it.

use freehold_crds::{
    DatabaseSettings, RefreshSettings, ReleaseSettings, Settings, SsoSettings, SupportSettings,
    TenantSettings,
};
use k8s_openapi::api::core::v1::ConfigMap;

use super::Scene;
use crate::kind::Kind;
use crate::model::Model;
use crate::names::{DATABASE_PRIMARY, SETTINGS, digest, service_host};
use crate::object::Object;
use crate::outcome::Outcome;

/// The file's name, and the key in the ConfigMap.
pub const FILE: &str = "settings.json";

/// The file's text.
pub fn text(model: &Model<'_>) -> String {
    let spec = &model.tenant.spec;
    let services = model.components.iter().filter_map(|part| {
        let host = service_host(part.name.as_str(), model.namespace.as_str());
        let url = format!("https://{host}:{}", part.port?);
        Some((part.component.name.clone(), url))
    });
    let settings = Settings {
        tenant: TenantSettings {
            name: model.name.to_owned(),
            display_name: spec.display_name.clone(),
            owner: spec.owner.email.clone(),
            owner_name: spec.owner.name.clone(),
            edition: spec.edition,
            seats: spec.seats,
            region: spec.region.clone(),
            environment: spec.environment,
        },
        url: model.url.clone(),
        release: ReleaseSettings {
            product: model.product.to_owned(),
            version: model.version.to_string(),
        },
        services: services.collect(),
        database: DatabaseSettings {
            host: service_host(DATABASE_PRIMARY, model.namespace.as_str()),
        },
        session: spec.session.clone(),
        password: spec.password.clone(),
        sso: spec.sso.as_ref().map(|sso| SsoSettings {
            entity_id: sso.saml.entity_id.clone(),
            endpoint: sso.saml.endpoint.clone(),
            signing_certificate: sso.saml.signing_certificate.clone(),
            alternate_id: sso.saml.alternate_id.clone(),
        }),
        support: SupportSettings {
            consent: spec.support.consent,
        },
        refresh: RefreshSettings { idle_minutes: 25 },
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
