//! The files that are generated from the types: `crds/*.yaml`, the templates of the chart `freehold-crds`, and the
//! reference in `docs/reference`.
//!
//! In: the types. Out: paths below the repository's root, and their text. Nothing is written here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::yaml::{self, YamlError};
use crate::{
    DestructionRecord, HostnameClaim, Release, ReleaseApproval, ReleaseChannel, Settings, Tenant,
    TenantClass, TenantOperation, reference,
};

const HEADER: &str = "# Generated from the types in crds/src by `cargo run -p freehold-crds -- --write`.\n";

/// A file that must stand in the repository as it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Relative to the repository's root.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Every generated file of this crate.
pub fn generated_files() -> Result<Vec<GeneratedFile>, YamlError> {
    let mut files = Vec::new();
    let definitions = [
        Tenant::crd(),
        TenantClass::crd(),
        Release::crd(),
        ReleaseChannel::crd(),
        ReleaseApproval::crd(),
        TenantOperation::crd(),
        HostnameClaim::crd(),
        DestructionRecord::crd(),
    ];
    files.push(GeneratedFile {
        path: "docs/reference/api.md".to_owned(),
        text: reference::page(&definitions),
    });
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Settings)).unwrap_or_default();
    files.push(GeneratedFile {
        path: "docs/reference/settings.schema.json".to_owned(),
        text: format!("{schema}\n"),
    });
    for definition in definitions {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let text = format!("{HEADER}{}", yaml::to_string(&definition)?);
        files.push(GeneratedFile {
            path: format!("crds/{name}.yaml"),
            text,
        });
        let text = format!("{HEADER}{}", yaml::to_string(&kept_by_helm(definition))?);
        files.push(GeneratedFile {
            path: format!("charts/freehold-crds/templates/{name}.yaml"),
            text,
        });
    }
    Ok(files)
}

/// Uninstalling the chart must not delete the definitions: with them every tenant would go.
fn kept_by_helm(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let annotations = definition.metadata.annotations.get_or_insert_default();
    annotations.insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    definition
}
