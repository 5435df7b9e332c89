//! Stories in a simulated cluster: the operator is killed after every k-th effect, and comes to the same end.

use freehold_plan::{EdgeSlot, Id, Kind, Leaf};

use crate::cluster::Cluster;
use crate::given;

pub fn ready(cluster: &Cluster) -> bool {
    let status = cluster.given.tenant.status.as_ref();
    status.is_some_and(|s| {
        s.conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    })
}

/// Where something runs, the policies stand.
pub fn assert_isolated(cluster: &Cluster) {
    let runs = |id: &&Id| matches!(id.kind, Kind::Cluster | Kind::Deployment | Kind::Job);
    if cluster.ids().any(|id| runs(&id)) {
        let policies = cluster.ids().filter(|id| id.kind == Kind::NetworkPolicy).count();
        assert_eq!(policies, 7, "pods without policies:\n{}", cluster.log.join("\n"));
    }
}

pub fn silent(cluster: &mut Cluster) {
    for _ in 0..10 {
        assert_eq!(
            cluster.pass(usize::MAX),
            0,
            "writes at rest:\n{}",
            cluster.log.join("\n")
        );
    }
}

#[test]
fn a_tenant_becomes_ready_and_then_nothing_is_written_any_more() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    silent(&mut cluster);
}

#[test]
fn killed_after_any_effect_of_the_creation_it_comes_to_the_same_end() {
    let mut whole = Cluster::new(given::new("acme"));
    whole.settle();
    for k in 0..60 {
        let mut cluster = Cluster::new(given::new("acme"));
        cluster.pass(k);
        assert_isolated(&cluster);
        cluster.given.tenant.status = None;
        cluster.settle();
        assert!(ready(&cluster), "killed after {k}");
        assert!(cluster.ids().eq(whole.ids()), "killed after {k}");
        silent(&mut cluster);
    }
}

#[test]
fn a_policy_deleted_by_hand_is_back_with_the_next_pass() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let policies: Vec<Id> = cluster
        .ids()
        .filter(|id| id.kind == Kind::NetworkPolicy)
        .cloned()
        .collect();
    policies.iter().for_each(|id| cluster.lose(id));
    cluster.pass(usize::MAX);
    assert_isolated(&cluster);
    silent(&mut cluster);
}

#[test]
fn certificates_are_renewed_in_time_for_a_year_and_never_expire() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    // Its isolation is verified four times a day, which is another story.
    cluster.given.config.verification = None;
    let mut renewals = 0;
    let end = given::at(given::NOON + 365 * 24 * 3600);
    loop {
        let wake = cluster.plan().wake.expect("a certificate always has an end");
        if wake > end {
            break;
        }
        cluster.sleep_until(wake);
        let before = cluster
            .given
            .observed
            .minted
            .leaf(Leaf::Edge(EdgeSlot::FIRST))
            .clone();
        cluster.settle();
        assert!(ready(&cluster));
        renewals += usize::from(*cluster.given.observed.minted.leaf(Leaf::Edge(EdgeSlot::FIRST)) != before);
    }
    assert!(
        (70..90).contains(&renewals),
        "{renewals} renewals of a 7-day certificate"
    );
}

#[test]
fn another_hostname_makes_another_certificate() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster
        .given
        .tenant
        .spec
        .hostnames
        .push("board.acme.example".into());
    cluster.settle();
    let names = |slot: EdgeSlot| {
        let there = cluster.given.observed.minted.leaf(Leaf::Edge(slot)).present();
        there.map(|there| there.dns_names.clone())
    };
    let names: Vec<_> = EdgeSlot::all().map_while(names).collect();
    assert_eq!(names, [["acme.example"], ["board.acme.example"]]);
    silent(&mut cluster);
}

#[test]
fn an_upgrade_migrates_before_it_rolls() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.log.clear();
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    assert!(ready(&cluster));
    assert_eq!(
        cluster.given.tenant.status.as_ref().unwrap().version.as_deref(),
        Some("1.1.0")
    );
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    announce Upgrade None
    step Running Preflight
    step Running Migrate
    create Job tenant-acme/migrate-1-1-0-a1e817eea7
    step Running Roll
    apply ServiceAccount tenant-acme/api
    apply ServiceAccount tenant-acme/web
    apply Service tenant-acme/api
    apply Service tenant-acme/web
    apply PodDisruptionBudget tenant-acme/web
    apply Deployment tenant-acme/api
    apply ConfigMap tenant-acme/settings
    apply Deployment tenant-acme/web
    step Running Smoke
    step Running Bake
    step Succeeded 
    delete Job tenant-acme/migrate-1-0-0-955a424b87
    "#);
    silent(&mut cluster);
}

#[test]
fn a_failed_migration_keeps_what_serves() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.broken_migration = true;
    cluster.given.upgrade_to(given::release("1.2.0"));
    cluster.settle();
    let plan = cluster.plan();
    insta::assert_snapshot!(crate::show::show(&plan, &cluster.given.observed), @r#"
    Ready=False UpgradeFailed: the upgrade to 1.2.0 failed in the step Migrate: migrate-1-2-0-bee97e324b: no such column; 1.0.0 runs on
    Stalled=True UpgradeFailed: unblocked by: name another release in spec.release.name, or set spec.release.retry to a new word to try 1.2.0 again; `kubectl describe tenantoperation -n freehold-system acme-upgrade-5346869efd` has the whole story
    Serving=True Serving: users are served
    UpToDate=False UpgradeFailed: the upgrade to 1.2.0 failed in the step Migrate: migrate-1-2-0-bee97e324b: no such column; 1.0.0 runs on
    blocked by UpgradeFailed; name another release in spec.release.name, or set spec.release.retry to a new word to try 1.2.0 again; `kubectl describe tenantoperation -n freehold-system acme-upgrade-5346869efd` has the whole story
    wake 2027-01-15T13:55:01Z
    "#);
    assert_eq!(plan.status.version.as_deref(), Some("1.0.0"));
}

/// The status says nothing about a change before the change is there.
#[test]
fn a_change_makes_a_tenant_unready_until_it_is_there() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    let changes: [fn(&mut Cluster); 3] = [
        |cluster| {
            let hostnames = &mut cluster.given.tenant.spec.hostnames;
            hostnames.push("board.acme.example".into());
        },
        |cluster| {
            cluster.given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 2})));
        },
        |cluster| cluster.given.tenant.spec.seats = 6,
    ];
    for change in changes {
        change(&mut cluster);
        let plan = cluster.plan();
        let says = |kind: &str| plan.conditions.iter().find(|c| c.type_ == kind).unwrap();
        for kind in ["Ready", "UpToDate"] {
            assert_eq!(says(kind).status, "False", "{:#?}", plan.conditions);
        }
        assert!(
            plan.conditions.iter().any(|c| c.reason == "Applying"),
            "{:#?}",
            plan.conditions
        );
        assert_eq!(says("Serving").status, "True");
        let wake = plan.wake.expect("nothing else is sure to wake the tenant");
        assert!(wake <= cluster.given.now + jiff::SignedDuration::from_secs(5));
        cluster.settle();
        assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    }
}

#[test]
fn the_version_is_that_which_serves_and_not_that_of_a_template() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.given.upgrade_to(given::release("1.1.0"));
    let version = |cluster: &mut Cluster| cluster.plan().status.version;
    cluster.pass(usize::MAX);
    cluster.tick();
    cluster.pass(usize::MAX);
    assert_eq!(
        version(&mut cluster).as_deref(),
        Some("1.0.0"),
        "the new pods are not there yet"
    );
    cluster.settle();
    assert_eq!(version(&mut cluster).as_deref(), Some("1.1.0"));
}

/// A release with another port for web, and another name for the api.
fn another_shape() -> freehold_crds::Release {
    let mut release = given::release("1.2.0");
    release.spec.components[0].port = Some(9090);
    release.spec.components[1].name = "server".into();
    release
        .spec
        .hooks
        .as_mut()
        .unwrap()
        .migrate
        .as_mut()
        .unwrap()
        .component = Some("server".into());
    release
}

#[test]
fn while_the_schema_is_old_nothing_of_the_old_version_is_touched() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.log.clear();
    cluster.broken_migration = true;
    cluster.given.upgrade_to(another_shape());
    cluster.settle();
    insta::assert_snapshot!(cluster.log.join("\n"), @r#"
    announce Upgrade None
    apply NetworkPolicy tenant-acme/hook
    apply NetworkPolicy tenant-acme/web
    create ServiceAccount tenant-acme/server
    MintCertificate { leaf: Application, namespace: "tenant-acme", dns_names: ["api.tenant-acme.svc.cluster.local", "server.tenant-acme.svc.cluster.local"], lifetime_seconds: 604800 }
    create Service tenant-acme/server
    step Running Preflight
    apply ConfigMap tenant-acme/isolation
    step Running Migrate
    create Pod freehold-probes/verify-control-acme-74341981
    create Pod tenant-acme/verify-application-acme-74341981
    create Pod tenant-acme/verify-database-acme-74341981
    create Pod tenant-acme/verify-hook-acme-74341981
    create Pod tenant-acme/verify-web-acme-74341981
    apply ConfigMap tenant-acme/isolation
    create Job tenant-acme/migrate-1-2-0-bee97e324b
    delete Pod freehold-probes/verify-control-acme-74341981
    delete Pod tenant-acme/verify-application-acme-74341981
    delete Pod tenant-acme/verify-database-acme-74341981
    delete Pod tenant-acme/verify-hook-acme-74341981
    delete Pod tenant-acme/verify-web-acme-74341981
    step Failed 
    apply NetworkPolicy tenant-acme/hook
    apply NetworkPolicy tenant-acme/web
    delete ServiceAccount tenant-acme/server
    delete Service tenant-acme/server
    apply ConfigMap tenant-acme/isolation
    MintCertificate { leaf: Application, namespace: "tenant-acme", dns_names: ["api.tenant-acme.svc.cluster.local"], lifetime_seconds: 604800 }
    create Pod freehold-probes/verify-control-acme-74341981
    create Pod tenant-acme/verify-application-acme-74341981
    create Pod tenant-acme/verify-database-acme-74341981
    create Pod tenant-acme/verify-hook-acme-74341981
    create Pod tenant-acme/verify-web-acme-74341981
    apply ConfigMap tenant-acme/isolation
    delete Pod freehold-probes/verify-control-acme-74341981
    delete Pod tenant-acme/verify-application-acme-74341981
    delete Pod tenant-acme/verify-database-acme-74341981
    delete Pod tenant-acme/verify-hook-acme-74341981
    delete Pod tenant-acme/verify-web-acme-74341981
    "#);
    let plan = cluster.plan();
    let serving = plan.conditions.iter().find(|c| c.type_ == "Serving").unwrap();
    assert_eq!(serving.status, "True", "{}", serving.message);
    let web = |cluster: &mut Cluster| {
        let plan = cluster.plan();
        let policy = plan
            .objects
            .iter()
            .find(|o| o.id.kind == Kind::NetworkPolicy && o.id.name == "web");
        let ports = policy.unwrap().body["spec"]["ingress"][0]["ports"].clone();
        let ports: Vec<i64> = ports
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|p| p["port"].as_i64())
            .collect();
        ports
    };
    assert_eq!(web(&mut cluster), [8080], "it was given up");

    let api = cluster
        .ids()
        .find(|id| id.kind == Kind::Deployment && id.name == "api")
        .cloned()
        .unwrap();
    cluster.lose(&api);
    cluster.settle();
    let api = cluster.body(Kind::Deployment, "api").unwrap();
    let labels = &api["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        labels["app.kubernetes.io/version"], "1.0.0",
        "a new image met the old schema"
    );

    cluster.broken_migration = false;
    cluster.given.tenant.spec.release.retry = Some("mended".into());
    cluster.settle_upgrade();
    assert!(ready(&cluster), "{:#?}", cluster.given.tenant.status);
    assert_eq!(web(&mut cluster), [9090]);
    assert!(cluster.ids().all(|id| id.name != "api"));
    silent(&mut cluster);
}

#[test]
fn two_migrations_never_run_at_once() {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.pass(usize::MAX);
    cluster.given.upgrade_to(given::release("1.1.0"));
    let mut most = 0;
    for _ in 0..10 {
        cluster.pass(usize::MAX);
        most = most.max(cluster.ids().filter(|id| id.kind == Kind::Job).count());
        cluster.tick();
    }
    assert_eq!(most, 1);
    cluster.settle_upgrade();
    assert!(ready(&cluster));
}
