//! `freehold plan`: what would be done for the tenants in some files, as if nothing of them existed yet. No client; no
//! secret is printed, because none is in a plan.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use freehold_crds::{Release, ReleaseChannel, Tenant, TenantClass, yaml};
use freehold_plan::{Config, Input, Observed, Record, plan};
use jiff::Timestamp;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{Output, PlanArgs, print};

/// What was found in the files.
#[derive(Debug, Default)]
pub struct Documents {
    pub tenants: Vec<Tenant>,
    pub classes: Vec<TenantClass>,
    pub releases: Vec<Release>,
    pub channels: Vec<ReleaseChannel>,
}

pub fn main(args: &PlanArgs) -> anyhow::Result<()> {
    let documents = read(&args.files)?;
    if documents.tenants.is_empty() {
        bail!("no Tenant in these files: name a file that has one with -f");
    }
    for tenant in &documents.tenants {
        let planned = describe(tenant, &documents);
        match args.output {
            Output::Yaml => print(&format!("---\n{}", yaml::to_string(&planned)?))?,
            Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&planned)?))?,
        }
    }
    Ok(())
}

/// The kinds of ours in some files; others are passed over.
pub fn read(files: &[PathBuf]) -> anyhow::Result<Documents> {
    let mut documents = Documents::default();
    for file in files {
        for path in expand(file)? {
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let found = yaml::documents(&text).with_context(|| format!("{}", path.display()))?;
            for document in found {
                take(&mut documents, document).with_context(|| format!("{}", path.display()))?;
            }
        }
    }
    Ok(documents)
}

fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| format!("{}", path.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"))
        .collect();
    files.sort();
    Ok(files)
}

fn take(documents: &mut Documents, document: Value) -> anyhow::Result<()> {
    fn typed<T: DeserializeOwned>(document: Value) -> anyhow::Result<T> {
        Ok(serde_json::from_value(document)?)
    }
    if document["apiVersion"] != "freehold.dev/v1alpha1" {
        return Ok(());
    }
    match document["kind"].as_str() {
        Some("Tenant") => documents.tenants.push(typed(document)?),
        Some("TenantClass") => documents.classes.push(typed(document)?),
        Some("ReleaseChannel") => documents.channels.push(typed(document)?),
        Some("Release") => documents.releases.push(typed(document)?),
        _ => {}
    }
    Ok(())
}

/// The plan of one tenant, for printing.
pub fn describe(tenant: &Tenant, documents: &Documents) -> Value {
    let mut tenant = tenant.clone();
    tenant
        .metadata
        .uid
        .get_or_insert_with(|| "given-by-the-api-server".to_owned());
    let named = |name: &str| name.to_owned();
    let class = named(&tenant.spec.class_name);
    let releases = documents.releases.iter();
    let releases = releases
        .map(|release| (release.name_any(), Arc::new(release.clone())))
        .collect();
    let mut channels = documents.channels.iter();
    let planned = plan(&Input {
        tenant: &tenant,
        class: documents.classes.iter().find(|found| found.name_any() == class),
        channel: channels.find(|found| Some(found.name_any()) == tenant.spec.release.channel),
        releases: &releases,
        observed: &Observed::default(),
        now: Timestamp::UNIX_EPOCH,
        config: &Config::default(),
    });
    let objects: Vec<&Value> = planned.objects.iter().map(|object| &object.body).collect();
    let records: Vec<Value> = planned
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Create { name, spec } => Some(json!({ "name": name, "spec": spec })),
            Record::Advance { .. } | Record::Destruction { .. } => None,
        })
        .collect();
    let blockers: Vec<Value> = planned
        .status
        .blockers
        .iter()
        .map(|blocker| {
            json!({
                "reason": blocker.reason,
                "message": blocker.message,
                "unblockedBy": blocker.unblocked_by,
            })
        })
        .collect();
    json!({
        "tenant": tenant.name_any(),
        "namespace": planned.status.namespace,
        "url": planned.status.url,
        "blockers": blockers,
        "actions": planned.actions,
        "records": records,
        "objects": objects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_planned_without_a_blocker() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
        let documents = read(&[samples]).unwrap();
        let names: Vec<_> = documents.tenants.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["acme", "globex"]);
        for tenant in &documents.tenants {
            let planned = describe(tenant, &documents);
            assert_eq!(planned["blockers"], json!([]));
            assert!(planned["objects"].as_array().unwrap().len() > 20);
            assert_eq!(
                planned["url"],
                format!("https://{}.localhost:8443", tenant.name_any())
            );
        }
    }

    #[test]
    fn the_sample_of_a_channel_is_read_and_a_tenant_without_a_release_in_its_ring_says_so() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
        let documents = read(&[samples.clone(), samples.join("channel")]).unwrap();
        assert_eq!(documents.channels[0].spec.rings.len(), 4);
        let tenant = documents
            .tenants
            .iter()
            .find(|tenant| tenant.name_any() == "initech");
        let planned = describe(tenant.unwrap(), &documents);
        assert_eq!(
            planned["blockers"][0]["reason"], "NoRelease",
            "{:#}",
            planned["blockers"]
        );
    }
}
