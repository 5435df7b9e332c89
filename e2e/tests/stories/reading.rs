//! The stories read the cluster without kubectl: what they see is what kubectl shows.

use std::time::Duration;

use freehold_e2e::{install, kube};
use serde_json::Value;

use crate::stage::{MINUTE, calm, lab, namespace, wait_ready};

#[test]
fn what_is_read_is_what_kubectl_prints() {
    calm();
    wait_ready("acme", MINUTE);
    let own = namespace("acme");
    let questions: &[&[&str]] = &[
        &["tenant", "acme"],
        &["tenants"],
        &["nodes"],
        &["namespace", &own],
        &[
            "-n",
            &own,
            "deployments,services,pvc",
            "-l",
            "freehold.dev/tenant=acme",
        ],
        &["-n", &own, "clusters.postgresql.cnpg.io", "db"],
        &["-A", "pods", "--field-selector=status.phase=Running"],
        &["-n", install::NAMESPACE, "tenantoperations"],
        &["-n", &own, "secret", "nobody"],
        &["releases", "nobody"],
        &["unicorns"],
    ];
    for question in questions {
        // Something may change between the two.
        kube::until(
            &format!("{question:?} to be the same"),
            Duration::from_secs(20),
            || Ok((read(question) == printed(question)).then_some(())),
        )
        .unwrap_or_else(|error| panic!("{error:#}\n{:#?}\n{:#?}", read(question), printed(question)));
    }
}

/// Only how an error of the API server begins: kubectl says more.
fn read(question: &[&str]) -> Result<Value, String> {
    kube::get(lab(), question).map_err(|error| error.to_string())
}

fn printed(question: &[&str]) -> Result<Value, String> {
    let args = [&["get", "-o", "json"], question].concat();
    match kube::kubectl(lab(), &args) {
        Ok(text) => {
            let mut object: Value = serde_json::from_str(&text).unwrap();
            if object["kind"] == "List" {
                object.as_object_mut().unwrap().remove("metadata");
            }
            Ok(object)
        }
        Err(error) => {
            let text = error.to_string();
            let at = text.find("rror").map_or(0, |at| at - 1);
            Err(text[at..].trim().to_owned())
        }
    }
}
