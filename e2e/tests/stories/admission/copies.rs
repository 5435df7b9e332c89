//! Freehold's kinds once more, under a group that nobody watches: what is tried with an object that is really there is not
//! acted on by the operator. The rules are those that the API server has; some of them are left out at first, so that
//! objects can be stored that break them.

use std::time::Duration;

use freehold_e2e::kube;
use serde_json::{Value, json};

use super::api::Api;
use super::table::{absent, changed};
use super::{approvals, channels, classes, records, releases, tenants};

const GROUP: &str = "stories.freehold.test";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SOON: Duration = Duration::from_secs(30);

/// The kinds under another group; gone at the end, with their objects.
pub struct Copies<'a>(pub &'a Api);

pub const KINDS: [(&str, &str); 8] = [
    ("Tenant", "tenants"),
    ("TenantClass", "tenantclasses"),
    ("Release", "releases"),
    ("ReleaseChannel", "releasechannels"),
    ("ReleaseApproval", "releaseapprovals"),
    ("TenantOperation", "tenantoperations"),
    ("HostnameClaim", "hostnameclaims"),
    ("DestructionRecord", "destructionrecords"),
];

/// Without these, at first.
const LOOSENED: [&str; 3] = [
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/seats/maximum",
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/hostnames/items/pattern",
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/displayName/x-kubernetes-validations",
];

impl<'a> Copies<'a> {
    pub fn make(api: &'a Api) -> Copies<'a> {
        let copies = Copies(api);
        copies.remove();
        for (_, plural) in KINDS {
            let mut definition = definition(api, plural);
            if plural == "tenants" {
                definition = changed(&definition, &LOOSENED.map(|path| (path, absent())));
            }
            // The API server takes a moment to forget those of a run that was cut off.
            kube::until("the definition to be made", SOON, || {
                Ok(api.create(DEFINITIONS, &definition).is_taken().then_some(()))
            })
            .unwrap();
        }
        for (kind, plural) in KINDS {
            kube::until("the kind to be served", SOON, || {
                let answer = api.try_create(&path(plural), &renamed(&base(kind), "probe"));
                Ok(answer.is_taken().then_some(()))
            })
            .unwrap();
        }
        copies
    }

    /// The rules that were left out, again.
    pub fn tighten(&self) {
        let path = format!("{DEFINITIONS}/tenants.{GROUP}");
        let mut whole = definition(self.0, "tenants");
        whole["metadata"]["resourceVersion"] = self.0.get(&path)["metadata"]["resourceVersion"].clone();
        self.0.send("PUT", &path, whole.to_string().as_bytes()).taken();
        let wrong = changed(&base("Tenant"), &[("/spec/seats", json!(2_000_000))]);
        kube::until("the rule to count", SOON, || {
            let answer = self
                .0
                .try_create(&self::path("tenants"), &renamed(&wrong, "probe"));
            Ok((!answer.is_taken()).then_some(()))
        })
        .unwrap();
    }

    fn remove(&self) {
        for (_, plural) in KINDS {
            self.0
                .send("DELETE", &format!("{DEFINITIONS}/{plural}.{GROUP}"), b"");
        }
    }
}

impl Drop for Copies<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

fn definition(api: &Api, plural: &str) -> Value {
    let mut copy = api.get(&format!("{DEFINITIONS}/{plural}.freehold.dev"));
    copy["metadata"] = json!({"name": format!("{plural}.{GROUP}")});
    copy["spec"]["group"] = json!(GROUP);
    let names = copy["spec"]["names"].as_object_mut().unwrap();
    names.remove("shortNames");
    copy.as_object_mut().unwrap().remove("status");
    copy
}

pub fn path(plural: &str) -> String {
    match plural {
        "tenantoperations" | "hostnameclaims" => {
            format!("/apis/{GROUP}/v1alpha1/namespaces/default/{plural}")
        }
        _ => format!("/apis/{GROUP}/v1alpha1/{plural}"),
    }
}

pub fn base(kind: &str) -> Value {
    let mut object = match kind {
        "Tenant" => tenants::base(),
        "TenantClass" => classes::base(),
        "Release" => releases::base(),
        "ReleaseChannel" => channels::base(),
        "ReleaseApproval" => approvals::base(),
        "TenantOperation" => records::operation(),
        "DestructionRecord" => records::destruction(),
        _ => records::claim(),
    };
    object["apiVersion"] = json!(format!("{GROUP}/v1alpha1"));
    if object["metadata"]["namespace"].is_string() {
        object["metadata"]["namespace"] = json!("default");
    }
    object
}

pub fn renamed(object: &Value, name: &str) -> Value {
    changed(object, &[("/metadata/name", json!(name))])
}
