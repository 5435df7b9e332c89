//! The cluster's StorageClasses, as far as they say whether they encrypt. Client required.
//!
//! In: a watch. Out: the configuration that plans are told of, and a pass for every tenant when it changed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use freehold_crds::Tenant;
use freehold_plan::StorageClass;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::storage::v1::StorageClass as Wire;
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::Store as Reflector;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use tracing::info;

use super::queue::wake_those;
use crate::reconcile::Context;
use crate::watch::Wakes;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

type Classes = BTreeMap<String, StorageClass>;

/// All of them, once.
pub async fn list(client: &Client) -> kube::Result<Classes> {
    let api: Api<Wire> = Api::all(client.clone());
    let listed = api.list(&ListParams::default()).await?;
    Ok(listed.iter().map(reduce).collect())
}

/// Keeps the configuration up to date for ever.
pub async fn follow(context: Arc<Context>, tenants: Reflector<Tenant>, wakes: Wakes) {
    let api: Api<Wire> = Api::all(context.client.clone());
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(stream);
    let (mut now, mut listing) = (Classes::new(), Classes::new());
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(class)) => {
                listing.extend([reduce(&class)]);
                continue;
            }
            Ok(Event::InitDone) => now = std::mem::take(&mut listing),
            Ok(Event::Apply(class)) => now.extend([reduce(&class)]),
            Ok(Event::Delete(class)) => {
                now.remove(&class.name_any());
            }
            Err(error) => {
                info!(%error, "the watch of StorageClasses was interrupted");
                continue;
            }
        }
        let mut config = context.config.write().unwrap_or_else(PoisonError::into_inner);
        if config.storage_classes.as_ref() == Some(&now) {
            continue;
        }
        config.storage_classes = Some(now.clone());
        drop(config);
        wake_those(&tenants, &wakes, |_| true);
    }
}

fn reduce(class: &Wire) -> (String, StorageClass) {
    let reduced = StorageClass {
        provisioner: class.provisioner.clone(),
        parameters: class.parameters.clone().unwrap_or_default(),
        is_default: class.annotations().get(DEFAULT).is_some_and(|set| set == "true"),
    };
    (class.name_any(), reduced)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "all of this is a test")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_is_the_default_only_when_its_annotation_says_true() {
        let of = |default: &str| {
            let class = json!({
                "metadata": {"name": "fast", "annotations": {DEFAULT: default}},
                "provisioner": "ebs.csi.aws.com", "parameters": {"encrypted": "true"},
            });
            reduce(&serde_json::from_value(class).unwrap()).1
        };
        assert!(of("true").is_default && !of("false").is_default);
        assert_eq!(of("true").parameters["encrypted"], "true");
    }
}
