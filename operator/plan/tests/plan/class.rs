//! A class's change reaches a tenant in that tenant's window; and what a class doesn't allow is refused.

use freehold_plan::names::CLASS;
use freehold_plan::{Id, Kind};
use jiff::SignedDuration;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given;
use crate::simulation::{ready, silent};

fn says(cluster: &Cluster, kind: &str) -> String {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let c = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    format!("{} {}: {}", c.status, c.reason, c.message)
}

/// Beside what the class says: a new pod of both components, the migration, and five of Freehold's own.
const ROOM: i64 = 8;

/// How many the class allows.
fn pods(cluster: &Cluster) -> i64 {
    let quota = cluster.body(Kind::ResourceQuota, "tenant").unwrap();
    let hard = quota["spec"]["hard"]["count/pods"].as_str().unwrap();
    hard.parse::<i64>().unwrap() - ROOM
}

#[test]
fn a_class_is_taken_over_when_the_window_opens_and_nothing_changes_before() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let class = cluster.given.class.as_mut().unwrap();
    class.spec.quota.as_mut().unwrap().pods = Some(30);
    class.spec.database.resources.memory_limit = Some("1Gi".into());
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, Vec::<String>::new());
    insta::assert_snapshot!(says(&cluster, "UpToDate"), @"False ClassDrift: the class standard changed: database.resources.memoryLimit: unset -> 1Gi; quota.pods: 20 -> 30; it is taken over when the window opens at 2027-01-16T02:00:00Z");
    assert!(ready(&cluster), "it runs as it should until then");
    assert_eq!(pods(&cluster), 20);
    silent(&mut cluster);
    cluster.given.now = "2027-01-16T02:00:00Z".parse().unwrap();
    cluster.settle();
    assert_eq!(pods(&cluster), 30);
    assert!(says(&cluster, "UpToDate").starts_with("True"));
    silent(&mut cluster);
}

#[test]
fn a_tenants_own_window_goes_before_the_classs() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.tenant.spec.maintenance = Some(given::always_open());
    cluster.settle();
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .quota
        .as_mut()
        .unwrap()
        .pods = Some(30);
    cluster.settle();
    assert_eq!(pods(&cluster), 30);
}

#[test]
fn a_freeze_of_the_tenant_holds_the_class_back_too_and_leaves_its_windows() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.given.tenant.spec.maintenance = Some(given::typed(json!({"freezes": [
        {"from": "2027-01-15T00:00:00Z", "until": "2027-01-16T12:00:00Z", "reason": "audit"},
    ]})));
    let quota = &mut cluster.given.class.as_mut().unwrap().spec.quota;
    quota.as_mut().unwrap().pods = Some(30);
    cluster.settle();
    let told = says(&cluster, "ClassCurrent");
    assert!(
        told.contains("when the window opens at 2027-01-17T02:00:00Z"),
        "{told}"
    );
    cluster.live_until("2027-01-17T02:00:00Z".parse().unwrap(), |cluster| {
        assert_eq!(pods(cluster), 20);
    });
    cluster.given.now = "2027-01-17T02:00:00Z".parse().unwrap();
    cluster.settle();
    assert_eq!(pods(&cluster), 30);
}

#[test]
fn a_class_that_is_gone_stays_in_force_and_drift_is_repaired_all_the_same() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.given.class = None;
    let policy = cluster
        .ids()
        .find(|id| id.kind == Kind::NetworkPolicy)
        .cloned()
        .unwrap();
    cluster.lose(&policy);
    cluster.settle();
    assert!(cluster.ids().any(|id| *id == policy));
    assert!(says(&cluster, "Stalled").starts_with("True ClassNotFound"));
    assert!(says(&cluster, "Serving").starts_with("True"));
    silent(&mut cluster);
}

/// One whose class changed, and whose copy of it was damaged by hand.
fn damaged() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let class = &mut cluster.given.class.as_mut().unwrap().spec;
    class.quota.as_mut().unwrap().pods = Some(30);
    class.deletion.delay = "1s".into();
    set_copy(&mut cluster, &json!({"spec.json": "{"}));
    cluster.log.clear();
    cluster.settle();
    cluster
}

fn set_copy(cluster: &mut Cluster, data: &serde_json::Value) -> serde_json::Value {
    let id = copy(cluster);
    let body = cluster.objects.get_mut(&id).unwrap();
    std::mem::replace(&mut body["data"], data.clone())
}

fn copy(cluster: &Cluster) -> Id {
    let mut ids = cluster.ids();
    let found = ids.find(|id| id.kind == Kind::ConfigMap && id.name == CLASS);
    found.unwrap().clone()
}

#[test]
fn a_damaged_copy_lets_no_change_of_the_class_through_before_the_window() {
    let mut cluster = damaged();
    assert_eq!(cluster.log, Vec::<String>::new());
    assert_eq!(pods(&cluster), 20);
    assert!(says(&cluster, "Serving").starts_with("True"));
    insta::assert_snapshot!(says(&cluster, "Ready"), @"False ClassCopyDamaged: the class as it was taken over can't be read (ConfigMap tenant-acme/class: EOF while parsing an object at line 1 column 1), so nothing is changed; as for the class as it is now, it is taken over when the window opens at 2027-01-16T02:00:00Z");
    insta::assert_snapshot!(says(&cluster, "Stalled"), @"True ClassCopyDamaged: unblocked by: put back what was in the ConfigMap tenant-acme/class; or delete it, by which the class as it is now is taken over at once");
    silent(&mut cluster);
    cluster.given.now = "2027-01-16T02:00:00Z".parse().unwrap();
    assert!(cluster.plan().wake > Some(cluster.given.now));
    cluster.settle();
    assert_eq!(pods(&cluster), 30);
    assert!(says(&cluster, "UpToDate").starts_with("True"));
    silent(&mut cluster);
}

#[test]
fn a_damaged_copy_that_is_put_back_is_in_force_again() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let kept = set_copy(&mut cluster, &json!({"other": "key"}));
    cluster.settle();
    assert!(says(&cluster, "Ready").starts_with("False ClassCopyDamaged"));
    cluster
        .given
        .class
        .as_mut()
        .unwrap()
        .spec
        .quota
        .as_mut()
        .unwrap()
        .pods = Some(30);
    set_copy(&mut cluster, &kept);
    cluster.settle();
    assert_eq!(pods(&cluster), 20);
    assert!(says(&cluster, "UpToDate").starts_with("False ClassDrift"));
}

/// The explicit word.
#[test]
fn a_damaged_copy_that_is_deleted_is_made_anew_from_the_class_as_it_is() {
    let mut cluster = damaged();
    let id = copy(&cluster);
    cluster.lose(&id);
    cluster.settle();
    assert_eq!(pods(&cluster), 30);
    assert!(says(&cluster, "UpToDate").starts_with("True"));
    silent(&mut cluster);
}

/// What was in force can't be read, so the longest counts that any class may say.
#[test]
fn while_the_copy_is_damaged_no_shorter_grace_of_the_class_counts() {
    let mut cluster = damaged();
    cluster.given.tenant.spec.deletion_protection = false;
    cluster.settle();
    cluster.given.now += SignedDuration::from_hours(1);
    cluster.delete();
    cluster.settle();
    assert!(!cluster.gone && ready_to_serve(&cluster));
    cluster.given.now = "2027-01-16T02:00:00Z".parse().unwrap();
    cluster.settle();
    assert!(cluster.gone, "{:#?}", cluster.given.tenant.status);
}

fn ready_to_serve(cluster: &Cluster) -> bool {
    says(cluster, "Serving").starts_with("True")
}

#[test]
fn what_the_class_does_not_allow_is_said_and_what_runs_stays() {
    let refusals: [fn(&mut freehold_crds::TenantSpec); 6] = [
        |spec| spec.edition = freehold_crds::Edition::Enterprise,
        |spec| spec.region = "us-east".into(),
        |spec| spec.database = Some(given::typed(json!({"instances": 3}))),
        |spec| spec.database = Some(given::typed(json!({"storageSize": "11Gi"}))),
        |spec| spec.quota = Some(given::typed(json!({"cpu": "5"}))),
        |spec| spec.quota = Some(given::typed(json!({"pods": 10}))),
    ];
    let mut told = Vec::new();
    for refuse in refusals {
        let mut cluster = Cluster::new(given::new("acme"));
        let class = &mut cluster.given.class.as_mut().unwrap().spec;
        class.editions = vec![freehold_crds::Edition::Standard];
        class.regions = vec!["eu-central".into()];
        class.database.max_instances = 2;
        class.database.max_storage_size = Some("10Gi".into());
        class.max_quota = Some(given::typed(json!({"cpu": "4", "memory": "8Gi"})));
        cluster.settle();
        refuse(&mut cluster.given.tenant.spec);
        cluster.log.clear();
        cluster.settle();
        assert_eq!(cluster.log, Vec::<String>::new());
        assert!(says(&cluster, "Serving").starts_with("True"));
        told.push(says(&cluster, "Ready"));
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    False NotAllowedByClass: the TenantClass standard does not allow the edition Enterprise
    False NotAllowedByClass: the TenantClass standard does not allow the region us-east
    False NotAllowedByClass: the TenantClass standard does not allow 3 database instances
    False NotAllowedByClass: the TenantClass standard does not allow a database volume of 11Gi
    False NotAllowedByClass: the TenantClass standard does not allow a quota of 5 CPU
    False NotAllowedByClass: the TenantClass standard does not allow a quota of 10 pods
    "#);
}

#[test]
fn a_quota_within_the_bounds_overrides_the_classs() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.given.class.as_mut().unwrap().spec.max_quota =
        Some(given::typed(json!({"cpu": "4", "pods": 50})));
    cluster.given.tenant.spec.quota = Some(given::typed(json!({"cpu": "3500m", "pods": 50})));
    cluster.settle();
    let quota = cluster.body(Kind::ResourceQuota, "tenant").unwrap();
    assert_eq!(
        quota["spec"]["hard"],
        json!({"requests.cpu": "3525m", "requests.memory": "1104Mi", "count/pods": "58"})
    );
}

#[test]
fn beside_the_quota_there_is_room_for_what_a_new_release_needs_for_a_while() {
    let mut given = given::new("acme");
    let mut release: serde_json::Value = serde_json::to_value(given::release("1.0.0")).unwrap();
    release["spec"]["components"][0]["resources"] = json!({"cpuRequest": "100m", "memoryLimit": "256Mi"});
    release["spec"]["components"][1]["resources"] = json!({"cpuRequest": "1", "memoryRequest": "1Gi"});
    release["spec"]["components"][1]["strategy"] = json!("Recreate");
    given.ask_for(given::typed::<freehold_crds::Release>(release));
    let mut cluster = Cluster::new(given);
    cluster.settle();
    let quota = cluster.body(Kind::ResourceQuota, "tenant").unwrap();
    // A pod of web (whose limit is its request), a look at the image of api, a migration, which asks for what api does, and five
    // of Freehold's own.
    assert_eq!(
        quota["spec"]["hard"],
        json!({"requests.cpu": "3130m", "requests.memory": "2400Mi", "count/pods": "28"})
    );
}

#[test]
fn pods_of_a_class_with_nodes_of_its_own_run_there() {
    let mut cluster = Cluster::new(given::new("acme"));
    let class = &mut cluster.given.class.as_mut().unwrap().spec;
    class.placement = given::typed(json!({
        "nodeSelector": {"nodes": "tenants"},
        "tolerations": [{"key": "tenants", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "customers",
    }));
    cluster.settle();
    assert!(ready(&cluster));
    silent(&mut cluster);
    for name in ["web", "api"] {
        let spec = &cluster.body(Kind::Deployment, name).unwrap()["spec"]["template"]["spec"];
        assert_eq!(spec["nodeSelector"], json!({"nodes": "tenants"}));
        assert_eq!(
            spec["tolerations"],
            json!([{"key": "tenants", "operator": "Exists", "effect": "NoSchedule"}])
        );
        assert_eq!(spec["priorityClassName"], "customers");
    }
    let database = &cluster.body(Kind::Cluster, "db").unwrap()["spec"];
    assert_eq!(database["affinity"]["nodeSelector"], json!({"nodes": "tenants"}));
    assert_eq!(database["priorityClassName"], "customers");
}

#[test]
fn a_class_that_no_longer_fits_a_tenant_is_not_taken_over_and_says_why() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.given.class.as_mut().unwrap().spec.regions = vec!["us-east".into()];
    // Even when the window opens.
    cluster.given.now = "2027-01-16T02:00:00Z".parse().unwrap();
    cluster.settle();
    let told = says(&cluster, "UpToDate");
    assert!(
        told.starts_with("False ClassDrift") && told.contains("does not allow the region"),
        "{told}"
    );
    assert!(says(&cluster, "Ready").starts_with("True"));
    silent(&mut cluster);
}
