//! The destruction of a tenant's keys, by the real key service: looked up right before, on record, once.

use freehold_keys::{Destroying, KeyError, KeyName, State};

use super::*;

const CLAIM: &str = "/api/v1/namespaces/tenant-acme/persistentvolumeclaims/db-1";
const POD: &str = "/api/v1/namespaces/tenant-acme/pods/db-1";
const LIFE: &str = UIDS[0].1;

type Service = freehold_keys::client::Client;

/// Everything that the destruction needs is asked for.
fn ask(shell: &Shell) {
    shell.asks("acme", |spec| {
        spec["desiredState"] = "Terminated".into();
        spec["termination"] = json!({"destroyKeys": true});
        spec["deletionProtection"] = false.into();
    });
}

fn withdraw(shell: &Shell) {
    shell.asks("acme", |spec| {
        spec["desiredState"] = "Active".into();
        spec["termination"] = Value::Null;
    });
}

impl Shell {
    /// One with an encrypted volume.
    async fn with_volume() -> (Self, Service, String) {
        let (operator, _) = super::keys::service().await;
        let shell = Self::with(super::keys::encrypting(Config::default())).asking(operator.clone());
        shell.settle("acme").await;
        let volume = shell.volume(CLAIM);
        shell.settle("acme").await;
        assert!(shell.double.object(&secret(&volume)).is_some());
        (shell, operator, volume)
    }

    fn destruction(&self) -> Value {
        let paths = self.paths_of("tenantoperations").into_iter();
        let mut found = paths.filter_map(|path| {
            let operation = self.double.object(&path)?;
            (operation["spec"]["type"] == "KeyDestruction").then_some(operation)
        });
        found.next().unwrap_or_default()
    }

    /// The grace is over.
    fn grace(&self) {
        for path in self.paths_of("tenantoperations") {
            let mut operation = self.double.object(&path).unwrap();
            if operation["spec"]["type"] == "KeyDestruction" {
                operation["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
                self.double.plant(&path, operation);
                self.operation_watched(&path);
            }
        }
    }

    /// Announced, everything stopped, and due.
    async fn due(&self) {
        ask(self);
        self.settle("acme").await;
        assert_eq!(self.destruction()["status"]["phase"], Value::Null);
        self.grace();
    }

    /// A destruction was called off long ago.
    fn settled(&self) {
        for path in self.paths_of("tenantoperations") {
            let mut operation = self.double.object(&path).unwrap();
            let evidence = operation.pointer_mut("/status/evidence");
            for told in evidence.and_then(Value::as_array_mut).into_iter().flatten() {
                if told["step"] == "CallOff" {
                    told["at"] = "2020-01-01T00:00:00Z".into();
                }
            }
            self.double.plant(&path, operation);
            self.operation_watched(&path);
        }
    }

    /// Passes until a step stands on record; gives what was asked meanwhile.
    async fn until(&self, step: &str) -> Vec<Asked> {
        let mut asked = Vec::new();
        for _ in 0..20 {
            if self.destruction()["status"]["step"] == step {
                return asked;
            }
            asked.extend(self.pass().await);
            self.controllers();
        }
        panic!("never at {step}: {}", self.destruction());
    }

    fn record(&self) -> Value {
        let paths = self.paths_of("destructionrecords");
        assert_eq!(paths.len(), 1);
        self.double.object(&paths[0]).unwrap()
    }

    fn told(&self, kind: &str) -> String {
        let status = self.tenant().status.clone().unwrap();
        let found = status.conditions.iter().find(|found| found.type_ == kind);
        found.map_or_else(String::new, |found| format!("{} {}", found.status, found.reason))
    }
}

fn secret(volume: &str) -> String {
    format!("/api/v1/namespaces/freehold-keys/secrets/{volume}")
}

async fn is_whole(service: &Service) -> bool {
    let name = KeyName::of_incarnation(LIFE).unwrap();
    let versions = service.versions(&name).await.unwrap();
    versions.iter().any(|version| version.state == State::Enabled)
}

/// A whole destruction; every request of it.
pub async fn life() -> Vec<Asked> {
    let (shell, ..) = Shell::with_volume().await;
    shell.due().await;
    let mut asked = shell.until("Record").await;
    asked.extend(shell.pass().await);
    // A process that has not heard of the record yet finds it when it wants to make it.
    for (id, seen) in shell.context.store.observed("acme", Timestamp::now()).objects {
        if id.kind == Kind::DestructionRecord {
            shell.context.store.remove("acme", &id, &seen.resource_version);
        }
    }
    asked.extend(shell.until("Destroy").await);
    asked.extend(shell.until("Evidence").await);
    asked.extend(shell.pass().await);
    asked.extend(shell.pass().await);
    assert_eq!(shell.destruction()["status"]["phase"], "Succeeded");
    asked
}

#[tokio::test]
async fn keys_are_destroyed_with_an_account_of_it_and_nothing_brings_them_back() {
    let (shell, service, volume) = Shell::with_volume().await;
    shell.due().await;
    shell.until("Destroy").await;
    let before = shell.record();
    assert_eq!(before["spec"]["dataKeys"][0]["volume"], volume.as_str());
    assert_eq!(before["spec"]["versions"][0]["number"], 1);
    assert_eq!(before["spec"]["tenantKey"], LIFE);
    assert!(is_whole(&service).await, "the record stands before");
    for _ in 0..6 {
        shell.pass().await;
    }
    assert!(!is_whole(&service).await);
    assert!(shell.double.object(&secret(&volume)).is_none());
    assert_eq!(shell.destruction()["status"]["phase"], "Succeeded");
    let after = shell.record();
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["status"]["phase"], "Destroyed");
    let evidence = after["status"]["evidence"].to_string();
    assert!(
        evidence.contains("the wrapped AES-256 keys were removed from"),
        "{evidence}"
    );
    assert_eq!(shell.told("Ready"), "True Terminated");
    assert_eq!(shell.told("KeysDestroyed"), "True Destroyed");
    assert_eq!(shell.pass().await, [], "at rest");

    withdraw(&shell);
    for _ in 0..4 {
        shell.pass().await;
        shell.controllers();
    }
    assert_eq!(shell.told("Ready"), "False TenantKeyDestroyed");
    assert_eq!(
        shell.double.object(DATABASE).unwrap()["metadata"]["annotations"]["cnpg.io/hibernation"],
        "on"
    );
    assert_eq!(shell.pass().await, [], "at rest");
    let name = KeyName::of_incarnation(LIFE).unwrap();
    assert!(matches!(service.create(&name).await, Err(KeyError::Destroyed(_))));
    // Nor by a process that has seen nothing yet.
    let another = shell.another().asking(service.clone());
    another.watches();
    another.settle("acme").await;
    assert!(!is_whole(&service).await);
}

#[tokio::test]
async fn a_word_taken_back_in_the_grace_or_before_the_last_step_keeps_the_keys() {
    for step in ["", "Stop", "Record", "Destroy"] {
        let (shell, service, volume) = Shell::with_volume().await;
        shell.due().await;
        if !step.is_empty() {
            shell.until(step).await;
        }
        withdraw(&shell);
        for _ in 0..6 {
            shell.pass().await;
            shell.controllers();
        }
        shell.settled();
        for _ in 0..6 {
            shell.pass().await;
            shell.controllers();
        }
        assert!(is_whole(&service).await, "at {step}");
        assert!(shell.double.object(&secret(&volume)).is_some());
        assert_eq!(shell.destruction()["status"]["phase"], "Cancelled", "at {step}");
        assert_eq!(shell.told("Serving"), "True Serving", "at {step}");
        if step == "Destroy" {
            assert_eq!(shell.record()["status"]["phase"], "Cancelled");
        }
    }
}

/// The watch is behind: the process believes that it is asked for still.
#[tokio::test]
async fn what_the_destruction_depends_on_is_looked_up_right_before() {
    type Change = fn(&Shell);
    let changes: [(&str, Change, Change); 4] = [
        ("does not ask", |shell| withdraw(shell), |shell| ask(shell)),
        (
            "does not ask",
            |shell| shell.asks("acme", |spec| spec["deletionProtection"] = true.into()),
            |shell| ask(shell),
        ),
        (
            "pods are left: db-1",
            |shell| {
                let pod = json!({"metadata": {"name": "db-1", "namespace": "tenant-acme"}, "status": {"phase": "Running"}});
                shell.double.plant(POD, pod);
            },
            |shell| shell.double.raze(POD),
        ),
        (
            "is not at the step",
            |shell| shell.set_step("Record"),
            |shell| shell.set_step("Destroy"),
        ),
    ];
    for (why, change, back) in changes {
        let (shell, service, volume) = Shell::with_volume().await;
        shell.due().await;
        shell.until("Destroy").await;
        let believed = shell.tenant();
        change(&shell);
        for _ in 0..3 {
            reconcile(believed.clone(), shell.context.clone()).await.unwrap();
        }
        assert!(is_whole(&service).await, "{why}");
        assert!(shell.double.object(&secret(&volume)).is_some(), "{why}");
        let blockers = shell.blockers();
        assert!(
            blockers
                .iter()
                .any(|told| told.starts_with("DestructionHeld") && told.contains(why)),
            "{why}: {blockers:?}"
        );
        back(&shell);
        ends_well(&shell, &service).await;
    }
}

/// The store believes what it read before the call landed; the key service is asked before "called off" is written.
#[tokio::test]
async fn a_call_that_lands_while_it_is_called_off_is_found_before_the_record_says_so() {
    let (shell, service, volume) = Shell::with_volume().await;
    shell.due().await;
    shell.until("Destroy").await;
    withdraw(&shell);
    shell.until("CallOff").await;
    let name = KeyName::of_incarnation(LIFE).unwrap();
    service.destroy(&name, Destroying::All).await.unwrap();
    shell.settled();
    for _ in 0..10 {
        shell.pass().await;
        shell.controllers();
    }
    assert_eq!(shell.record()["status"]["phase"], "Destroyed");
    assert_eq!(shell.destruction()["status"]["phase"], "Succeeded");
    assert!(shell.double.object(&secret(&volume)).is_none());
    assert_eq!(shell.told("KeysDestroyed"), "True Destroyed");
}

#[tokio::test]
async fn nothing_is_said_to_be_called_off_while_the_key_service_can_t_be_asked() {
    let (shell, service, _) = Shell::with_volume().await;
    shell.due().await;
    shell.until("Destroy").await;
    withdraw(&shell);
    shell.until("CallOff").await;
    shell.settled();
    let shell = shell.asking(super::keys::gone());
    for _ in 0..4 {
        let _ = reconcile(shell.tenant(), shell.context.clone()).await;
        shell.controllers();
    }
    assert_eq!(shell.record()["status"]["phase"], "Pending");
    assert_eq!(shell.destruction()["status"]["step"], "CallOff");
    let shell = shell.asking(service);
    shell.context.store.distrust("acme");
    for _ in 0..6 {
        shell.pass().await;
        shell.controllers();
    }
    assert_eq!(shell.record()["status"]["phase"], "Cancelled");
}

/// It is tried again, ever later.
async fn ends_well(shell: &Shell, service: &Service) {
    for _ in 0..100 {
        shell.pass().await;
        if !is_whole(service).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never destroyed: {:?}", shell.blockers());
}

impl Shell {
    /// In the cluster; the process does not hear of it.
    fn set_step(&self, step: &str) {
        for path in self.paths_of("tenantoperations") {
            let mut operation = self.double.object(&path).unwrap();
            if operation["spec"]["type"] == "KeyDestruction" {
                operation["status"]["step"] = step.into();
                self.double.plant(&path, operation);
                if step == "Destroy" {
                    self.operation_watched(&path);
                }
            }
        }
    }
}

#[tokio::test]
async fn killed_after_any_write_of_a_destruction_another_process_ends_it() {
    for after in 0..8 {
        let (shell, service, volume) = Shell::with_volume().await;
        shell.due().await;
        shell.double.lose_answer(after);
        for _ in 0..10 {
            if shell.double.has_lost_answer() {
                break;
            }
            let _ = reconcile(shell.tenant(), shell.context.clone()).await;
            shell.controllers();
        }
        let another = shell.another().asking(service.clone());
        another.watches();
        for _ in 0..12 {
            let _ = reconcile(another.tenant(), another.context.clone()).await;
            another.controllers();
        }
        assert!(!is_whole(&service).await, "after {after}");
        assert!(another.double.object(&secret(&volume)).is_none(), "after {after}");
        assert_eq!(
            another.destruction()["status"]["phase"],
            "Succeeded",
            "after {after}"
        );
        let record = another.record();
        assert_eq!(record["status"]["phase"], "Destroyed", "after {after}");
        assert_eq!(
            record["spec"]["versions"].as_array().unwrap().len(),
            1,
            "after {after}"
        );
    }
}

#[tokio::test]
async fn a_tenant_whose_keys_were_destroyed_can_be_deleted_and_the_record_stays() {
    for policy in ["Delete", "Retain"] {
        let (shell, service, _) = Shell::with_volume().await;
        shell.due().await;
        for _ in 0..12 {
            shell.pass().await;
            shell.controllers();
        }
        assert!(!is_whole(&service).await);
        // Another policy than that which was announced with the protection's end.
        shell.asks("acme", |spec| spec["deletionPolicy"] = policy.into());
        shell.pass().await;
        shell.let_go(policy).await;
        shell.mark_deleted();
        for _ in 0..40 {
            shell.pass().await;
            shell.ends();
            shell.controllers();
            if !shell.is_held() {
                break;
            }
        }
        assert!(!shell.is_held(), "{policy}: {:?}", shell.blockers());
        assert_eq!(shell.record()["status"]["phase"], "Destroyed");
    }
}

/// Of a pod whose node is lost the control plane says that it failed; its containers may run on.
#[tokio::test]
async fn a_pod_counts_as_ended_only_when_each_of_its_containers_is_said_to_have() {
    let ended = json!({"terminated": {"exitCode": 0}});
    let runs = json!({"running": {}});
    let pods = [
        (
            "Failed",
            json!({"containerStatuses": [{"name": "db", "state": runs}]}),
            false,
        ),
        (
            "Failed",
            json!({"containerStatuses": [{"name": "db", "state": {"waiting": {}}}]}),
            false,
        ),
        ("Failed", json!({"containerStatuses": [{"name": "db"}]}), false),
        ("Failed", json!({}), false),
        (
            "Failed",
            json!({
                "initContainerStatuses": [{"name": "sidecar", "state": runs}],
                "containerStatuses": [{"name": "db", "state": ended}],
            }),
            false,
        ),
        (
            "Failed",
            json!({"containerStatuses": [{"name": "db", "state": ended}]}),
            true,
        ),
        (
            "Succeeded",
            json!({"containerStatuses": [{"name": "db", "state": ended}]}),
            true,
        ),
    ];
    for (phase, mut status, over) in pods {
        let (shell, service, _) = Shell::with_volume().await;
        shell.due().await;
        shell.until("Destroy").await;
        status["phase"] = phase.into();
        let pod = json!({
            "metadata": {"name": "db-1", "namespace": "tenant-acme"},
            "spec": {"nodeName": "node-1", "containers": [{"name": "db"}]},
            "status": status,
        });
        shell.double.plant(POD, pod.clone());
        for _ in 0..3 {
            shell.pass().await;
        }
        assert_eq!(is_whole(&service).await, !over, "{pod}");
        if !over {
            shell.double.raze(POD);
            ends_well(&shell, &service).await;
        }
    }
}

#[tokio::test]
async fn a_failed_pod_that_never_got_a_node_holds_nothing() {
    let (shell, service, _) = Shell::with_volume().await;
    shell.due().await;
    shell.until("Destroy").await;
    let pod = json!({
        "metadata": {"name": "db-1", "namespace": "tenant-acme"},
        "spec": {"containers": [{"name": "db"}]}, "status": {"phase": "Failed"},
    });
    shell.double.plant(POD, pod);
    for _ in 0..3 {
        shell.pass().await;
    }
    assert!(!is_whole(&service).await);
}
