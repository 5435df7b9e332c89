//! What a watch keeps of an object: identity, the part that can drift, and the facts that decisions need.
//!
//! In: the object as the API server sent it. Out: `Seen`, some hundred bytes instead of some thousand. No client.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::kind::Kind;
use crate::names::{FREEHOLD, HIBERNATION, INCARNATION, TENANT_UID};
use jiff::Timestamp;

/// An object as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub uid: String,
    pub resource_version: String,
    /// Has a deletion timestamp.
    pub ending: bool,
    /// Our fields are still owned by the create, not by an apply: server-side apply could not take one away.
    pub created: bool,
    /// `metadata.labels`, `metadata.annotations` and everything outside metadata and status.
    pub live: Value,
    pub facts: Facts,
}

/// What the status of an object says, as far as anybody asks.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Facts {
    #[default]
    None,
    Namespace {
        /// The tenant that holds it; none on one that Freehold did not make.
        tenant_uid: Option<String>,
        /// Which life of the tenant it belongs to.
        incarnation: Option<String>,
    },
    Claim {
        hostname: String,
        tenant: String,
        incarnation: String,
        /// None while it is held.
        given_up_at: Option<Timestamp>,
    },
    Destruction {
        /// Which life's keys it is about.
        incarnation: String,
        /// Since when they are no more.
        destroyed_at: Option<Timestamp>,
        /// It was called off before anything was destroyed.
        cancelled: bool,
    },
    Pod {
        /// All of its containers have ended.
        over: bool,
        /// What the first container left as its last word.
        told: Option<String>,
        /// The first container's image is on its node.
        pulled: bool,
        /// What the first container waits for, in the kubelet's words.
        waits: Option<String>,
    },
    Deployment {
        /// The release's version that the pods run, once the roll-out is through.
        version: Option<String>,
        /// The controller has seen the last change, and every pod is updated and available.
        settled: bool,
        available: i32,
        wanted: i32,
        /// Why the roll-out does not go on.
        failure: Option<String>,
        /// Its controller has waited long enough for the pods.
        given_up: bool,
        /// Every pod of the last change has been available once, whatever became of them.
        complete: bool,
    },
    Job {
        succeeded: bool,
        failed: Option<String>,
        /// It failed because its container ran and ended with an error of its own, as far as the job was made to tell that
        /// from other ends.
        judged: bool,
    },
    Database {
        ready: bool,
        /// Its controller has seen the last change, as far as it says.
        current: bool,
        /// Its pods are stopped, and its volumes kept.
        hibernated: bool,
        /// Where its primary is reached.
        address: Option<String>,
        /// The instance that takes writes.
        primary: Option<String>,
        /// The instance that is to take them: another one during a switch-over.
        target: Option<String>,
        /// The instances that answer.
        healthy: BTreeSet<String>,
        instances: i32,
        ready_instances: i32,
        phase: String,
    },
    Volume {
        /// The PersistentVolume's name: what is made of the claim is named by the claim's uid.
        volume: String,
        storage_class: Option<String>,
        /// The database instance that it belongs to.
        instance: Option<String>,
    },
    /// What an issuer of the platform says of the gateway's certificate.
    Issued {
        /// What is in its Secret is valid, and for what was asked for last.
        ready: bool,
        /// Why it isn't, in cert-manager's words.
        message: String,
        not_after: Option<Timestamp>,
        renew_at: Option<Timestamp>,
    },
    Gateway {
        programmed: bool,
        /// Its controller has seen the last change, as far as it says.
        current: bool,
        message: String,
        /// Where it is reached.
        addresses: Vec<String>,
    },
    Route {
        accepted: bool,
        /// Its controller has seen the last change, as far as it says.
        current: bool,
        message: String,
    },
}

impl Seen {
    /// Reduces an object. `None` when it has no uid, which the API server never sends.
    pub fn reduce(kind: Kind, mut object: Value) -> Option<Self> {
        let facts = facts(kind, &object);
        let map = object.as_object_mut()?;
        map.remove("status");
        map.remove("apiVersion");
        map.remove("kind");
        let mut metadata = match map.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => return None,
        };
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        let uid = text("uid")?;
        let resource_version = text("resourceVersion").unwrap_or_default();
        let ending = metadata.contains_key("deletionTimestamp");
        let created = is_owned_by_create(metadata.get("managedFields").unwrap_or(&Value::Null));
        let kept: Map<String, Value> = ["labels", "annotations"]
            .into_iter()
            .filter_map(|key| metadata.remove(key).map(|value| (key.to_owned(), value)))
            .collect();
        map.insert("metadata".to_owned(), Value::Object(kept));
        Some(Self {
            uid,
            resource_version,
            ending,
            created,
            live: object,
            facts,
        })
    }
}

fn is_owned_by_create(managed_fields: &Value) -> bool {
    managed_fields.as_array().into_iter().flatten().any(|entry| {
        entry["manager"] == FREEHOLD && entry["operation"] == "Update" && entry.get("subresource").is_none()
    })
}

fn facts(kind: Kind, object: &Value) -> Facts {
    match kind {
        Kind::Namespace => Facts::Namespace {
            tenant_uid: text(object, &["metadata", "annotations", TENANT_UID]),
            incarnation: text(object, &["metadata", "annotations", INCARNATION]),
        },
        Kind::HostnameClaim => Facts::Claim {
            hostname: text(object, &["spec", "hostname"]).unwrap_or_default(),
            tenant: text(object, &["spec", "tenant"]).unwrap_or_default(),
            incarnation: text(object, &["spec", "incarnation"]).unwrap_or_default(),
            given_up_at: text(object, &["spec", "givenUpAt"]).and_then(|at| at.parse().ok()),
        },
        Kind::DestructionRecord => {
            let phase = text(object, &["status", "phase"]);
            let at = text(object, &["status", "destroyedAt"]).and_then(|at| at.parse().ok());
            Facts::Destruction {
                incarnation: text(object, &["spec", "incarnation"]).unwrap_or_default(),
                destroyed_at: at.filter(|_| phase.as_deref() == Some("Destroyed")),
                cancelled: phase.as_deref() == Some("Cancelled"),
            }
        }
        Kind::Pod => Facts::Pod {
            over: matches!(
                text(object, &["status", "phase"]).as_deref(),
                Some("Succeeded" | "Failed")
            ),
            told: at(object, &["status", "containerStatuses"])
                .get(0)
                .and_then(|status| text(status, &["state", "terminated", "message"])),
            pulled: at(object, &["status", "containerStatuses"])
                .get(0)
                .and_then(|status| text(status, &["imageID"]))
                .is_some_and(|id| !id.is_empty()),
            waits: at(object, &["status", "containerStatuses"])
                .get(0)
                .and_then(|status| {
                    let of = |key| text(status, &["state", "waiting", key]);
                    let reason = of("reason")?;
                    Some(of("message").map_or(reason.clone(), |message| format!("{reason}: {message}")))
                }),
        },
        Kind::Deployment => deployment(object),
        Kind::Job => job(object),
        Kind::Volume => Facts::Volume {
            volume: text(object, &["spec", "volumeName"])
                .unwrap_or_else(|| format!("pvc-{}", text(object, &["metadata", "uid"]).unwrap_or_default())),
            storage_class: text(object, &["spec", "storageClassName"]),
            instance: text(object, &["metadata", "labels", "cnpg.io/instanceName"]),
        },
        Kind::Cluster => database(object),
        Kind::Certificate => issued(object),
        Kind::Gateway => {
            let conditions = at(object, &["status", "conditions"]);
            let (programmed, message) = condition(conditions, "Programmed");
            Facts::Gateway {
                programmed,
                current: is_current(object, conditions, "Programmed"),
                message,
                addresses: addresses(object),
            }
        }
        Kind::HttpRoute => route(object),
        _ => Facts::None,
    }
}

fn addresses(gateway: &Value) -> Vec<String> {
    let all = at(gateway, &["status", "addresses"]).as_array();
    all.into_iter()
        .flatten()
        .filter_map(|address| text(address, &["value"]))
        .collect()
}

fn deployment(object: &Value) -> Facts {
    let wanted = int(object, &["spec", "replicas"], 1);
    let available = int(object, &["status", "availableReplicas"], 0);
    let settled = int(object, &["status", "observedGeneration"], 0)
        >= int(object, &["metadata", "generation"], 1)
        && int(object, &["status", "updatedReplicas"], 0) == wanted
        && int(object, &["status", "replicas"], 0) == wanted
        && available == wanted;
    let conditions = at(object, &["status", "conditions"]);
    let says = |kind: &str, status: &str| {
        find(conditions, kind)
            .filter(|found| found["status"] == status)
            .and_then(|found| text(found, &["message"]))
    };
    let failure = says("ReplicaFailure", "True").or_else(|| says("Progressing", "False"));
    let version = text(
        object,
        &[
            "spec",
            "template",
            "metadata",
            "labels",
            "app.kubernetes.io/version",
        ],
    );
    Facts::Deployment {
        version,
        settled,
        available,
        wanted,
        failure,
        complete: find(conditions, "Progressing")
            .is_some_and(|found| found["status"] == "True" && found["reason"] == "NewReplicaSetAvailable"),
        // What is said of the last change: an earlier roll-out may have been given up.
        given_up: says("Progressing", "False").is_some()
            && int(object, &["status", "observedGeneration"], 0)
                >= int(object, &["metadata", "generation"], 1),
    }
}

fn job(object: &Value) -> Facts {
    let conditions = at(object, &["status", "conditions"]);
    let holds = |kind: &str| find(conditions, kind).filter(|found| found["status"] == "True");
    Facts::Job {
        succeeded: holds("Complete").is_some() || int(object, &["status", "succeeded"], 0) > 0,
        failed: holds("Failed").map(|found| text(found, &["message"]).unwrap_or_default()),
        judged: holds("Failed").is_some_and(|found| found["reason"] == "PodFailurePolicy"),
    }
}

fn database(object: &Value) -> Facts {
    let instances = int(object, &["spec", "instances"], 1);
    let ready_instances = int(object, &["status", "readyInstances"], 0);
    let conditions = at(object, &["status", "conditions"]);
    let (ready, _) = condition(conditions, "Ready");
    let primary = text(object, &["status", "currentPrimary"]);
    let name = primary.as_deref().unwrap_or_default();
    let healthy = at(object, &["status", "instancesStatus", "healthy"]).as_array();
    let healthy = healthy.into_iter().flatten();
    Facts::Database {
        address: text(object, &["status", "instancesReportedState", name, "ip"]),
        healthy: healthy
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        target: text(object, &["status", "targetPrimary"]),
        primary,
        ready: ready && ready_instances >= instances,
        current: is_current(object, conditions, "Ready"),
        // Later versions say True with another reason while they wake.
        hibernated: find(conditions, HIBERNATION).is_some_and(|found| {
            found["status"] == "True" && found["reason"].as_str().is_none_or(|why| why == "Hibernated")
        }),
        instances,
        ready_instances,
        phase: text(object, &["status", "phase"]).unwrap_or_default(),
    }
}

fn issued(object: &Value) -> Facts {
    let conditions = at(object, &["status", "conditions"]);
    let (ready, message) = condition(conditions, "Ready");
    // Why an issuance failed is said here; the other says only that there is none.
    let failed = find(conditions, "Issuing")
        .filter(|found| found["status"] == "False" && found["reason"] == "Failed")
        .and_then(|found| text(found, &["message"]));
    let instant = |key| text(object, &["status", key]).and_then(|at| at.parse().ok());
    Facts::Issued {
        ready: ready && is_current(object, conditions, "Ready"),
        message: failed.unwrap_or(message),
        not_after: instant("notAfter"),
        renew_at: instant("renewalTime"),
    }
}

fn route(object: &Value) -> Facts {
    let parents = at(object, &["status", "parents"]).as_array();
    let mut verdicts = parents.into_iter().flatten().map(|parent| {
        let (accepted, why) = condition(&parent["conditions"], "Accepted");
        let (resolved, missing) = condition(&parent["conditions"], "ResolvedRefs");
        let current = ["Accepted", "ResolvedRefs"]
            .into_iter()
            .all(|kind| is_current(object, &parent["conditions"], kind));
        Facts::Route {
            accepted: accepted && resolved,
            current,
            message: if accepted { missing } else { why },
        }
    });
    verdicts.next().unwrap_or(Facts::Route {
        accepted: false,
        current: true,
        message: String::new(),
    })
}

/// Whether a condition is about the object as it is now. Not every controller says so: then it counts as it is.
fn is_current(object: &Value, conditions: &Value, kind: &str) -> bool {
    let said = find(conditions, kind).and_then(|found| found["observedGeneration"].as_i64());
    said.is_none_or(|said| said >= at(object, &["metadata", "generation"]).as_i64().unwrap_or(0))
}

fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter()
        .try_fold(value, |value, key| value.get(*key))
        .unwrap_or(&Value::Null)
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    at(value, path).as_str().map(str::to_owned)
}

fn int(value: &Value, path: &[&str], default: i32) -> i32 {
    at(value, path)
        .as_i64()
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or(default)
}

fn find<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn condition(conditions: &Value, kind: &str) -> (bool, String) {
    find(conditions, kind).map_or((false, String::new()), |found| {
        (
            found["status"] == "True",
            text(found, &["message"]).unwrap_or_default(),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_counts_as_rolled_out_only_for_the_generation_that_its_controller_has_seen() {
        let mut object = json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "generation": 2, "managedFields": []},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2},
        });
        let settled = |object: &Value| match Seen::reduce(Kind::Deployment, object.clone()).unwrap().facts {
            Facts::Deployment { settled, .. } => settled,
            other => panic!("{other:?}"),
        };
        assert!(!settled(&object));
        object["status"]["observedGeneration"] = 2.into();
        assert!(settled(&object));
        object["status"]["replicas"] = 3.into();
        assert!(!settled(&object), "an old pod is still there");
    }

    #[test]
    fn a_roll_out_is_given_up_only_for_the_generation_that_its_controller_has_seen() {
        let mut object = json!({
            "metadata": {"uid": "u", "generation": 2},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Progressing", "status": "False", "message": "no"}]},
        });
        let given_up = |object: &Value| match Seen::reduce(Kind::Deployment, object.clone()).unwrap().facts {
            Facts::Deployment { given_up, .. } => given_up,
            other => panic!("{other:?}"),
        };
        assert!(!given_up(&object));
        object["status"]["observedGeneration"] = 2.into();
        assert!(given_up(&object));
    }

    #[test]
    fn only_a_job_whose_container_ended_with_an_error_is_judged() {
        let facts = |reason: &str| {
            let object = json!({
                "metadata": {"uid": "u"},
                "status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "why"}]},
            });
            Seen::reduce(Kind::Job, object).unwrap().facts
        };
        let failed = |judged| Facts::Job {
            succeeded: false,
            failed: Some("why".into()),
            judged,
        };
        assert_eq!(facts("PodFailurePolicy"), failed(true));
        assert_eq!(facts("DeadlineExceeded"), failed(false));
        assert_eq!(facts("BackoffLimitExceeded"), failed(false));
    }

    #[test]
    fn a_condition_about_an_earlier_generation_is_not_about_this_one() {
        let mut object = json!({
            "metadata": {"uid": "u", "generation": 2},
            "status": {"conditions": [{"type": "Programmed", "status": "True", "observedGeneration": 1}]},
        });
        let current = |object: &Value| match Seen::reduce(Kind::Gateway, object.clone()).unwrap().facts {
            Facts::Gateway { current, .. } => current,
            other => panic!("{other:?}"),
        };
        assert!(!current(&object));
        object["status"]["conditions"][0]["observedGeneration"] = 2.into();
        assert!(current(&object));
        object["status"]["conditions"][0] = json!({"type": "Programmed", "status": "True"});
        assert!(current(&object), "a controller that does not say");
    }

    #[test]
    fn what_was_issued_is_good_for_the_generation_that_cert_manager_has_seen_and_a_failure_is_told() {
        let ready = |generation: i64| json!({"type": "Ready", "status": "True", "observedGeneration": generation, "message": "up to date"});
        let mut object = json!({
            "metadata": {"uid": "u", "generation": 2},
            "status": {"conditions": [ready(1)], "notAfter": "2027-01-16T02:00:00Z"},
        });
        let issued = |object: &Value| match Seen::reduce(Kind::Certificate, object.clone()).unwrap().facts {
            Facts::Issued {
                ready,
                message,
                not_after,
                ..
            } => (ready, message, not_after.is_some()),
            other => panic!("{other:?}"),
        };
        assert_eq!(issued(&object), (false, "up to date".into(), true));
        object["status"]["conditions"][0] = ready(2);
        assert!(issued(&object).0);
        object["status"]["conditions"] = json!([
            {"type": "Ready", "status": "False", "message": "Secret does not exist"},
            {"type": "Issuing", "status": "False", "reason": "Failed", "message": "no such zone"},
        ]);
        assert_eq!(issued(&object), (false, "no such zone".into(), true));
    }

    #[test]
    fn what_is_kept_has_no_status_and_no_bookkeeping() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"uid": "u", "resourceVersion": "7", "labels": {"a": "b"}, "managedFields": [1]},
            "data": {"k": "v"}, "status": {},
        });
        let seen = Seen::reduce(Kind::ConfigMap, object).unwrap();
        assert_eq!(
            seen.live,
            json!({"metadata": {"labels": {"a": "b"}}, "data": {"k": "v"}})
        );
    }
}
