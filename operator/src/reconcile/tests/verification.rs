//! The pods that verify the isolation: made, heard and taken away, also outside of the tenant's namespace.

use super::*;

impl Shell {
    /// The pods end, and tell what a test says of them: by their place and target.
    fn pods_tell(&self, reached: impl Fn(&str, &str) -> bool) {
        for path in self.paths_of("pods") {
            let pod = self.double.object(&path).unwrap();
            let args = pod["spec"]["containers"][0]["args"].as_array().unwrap().clone();
            let targets = args
                .iter()
                .filter_map(|arg| Some(arg.as_str()?.split_once('=')?.0));
            let told: Vec<Value> = targets
                .map(|target| json!({ "target": target, "reached": reached(&path, target) }))
                .collect();
            let message = Value::from(told).to_string();
            self.by_hand(Kind::Pod, &path, |pod| {
                pod["status"] = json!({
                    "phase": "Succeeded",
                    "containerStatuses": [{ "state": { "terminated": { "message": message } } }],
                });
            });
        }
    }

    fn verified(&self) -> (String, String) {
        let status = self.tenant().status.clone().unwrap();
        let found = status.conditions.iter().find(|c| c.type_ == "IsolationVerified");
        let found = found.unwrap();
        (found.status.clone(), found.message.clone())
    }
}

fn is_control(path: &str) -> bool {
    path.contains("/freehold-probes/")
}

#[tokio::test]
async fn a_run_is_on_record_before_its_pods_which_are_taken_away_when_they_have_told() {
    let shell = Shell::verifying();
    for _ in 0..4 {
        shell.pass().await;
        shell.controllers();
        if !shell.paths_of("pods").is_empty() {
            break;
        }
    }
    for _ in 0..3 {
        shell.pass().await;
    }
    let pods = shell.paths_of("pods");
    assert_eq!(pods.iter().filter(|path| is_control(path)).count(), 1, "{pods:?}");
    assert!(pods.len() > 3, "{pods:?}");
    let record = shell
        .double
        .object(&format!("{NAMESPACE}/configmaps/isolation"))
        .unwrap();
    assert!(
        record["data"]["record.json"]
            .as_str()
            .unwrap()
            .contains("startedAt")
    );
    assert_eq!(shell.pass().await, [], "they are waited for");
    shell.pods_tell(|path, _| is_control(path));
    for _ in 0..4 {
        shell.pass().await;
        shell.ends();
    }
    assert_eq!(shell.paths_of("pods"), Vec::<String>::new());
    assert_eq!(shell.verified().0, "True", "{:?}", shell.verified());
    for _ in 0..3 {
        assert_eq!(shell.pass().await, []);
    }
}

#[tokio::test]
async fn a_hole_is_told() {
    let shell = Shell::verifying();
    shell.settle("acme").await;
    shell.pods_tell(|path, target| is_control(path) || target == "the metadata service");
    for _ in 0..4 {
        shell.pass().await;
        shell.ends();
    }
    let (status, message) = shell.verified();
    assert_eq!(status, "False");
    assert!(message.contains("reaches the metadata service"), "{message}");
}

#[tokio::test]
async fn a_pod_that_was_planted_elsewhere_with_our_labels_is_nobody_s() {
    let places = crate::watch::Places::of(&Shell::verifying().context.config.read().unwrap());
    assert!(places.trusts(Kind::Pod, "freehold-probes"));
    assert!(places.trusts(Kind::Pod, "tenant-acme"));
    assert!(!places.trusts(Kind::Pod, "default"));
    assert!(places.trusts(Kind::HostnameClaim, "freehold-system"));
    assert!(!places.trusts(Kind::HostnameClaim, "tenant-acme"));
}
