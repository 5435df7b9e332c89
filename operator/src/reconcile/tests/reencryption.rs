//! The database moves to volumes with new data keys: what CloudNativePG is told, and what it is not told.

use super::keys::{encrypting, service};
use super::*;

const PODS: &str = "/api/v1/namespaces/tenant-acme/pods/";
const VOLUMES: &str = "/api/v1/namespaces/tenant-acme/persistentvolumeclaims/";
const MARK: &str = "alpha.cnpg.io/unrecoverable";

impl Shell {
    /// One whose database has settled on volumes with keys.
    pub async fn on_keyed_volumes() -> Self {
        let (operator, _) = service().await;
        let shell = Self::with(encrypting(Config::default())).asking(operator);
        shell.pass().await;
        // The certificates come before the database.
        shell.pass().await;
        for _ in 0..6 {
            shell.postgres();
            shell.pass().await;
        }
        shell
    }

    fn instances(&self) -> Vec<String> {
        let paths = self.double.paths().into_iter();
        let pods = paths.filter_map(|path| path.strip_prefix(PODS).map(str::to_owned));
        pods.filter(|name| name.starts_with("db-")).collect()
    }

    /// CloudNativePG does its work: what is marked goes, what is missing comes, the target is the primary.
    pub fn postgres(&self) {
        for path in self.paths_of("jobs") {
            self.by_hand(Kind::Job, &path, |job| {
                job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
            });
        }
        let cluster = self.double.object(DATABASE).unwrap();
        let wanted = usize::try_from(cluster["spec"]["instances"].as_u64().unwrap()).unwrap();
        let status = &cluster["status"];
        let mut serial = status["latestGeneratedNode"].as_u64().unwrap_or(0);
        for name in self.instances() {
            let path = format!("{PODS}{name}");
            let pod = self.double.object(&path).unwrap();
            let marked = pod["metadata"]["annotations"][MARK] == "true";
            let primary = status["currentPrimary"] == name.as_str();
            assert!(!(marked && primary), "the primary is marked");
            let surplus =
                self.instances().len() > wanted && self.instances().last() == Some(&name) && !primary;
            if marked || surplus {
                self.double.raze(&path);
                self.no_volume(&format!("{VOLUMES}{name}"));
            }
        }
        while self.instances().len() < wanted {
            serial += 1;
            let name = format!("db-{serial}");
            let labels = json!({"freehold.dev/tenant": "acme", "cnpg.io/cluster": "db"});
            let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            let metadata = json!({"name": name, "namespace": "tenant-acme", "labels": labels});
            let pod = json!({"metadata": metadata, "status": status});
            self.double.plant(&format!("{PODS}{name}"), pod);
            self.volume(&format!("{VOLUMES}{name}"));
            self.by_hand(Kind::Volume, &format!("{VOLUMES}{name}"), |claim| {
                claim["metadata"]["labels"]["cnpg.io/instanceName"] = name.as_str().into();
            });
        }
        let healthy = self.instances();
        let primary = status["targetPrimary"].as_str().unwrap_or(&healthy[0]).to_owned();
        self.by_hand(Kind::Cluster, DATABASE, |cluster| {
            cluster["status"] = json!({
                "latestGeneratedNode": serial, "readyInstances": healthy.len(),
                "instancesStatus": {"healthy": healthy}, "currentPrimary": primary, "targetPrimary": primary,
                "conditions": [{"type": "Ready", "status": "True"}],
            });
        });
    }

    pub fn asks_for_new_data_keys(&self, word: &str) {
        self.asks("acme", |spec| spec["keys"]["rotateDataKeys"] = word.into());
    }

    pub fn acknowledged(&self) -> Option<String> {
        self.tenant().status.clone()?.keys?.data_keys_acknowledged.clone()
    }

    fn target(&self) -> String {
        let cluster = self.double.object(DATABASE).unwrap();
        cluster["status"]["targetPrimary"].as_str().unwrap().to_owned()
    }

    fn is_marked(&self, instance: &str) -> bool {
        let pod = self.double.object(&format!("{PODS}{instance}"));
        pod.is_some_and(|pod| pod["metadata"]["annotations"][MARK] == "true")
    }

    /// Whether an operation is at a step.
    fn is_at(&self, step: &str) -> bool {
        let operations = self.context.store.observed("acme", Timestamp::now()).operations;
        let mut steps = operations
            .values()
            .map(|operation| operation.status.step.as_deref());
        steps.any(|found| found == Some(step))
    }

    /// Passes and CloudNativePG's turns until something is so; gives what was asked. By the clock, for what did not help is
    /// tried again after a pause.
    pub async fn turns_until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Vec<Asked> {
        let begin = std::time::Instant::now();
        let mut asked = Vec::new();
        while begin.elapsed() < Duration::from_secs(20) {
            if holds(self) {
                return asked;
            }
            self.postgres();
            if holds(self) {
                return asked;
            }
            asked.extend(self.pass().await);
        }
        panic!("{what} never came: {:#?}", self.tenant().status);
    }
}

#[tokio::test]
async fn the_database_is_told_to_switch_over_and_then_to_remove_what_is_old() {
    let shell = Shell::on_keyed_volumes().await;
    let before = shell.instances();
    shell.asks_for_new_data_keys("2027");
    shell
        .turns_until("the acknowledgement", |shell| {
            shell.acknowledged().as_deref() == Some("2027")
        })
        .await;
    // One that came in the place of the last that went is too much.
    for _ in 0..4 {
        shell.postgres();
        shell.pass().await;
    }
    let after = shell.instances();
    assert_eq!(after.len(), before.len());
    assert!(
        before.iter().all(|old| !after.contains(old)),
        "{before:?} {after:?}"
    );
    let secrets = shell.paths_of("secrets");
    let wrapped = secrets
        .iter()
        .filter(|path| path.contains("/freehold-keys/secrets/pvc-"));
    assert_eq!(wrapped.count(), after.len(), "{secrets:?}");
}

#[tokio::test]
async fn nothing_is_told_when_it_turns_out_that_the_database_switches_over_already() {
    let shell = Shell::on_keyed_volumes().await;
    shell.asks_for_new_data_keys("2027");
    shell
        .turns_until("the step", |shell| shell.is_at("SwitchOver"))
        .await;
    // The watch has not told it yet.
    let mut cluster = shell.double.object(DATABASE).unwrap();
    let before = cluster["status"]["currentPrimary"].clone();
    cluster["status"]["targetPrimary"] = "pending".into();
    shell.double.plant(DATABASE, cluster);
    shell.pass().await;
    assert_eq!(shell.target(), "pending");
    let mut cluster = shell.double.object(DATABASE).unwrap();
    cluster["status"]["targetPrimary"] = before;
    shell.double.plant(DATABASE, cluster);
    shell
        .turns_until("the switch-over", |shell| shell.acknowledged().is_some())
        .await;
}

/// CloudNativePG has not removed yet what was marked, and another one stops answering: it was the primary until just now.
#[tokio::test]
async fn one_instance_is_removed_after_the_other() {
    let shell = Shell::on_keyed_volumes().await;
    shell.asks("acme", |spec| spec["database"] = json!({"instances": 2}));
    for _ in 0..4 {
        shell.pass().await;
        shell.postgres();
    }
    let old = shell.instances();
    assert_eq!(old.len(), 2);
    shell.asks_for_new_data_keys("2027");
    shell.turns_until("the step", |shell| shell.is_at("Retire")).await;
    let marked = || old.iter().filter(|old| shell.is_marked(old)).count();
    while marked() == 0 {
        shell.pass().await;
    }
    let other = old.iter().find(|old| !shell.is_marked(old)).unwrap();
    shell.by_hand(Kind::Cluster, DATABASE, |cluster| {
        let healthy = cluster["status"]["instancesStatus"]["healthy"]
            .as_array_mut()
            .unwrap();
        healthy.retain(|name| name != other.as_str());
    });
    for _ in 0..3 {
        shell.pass().await;
    }
    assert_eq!(marked(), 1);
    shell
        .turns_until("the end", |shell| shell.acknowledged().is_some())
        .await;
}

/// The one that was the primary comes back as a replica, and the database's status has not told yet that it is away.
#[tokio::test]
async fn the_replica_that_follows_stays_until_the_primary_of_before_follows_too() {
    let shell = Shell::on_keyed_volumes().await;
    shell.asks_for_new_data_keys("2027");
    let old = shell.instances().remove(0);
    shell.turns_until("the step", |shell| shell.is_at("Retire")).await;
    let ready = |status: &str| {
        for name in shell.instances().iter().filter(|name| **name != old) {
            let path = format!("{PODS}{name}");
            let mut pod = shell.double.object(&path).unwrap();
            pod["status"]["conditions"][0]["status"] = status.into();
            shell.double.plant(&path, pod);
        }
    };
    ready("False");
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(!shell.is_marked(&old));
    ready("True");
    shell
        .turns_until("the end", |shell| shell.acknowledged().is_some())
        .await;
}

#[tokio::test]
async fn no_instance_is_removed_while_another_one_does_not_answer() {
    let shell = Shell::on_keyed_volumes().await;
    let old = shell.instances();
    shell.asks_for_new_data_keys("2027");
    shell.turns_until("the step", |shell| shell.is_at("Retire")).await;
    assert!(old.iter().all(|old| !shell.is_marked(old)));
    // Of the new one neither the watch nor the status has told yet that its pod is gone.
    let fresh = shell
        .instances()
        .into_iter()
        .find(|name| !old.contains(name))
        .unwrap();
    let path = format!("{PODS}{fresh}");
    let pod = shell.double.object(&path).unwrap();
    shell.double.raze(&path);
    shell.pass().await;
    assert!(old.iter().all(|old| !shell.is_marked(old)), "one of the last");
    shell.double.plant(&path, pod);
    shell
        .turns_until("the end", |shell| shell.acknowledged().is_some())
        .await;
}

#[tokio::test]
async fn an_instance_of_the_same_name_on_other_volumes_is_left_alone() {
    let shell = Shell::on_keyed_volumes().await;
    let old = shell.instances().remove(0);
    shell.asks_for_new_data_keys("2027");
    shell.turns_until("the step", |shell| shell.is_at("Retire")).await;
    // It was replaced already, and the watch of the claims has yet to tell.
    let path = format!("{VOLUMES}{old}");
    let claim = shell.double.object(&path).unwrap();
    let mut other = claim.clone();
    other["metadata"]["uid"] = "00000000-0000-4000-8000-0000000000ff".into();
    shell.double.plant(&path, other);
    shell.pass().await;
    assert!(!shell.is_marked(&old));
}
