//! Everybody else's controllers, as pure ticks.

use super::*;

/// The pod that shows the gateway a certificate of the next authority.
const PROOF: &str = "freehold-proof-of-next-authority";

impl Cluster {
    /// One step of everybody else's controllers. Gives whether anything changed.
    pub fn tick(&mut self) -> bool {
        let before = self.objects.clone();
        self.databases();
        let database_ready = self.objects.iter().any(|(id, body)| {
            id.kind == Kind::Cluster && body["status"]["readyInstances"] == body["spec"]["instances"]
        });
        let migrated = self
            .objects
            .iter()
            .any(|(id, body)| id.kind == Kind::Job && body["status"]["succeeded"] == 1);
        let (network, issues_until) = (self.network, self.issues_until);
        let bodies = self.objects.iter().filter(|(id, _)| id.kind == Kind::Cluster);
        let statuses: BTreeMap<Id, Value> = bodies
            .map(|(id, body)| (id.clone(), self.database_status(body)))
            .collect();
        for (id, body) in &mut self.objects {
            body["status"] = match id.kind {
                Kind::Pod if id.name.starts_with("preflight-") => preflight(self.missing_image),
                // It serves until it is evicted.
                Kind::Pod if id.name == PROOF && body["status"]["phase"] == "Failed" => continue,
                Kind::Pod if id.name == PROOF => json!({"phase": "Running"}),
                Kind::Pod => pod(id, body, network),
                Kind::Cluster => statuses[id].clone(),
                Kind::Job if body["status"]["succeeded"] == 1 => json!({"succeeded": 1}),
                Kind::Job if id.name.starts_with("gate-") => gate(self.gate),
                Kind::Job if id.name.starts_with("smoke-") && self.broken_smoke => {
                    json!({"conditions": [{"type": "Failed", "status": "True", "message": "no card was listed"}]})
                }
                Kind::Job if database_ready && self.broken_migration => {
                    json!({"conditions": [{"type": "Failed", "status": "True", "message": "no such column"}]})
                }
                Kind::Job if database_ready => json!({"succeeded": 1}),
                Kind::Deployment if self.dead => {
                    let conditions = body["status"]["conditions"].clone();
                    json!({"observedGeneration": body["metadata"]["generation"], "replicas": body["spec"]["replicas"],
                        "updatedReplicas": body["spec"]["replicas"], "availableReplicas": 0, "conditions": conditions})
                }
                Kind::Deployment if is_version(body, self.unready.as_deref()) => {
                    let wanted = body["spec"]["replicas"].as_i64().unwrap();
                    json!({"observedGeneration": body["metadata"]["generation"], "replicas": wanted + 1,
                        "updatedReplicas": 1, "availableReplicas": wanted})
                }
                Kind::Deployment if migrated || body["status"]["availableReplicas"].is_number() => json!({
                    "observedGeneration": body["metadata"]["generation"], "replicas": body["spec"]["replicas"],
                    "updatedReplicas": body["spec"]["replicas"], "availableReplicas": body["spec"]["replicas"],
                    "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
                }),
                Kind::Certificate => certificate(body, issues_until),
                Kind::Gateway => json!({"conditions": [
                    {"type": "Programmed", "status": "True", "observedGeneration": body["metadata"]["generation"]},
                ], "addresses": [{"type": "IPAddress", "value": "203.0.113.80"}]}),
                Kind::HttpRoute => {
                    let generation = &body["metadata"]["generation"];
                    json!({"parents": [{"conditions": [
                        {"type": "Accepted", "status": "True", "observedGeneration": generation},
                        {"type": "ResolvedRefs", "status": "True", "observedGeneration": generation},
                    ]}]})
                }
                _ => continue,
            };
        }
        self.collect();
        before != self.objects
    }

    /// Objects that are ending are gone; with a namespace goes everything in it.
    fn collect(&mut self) {
        let ending = |body: &Value| body["metadata"]["deletionTimestamp"].is_string();
        let namespaces: Vec<String> = self
            .objects
            .iter()
            .filter(|(id, body)| id.kind == Kind::Namespace && ending(body))
            .map(|(id, _)| id.name.clone())
            .collect();
        // A volume ends when its pod has.
        self.objects.retain(|id, body| {
            (!ending(body) || id.kind == Kind::Volume) && !namespaces.contains(&id.namespace)
        });

        if !namespaces.is_empty() {
            self.minted.leaves.clear();
            self.minted.owner = Slot::Absent;
        }
    }
}

fn is_version(deployment: &Value, version: Option<&str>) -> bool {
    let label = &deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"];
    version.is_some_and(|version| label == version)
}

/// cert-manager: what was issued once stays in its Secret, and is told of, whatever becomes of the next.
fn certificate(body: &Value, issues_until: Option<Timestamp>) -> Value {
    let generation = &body["metadata"]["generation"];
    let ready = |status: &str, message: &str| json!([{"type": "Ready", "status": status, "message": message, "observedGeneration": generation}]);
    let said = &body["status"];
    match issues_until {
        Some(end) => json!({
            "conditions": ready("True", "Certificate is up to date and has not expired"),
            "notAfter": end.to_string(), "renewalTime": (end - SignedDuration::from_hours(24)).to_string(),
        }),
        None if said["conditions"][0]["observedGeneration"] == *generation => said.clone(),
        None => json!({
            "conditions": ready("False", "Issuing certificate as Secret does not exist"),
            "notAfter": said["notAfter"], "renewalTime": said["renewalTime"],
        }),
    }
}

/// The Job controller's words on how a gate's test has ended.
fn gate(ends: Option<&str>) -> Value {
    let message = match ends {
        None => return json!({"active": 1}),
        Some("Complete") => return json!({"succeeded": 1}),
        Some("PodFailurePolicy") => "Container gate failed with exit code 1 matching FailJob rule at index 1",
        Some(_) => "Job was active longer than specified deadline",
    };
    json!({"conditions": [{"type": "Failed", "status": "True", "reason": ends, "message": message}]})
}

/// A container that is asked for what its image doesn't have ends; without its image it waits.
fn preflight(missing: bool) -> Value {
    if missing {
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such manifest"});
        return json!({"phase": "Pending", "containerStatuses": [{"imageID": "", "state": {"waiting": waiting}}]});
    }
    let terminated = json!({"reason": "StartError", "exitCode": 128});
    json!({"phase": "Failed", "containerStatuses": [{"imageID": "sha256:1", "state": {"terminated": terminated}}]})
}

/// A probe tells what it reached.
fn pod(id: &Id, body: &Value, network: Network) -> Value {
    let free = id.name.starts_with("verify-control");
    let reached = match network {
        Network::Stuck => return json!({"phase": "Pending"}),
        Network::Dead => false,
        Network::Open => true,
        Network::Enforced => free,
    };
    let args = body["spec"]["containers"][0]["args"].as_array().unwrap();
    let targets = args.iter().filter_map(|arg| arg.as_str()?.split_once('='));
    // The database's pods may reach the API server.
    let told = |what: &str| {
        reached
            || (network == Network::Enforced
                && id.name.starts_with("verify-database")
                && what == "the API server")
    };
    let told: Vec<Value> = targets
        .map(|(what, _)| json!({"target": what, "reached": told(what)}))
        .collect();
    let message = Value::from(told).to_string();
    json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"message": message}}}]})
}
