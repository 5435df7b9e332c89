//! A tenant's whole life in the simulated cluster: created, changed, suspended, woken, deleted, adopted; the operator killed
//! after any effect of it, and everything in any order.

mod kills;
mod orders;

use freehold_crds::{Adoption, DeletionPolicy, DesiredState, Phase};
use freehold_plan::{Id, Kind};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given;
use crate::simulation::{assert_isolated, ready, silent};

/// A Tenant of the same name, made later.
const ANOTHER: &str = "bbbbbbbb-0000-4000-8000-000000000002";

fn says(cluster: &Cluster, kind: &str) -> (String, String) {
    let status = cluster.given.tenant.status.as_ref().unwrap();
    let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster
}

fn suspend(cluster: &mut Cluster) {
    cluster.given.tenant.spec.desired_state = DesiredState::Suspended;
}

fn resume(cluster: &mut Cluster) {
    cluster.given.tenant.spec.desired_state = DesiredState::Active;
}

fn adopt(cluster: &mut Cluster) {
    let mut given = given::new("acme");
    given.now = cluster.given.now;
    given.tenant.metadata.uid = Some(ANOTHER.into());
    given.tenant.spec.adopt = Some(Adoption {
        incarnation: given::UID.into(),
    });
    cluster.succeed(given);
}

/// Nothing of the product runs, and the database's volumes are there.
fn assert_asleep(cluster: &Cluster) {
    for id in cluster.ids().filter(|id| id.kind == Kind::Deployment) {
        let body = cluster.body(Kind::Deployment, &id.name).unwrap();
        assert_eq!(body["spec"]["replicas"], 0, "{id}");
    }
    let database = cluster.body(Kind::Cluster, "db").unwrap();
    assert_eq!(database["metadata"]["annotations"]["cnpg.io/hibernation"], "on");
}

#[test]
fn a_suspended_tenant_sleeps_keeps_its_data_and_wakes() {
    let mut cluster = settled();
    cluster.log.clear();
    suspend(&mut cluster);
    cluster.settle();
    assert_asleep(&cluster);
    assert_eq!(says(&cluster, "Ready"), is("True", "Suspended"));
    assert_eq!(says(&cluster, "Serving"), is("False", "Suspended"));
    silent(&mut cluster);
    resume(&mut cluster);
    cluster.settle();
    assert_eq!(says(&cluster, "Serving"), is("True", "Serving"));
    silent(&mut cluster);
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    apply Cluster tenant-acme/db
    apply Deployment tenant-acme/api
    apply Deployment tenant-acme/web
    apply Cluster tenant-acme/db
    apply Deployment tenant-acme/api
    apply Deployment tenant-acme/web
    "#);
}

#[test]
fn a_release_that_is_named_while_a_tenant_sleeps_is_installed_when_it_wakes() {
    let mut cluster = settled();
    suspend(&mut cluster);
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    assert_asleep(&cluster);
    assert_eq!(says(&cluster, "UpToDate"), is("False", "Suspended"));
    assert!(cluster.body(Kind::Job, "migrate-1-1-0-994d951e6a").is_none());
    silent(&mut cluster);
    resume(&mut cluster);
    cluster.settle_upgrade();
    assert_eq!(
        cluster.given.tenant.status.as_ref().unwrap().version.as_deref(),
        Some("1.1.0")
    );
    assert!(ready(&cluster));
}

#[test]
fn a_protected_tenant_that_is_deleted_past_admission_is_held_and_serves_on() {
    let mut cluster = settled();
    cluster.delete();
    cluster.log.clear();
    cluster.settle();
    assert_eq!(cluster.log, Vec::<String>::new());
    assert_eq!(says(&cluster, "Serving"), is("True", "Serving"));
    assert_eq!(says(&cluster, "Stalled"), is("True", "DeletionHeld"));
    silent(&mut cluster);
    // And is let go by the same word as any other.
    cluster.release(DeletionPolicy::Retain);
    assert!(cluster.gone, "{}", cluster.log.join("\n"));
}

#[test]
fn a_tenant_may_be_deleted_a_while_after_its_protection_was_switched_off() {
    let mut cluster = settled();
    assert_eq!(says(&cluster, "Deletable"), is("False", "Protected"));
    cluster.given.tenant.spec.deletion_protection = false;
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("False", "Waiting"));
    let delay = cluster.given.now + SignedDuration::from_mins(10);
    assert!(cluster.plan().wake <= Some(delay));
    cluster.given.now = delay - SignedDuration::from_secs(1);
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("False", "Waiting"));
    cluster.given.now = delay;
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("True", "Deletable"));

    // Another word about the data begins another delay.
    cluster.given.tenant.spec.deletion_policy = DeletionPolicy::Delete;
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("False", "Waiting"));

    // And so does switching the protection on in between.
    cluster.given.now += SignedDuration::from_mins(11);
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("True", "Deletable"));
    cluster.given.tenant.spec.deletion_protection = true;
    cluster.settle();
    cluster.given.tenant.spec.deletion_protection = false;
    cluster.settle();
    assert_eq!(says(&cluster, "Deletable"), is("False", "Waiting"));
    let phases: Vec<Phase> = cluster
        .operations()
        .map(|operation| operation.status.phase)
        .collect();
    assert_eq!(
        phases.iter().filter(|phase| **phase == Phase::Cancelled).count(),
        2
    );
    assert_eq!(phases.len(), 3);
}

#[test]
fn a_record_that_somebody_deleted_makes_no_name_twice() {
    let mut cluster = settled();
    for on in [false, true, false, true] {
        cluster.given.tenant.spec.deletion_protection = on;
        cluster.settle();
    }
    assert_eq!(cluster.operations().count(), 2);
    cluster.lose_operation(0);
    cluster.given.tenant.spec.deletion_protection = false;
    cluster.settle();
    let pending = cluster
        .operations()
        .filter(|operation| operation.status.phase == Phase::Pending);
    assert_eq!(pending.count(), 1);
    assert_eq!(cluster.operations().count(), 2);
}

#[test]
fn a_tenant_whose_data_is_deleted_ends_in_order() {
    let mut cluster = settled();
    cluster.release(DeletionPolicy::Delete);
    cluster.log.clear();
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone);
    let left: Vec<&Id> = cluster.ids().collect();
    assert!(left.iter().all(|id| id.kind == Kind::HostnameClaim), "{left:?}");
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    step Running Routes
    delete Gateway tenant-acme/edge
    delete BackendTLSPolicy tenant-acme/web
    delete HTTPRoute tenant-acme/web
    step Running Access
    step Running Workloads
    delete Service tenant-acme/api
    delete Service tenant-acme/web
    delete PodDisruptionBudget tenant-acme/web
    delete Deployment tenant-acme/api
    delete Deployment tenant-acme/web
    delete Job tenant-acme/migrate-1-0-0-955a424b87
    step Running Database
    delete Cluster tenant-acme/db
    step Running Namespace
    delete Namespace tenant-acme
    step Running Keys
    ForgetAuthority
    step Running Hostnames
    apply HostnameClaim freehold-system/hostname-086f5e4486fe7d3c7a5c49c6e60fdd25
    step Succeeded 
    finalizer removed
    "#);
    let operation = cluster.operations().next().unwrap();
    assert_eq!(operation.status.phase, Phase::Succeeded);
    let told: Vec<&str> = operation
        .status
        .evidence
        .iter()
        .map(|evidence| evidence.step.as_str())
        .collect();
    insta::assert_snapshot!(told.join(" "), @"Routes Access Workloads Database Namespace Keys Hostnames");
}

#[test]
fn a_tenant_whose_data_is_kept_leaves_a_sleeping_database_behind_its_policies() {
    let mut cluster = settled();
    cluster.release(DeletionPolicy::Retain);
    cluster.log.clear();
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone);
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    step Running Routes
    delete Gateway tenant-acme/edge
    delete BackendTLSPolicy tenant-acme/web
    delete HTTPRoute tenant-acme/web
    step Running Access
    step Running Workloads
    delete Service tenant-acme/api
    delete Service tenant-acme/web
    delete PodDisruptionBudget tenant-acme/web
    delete Deployment tenant-acme/api
    delete Deployment tenant-acme/web
    delete Job tenant-acme/migrate-1-0-0-955a424b87
    step Running Hibernation
    apply Cluster tenant-acme/db
    step Running Retention
    apply Namespace tenant-acme
    step Running Hostnames
    apply HostnameClaim freehold-system/hostname-086f5e4486fe7d3c7a5c49c6e60fdd25
    step Succeeded 
    finalizer removed
    "#);
    assert_isolated(&cluster);
    let kinds: std::collections::BTreeSet<Kind> = cluster.ids().map(|id| id.kind).collect();
    assert!(
        kinds.contains(&Kind::Cluster) && kinds.contains(&Kind::NetworkPolicy),
        "{kinds:?}"
    );
    for gone in [
        Kind::Deployment,
        Kind::Job,
        Kind::Service,
        Kind::Gateway,
        Kind::HttpRoute,
        Kind::Pod,
    ] {
        assert!(!kinds.contains(&gone), "{gone:?}");
    }
    let database = cluster.body(Kind::Cluster, "db").unwrap();
    assert_eq!(database["metadata"]["annotations"]["cnpg.io/hibernation"], "on");
}

#[test]
fn what_was_kept_is_not_touched_by_a_new_tenant_of_that_name_and_can_be_adopted() {
    let mut cluster = settled();
    cluster.release(DeletionPolicy::Retain);
    cluster.delete();
    cluster.settle();
    let before: Vec<Id> = cluster.ids().cloned().collect();

    let mut given = given::new("acme");
    given.now = cluster.given.now;
    given.tenant.metadata.uid = Some(ANOTHER.into());
    cluster.succeed(given);
    cluster.log.clear();
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), is("True", "NamespaceOfEarlierTenant"));
    assert_eq!(cluster.log, ["finalizer added"]);
    assert!(cluster.ids().eq(before.iter()));
    let told = &cluster.given.tenant.status.as_ref().unwrap().blockers[0].unblocked_by;
    assert!(told.contains(given::UID), "{told}");

    adopt(&mut cluster);
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    let status = cluster.given.tenant.status.clone().unwrap();
    assert_eq!(status.incarnation.as_deref(), Some(given::UID));
    let database = cluster.body(Kind::Cluster, "db").unwrap();
    assert!(database["metadata"]["annotations"]["cnpg.io/hibernation"].is_null());
    let namespace = cluster.body(Kind::Namespace, "tenant-acme").unwrap();
    assert!(namespace["metadata"]["annotations"]["freehold.dev/retained-at"].is_null());
    silent(&mut cluster);

    // And ends like any other, though a deletion of this incarnation is on record.
    cluster.release(DeletionPolicy::Delete);
    cluster.delete();
    cluster.settle();
    assert!(cluster.gone);
    assert!(cluster.body(Kind::Namespace, "tenant-acme").is_none());
    assert_eq!(cluster.operations().count(), 2);
}

#[test]
fn nothing_is_adopted_where_nothing_is() {
    let mut cluster = Cluster::new(given::new("acme"));
    adopt(&mut cluster);
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), is("True", "NothingToAdopt"));
    assert_eq!(cluster.ids().count(), 0);
}

#[test]
fn a_namespace_of_another_incarnation_is_not_adopted() {
    let mut cluster = settled();
    cluster.release(DeletionPolicy::Retain);
    cluster.delete();
    cluster.settle();
    adopt(&mut cluster);
    cluster.given.tenant.spec.adopt.as_mut().unwrap().incarnation =
        "cccccccc-0000-4000-8000-000000000003".into();
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), is("True", "NamespaceOfEarlierTenant"));
    assert!(cluster.body(Kind::Deployment, "api").is_none());
}

/// The release that it ran before may be all that can serve: a broken window or migration must not keep it asleep.
#[test]
fn a_tenant_that_wakes_to_a_release_it_cannot_have_runs_the_one_before() {
    let mut cluster = settled();
    suspend(&mut cluster);
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle();
    cluster.broken_migration = true;
    resume(&mut cluster);
    cluster.settle();
    let replicas = |cluster: &Cluster, name: &str| {
        cluster.body(Kind::Deployment, name).unwrap()["spec"]["replicas"].clone()
    };
    assert_eq!(replicas(&cluster, "web"), 2);
    assert_eq!(replicas(&cluster, "api"), 1);
    assert_eq!(says(&cluster, "Serving"), is("True", "Serving"));
    assert_eq!(says(&cluster, "Stalled"), is("True", "UpgradeFailed"));
    silent(&mut cluster);
}

/// A migration needs the database that sleep would take away.
#[test]
fn a_migration_that_is_under_way_is_not_cut_off_by_sleep() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.pass(usize::MAX);
    assert!(cluster.ids().any(|id| id.kind == Kind::Job));
    suspend(&mut cluster);
    cluster.pass(usize::MAX);
    let asleep = |cluster: &Cluster| {
        let database = cluster.body(Kind::Cluster, "db").unwrap();
        database["metadata"]["annotations"]["cnpg.io/hibernation"] == "on"
    };
    assert!(!asleep(&cluster));
    cluster.settle();
    assert!(asleep(&cluster));
    assert!(ready(&cluster));
}
