//! What is looked at before anything happens.

use super::*;

/// The upgrade from 1.0.0 to a release fails in its first step; why.
fn refused(release: freehold_crds::Release) -> String {
    let mut cluster = settled();
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    assert_eq!(says(&cluster, "Serving"), "True Serving");
    let mut upgrades = cluster.operations();
    let upgrade = upgrades
        .find(|o| o.spec.r#type == OperationType::Upgrade)
        .unwrap();
    assert_eq!(upgrade.status.phase, Phase::Failed);
    assert_eq!(upgrade.status.evidence.len(), 1);
    upgrade.status.evidence[0].message.clone()
}

#[test]
fn a_change_of_the_schema_that_cannot_be_undone_is_refused_and_says_why() {
    for change in [SchemaChange::Contract, SchemaChange::Irreversible] {
        let mut release = given::release("1.1.0");
        release.spec.schema.change = change;
        let told = refused(release);
        let why = format!(
            "1.1.0 changes the schema in a way that can't be undone ({change:?}), which is refused until there are proven backups"
        );
        assert!(told.contains(&why), "{told}");
    }
}

/// Of a tenant that began with such a release: nothing was there to lose.
#[test]
fn nobody_goes_back_over_a_change_of_the_schema_that_cannot_be_undone() {
    for change in [SchemaChange::Contract, SchemaChange::Irreversible] {
        let mut first = given::release("1.0.0");
        first.spec.schema.change = change;
        let mut cluster = Cluster::new(given::new("acme"));
        cluster.given.upgrade_to(first);
        cluster.settle();
        cluster.given.upgrade_to(given::release("0.9.0"));
        cluster.settle_upgrade();
        assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
        assert_eq!(upgrades(&cluster), ["1.0.0 -> 0.9.0: Failed: Preflight"]);
        let blockers = &cluster.given.tenant.status.as_ref().unwrap().blockers;
        let why = "0.9.0 does not work on the schema that 1.0.0 has left";
        assert!(blockers[0].message.contains(why), "{blockers:?}");
    }
}

#[test]
fn a_path_that_is_not_allowed_is_refused_before_anything_happens() {
    let mut later = given::release("1.3.0");
    later.spec.upgrade_from = Some(">=1.2.0, <2.0.0".into());
    assert!(refused(later.clone()).contains("1.3.0 may follow >=1.2.0, <2.0.0 only, and 1.0.0 runs"));
    later.spec.upgrade_from = Some("whatever".into());
    assert!(refused(later).contains("can't be read"));

    assert!(refused(given::release("0.9.0")).contains("nobody says that 0.9.0 works on the schema of 1.0.0"));
    assert!(refused(recalled("1.1.0", RecallAction::Hold)).contains("was recalled: cards vanish"));
}

#[test]
fn a_pre_release_comes_to_those_only_who_try_things_out() {
    let told = refused(given::release("1.1.0-rc.1"));
    assert!(
        told.contains(
            "1.1.0-rc.1 is a pre-release, which comes to tenants of the environment Development or Testing"
        ),
        "{told}"
    );

    let mut cluster = settled();
    cluster.given.tenant.spec.environment = freehold_crds::Environment::Testing;
    cluster.given.upgrade_to(given::release("1.1.0-rc.1"));
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0-rc.1"));
    // What runs is left alone, whatever the tenant becomes.
    cluster.given.tenant.spec.environment = freehold_crds::Environment::Production;
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0-rc.1"));
    assert_eq!(says(&cluster, "Ready"), "True Ready");

    let mut fresh = Cluster::new(given::new("acme"));
    fresh.given.ask_for(given::release("1.1.0-rc.1"));
    fresh.settle();
    assert_eq!(says(&fresh, "Stalled"), "True PreReleaseRefused");
    assert!(fresh.body(Kind::Deployment, "web").is_none());
}

#[test]
fn a_release_that_the_quota_does_not_allow_is_refused_before_anything_happens() {
    let mut many = given::release("1.1.0");
    many.spec.components[0].replicas = 19;
    let told = refused(many);
    assert!(
        told.ends_with("more than the quota allows (pods: 21 of 20)"),
        "{told}"
    );
    let mut large = given::release("1.1.0");
    large.spec.components[0].resources =
        given::typed(serde_json::json!({"cpuRequest": "1500m", "memoryLimit": "1Gi"}));
    let told = refused(large);
    assert!(
        told.ends_with("(CPU: 3 of 2; memory: 2048Mi of 1024Mi)"),
        "{told}"
    );
}

#[test]
fn an_upgrade_waits_for_the_key_service() {
    let mut cluster = Cluster::new(given::with_keys("acme"));
    cluster.settle();
    let service = |cluster: &mut Cluster, failure: Option<&str>| {
        let service = cluster.given.config.key_service.as_mut().unwrap();
        service.failure = failure.map(str::to_owned);
    };
    service(&mut cluster, Some("no answer within 5s"));
    cluster.given.upgrade_to(given::release("1.1.0"));
    cluster.settle_upgrade();
    let status = cluster.given.tenant.status.clone().unwrap();
    let told: Vec<&str> = status.blockers.iter().map(|b| b.message.as_str()).collect();
    assert!(
        told.contains(&"the upgrade to 1.1.0 waits: the key service does not answer: no answer within 5s"),
        "{told:?}"
    );
    assert_eq!(version(&cluster).as_deref(), Some("1.0.0"));
    // After an hour somebody is to look, and a channel goes on with others.
    assert_eq!(says(&cluster, "Stalled"), "False Progressing");
    cluster.given.now += SignedDuration::from_hours(1);
    cluster.settle();
    assert_eq!(says(&cluster, "Stalled"), "True UpgradeWaits");
    service(&mut cluster, None);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
}

/// Of a component that the release before didn't have: no pod starts before its name is in the certificate.
#[test]
fn an_upgrade_waits_for_the_certificates_of_its_pods() {
    let mut cluster = settled();
    let mut release = given::release("1.1.0");
    let search = serde_json::json!({"name": "search", "tier": "Application", "port": 8082, "replicas": 1,
        "image": release.spec.components[1].image});
    release.spec.components.push(given::typed(search));
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    let first = |what: &str| cluster.log.iter().position(|line| line.contains(what)).unwrap();
    assert!(
        first("MintCertificate { leaf: Application") < first("step Running Migrate"),
        "{:#?}",
        cluster.log
    );
}

#[test]
fn a_release_on_whose_schema_the_one_that_runs_does_not_work_is_refused() {
    let mut newer = tested("1.1.0");
    newer.spec.schema.oldest_version = Some("1.1.0".into());
    assert!(refused(newer).contains("1.0.0 would run on a schema that it doesn't know"));
}

#[test]
fn another_product_is_refused() {
    let mut other = given::release("2.0.0");
    other.spec.product = "crm".into();
    assert!(refused(other).contains("crm is another product than board"));
}

#[test]
fn an_image_that_can_not_be_had_is_found_before_anything_is_changed() {
    let mut cluster = settled();
    cluster.missing_image = true;
    let mut release = tested("1.1.0");
    for component in &mut release.spec.components {
        component.image = component.image.replace("@sha256:0", "@sha256:1");
    }
    cluster.given.upgrade_to(release.clone());
    cluster.settle();
    let pods = |cluster: &Cluster| -> usize {
        let pods = cluster.ids().filter(|id| id.kind == Kind::Pod);
        pods.filter(|id| id.name.starts_with("preflight-")).count()
    };
    assert_eq!(pods(&cluster), 2, "one for each image, whoever uses it");
    let status = cluster.given.tenant.status.clone().unwrap();
    let told: Vec<&str> = status
        .blockers
        .iter()
        .map(|blocker| blocker.reason.as_str())
        .collect();
    assert_eq!(
        told,
        ["UpgradeWaits"],
        "as soon as the kubelet says so: {:?}",
        status.blockers
    );
    assert!(
        status.blockers[0]
            .message
            .contains("ImagePullBackOff: no such manifest")
    );
    cluster.given.now += SignedDuration::from_mins(6);
    cluster.settle_upgrade();
    assert_eq!(upgrades(&cluster), ["1.0.0 -> 1.1.0: Failed: Preflight"]);
    let told = says(&cluster, "Stalled");
    assert_eq!(told, "True UpgradeFailed");
    let status = cluster.given.tenant.status.clone().unwrap();
    assert!(
        status.blockers[0]
            .message
            .contains("ImagePullBackOff: no such manifest"),
        "{:?}",
        status.blockers
    );
    assert!(!cluster.log.iter().any(|line| line.contains("migrate-1-1-0")));
    assert_eq!(pods(&cluster), 0);

    cluster.missing_image = false;
    cluster.given.tenant.spec.release.retry = Some("pushed".into());
    cluster.settle_upgrade();
    assert_eq!(version(&cluster).as_deref(), Some("1.1.0"));
    let upgrade = cluster
        .operations()
        .find(|o| o.status.phase == Phase::Succeeded)
        .unwrap();
    assert!(
        upgrade.status.evidence[0]
            .message
            .contains("2 new images are there")
    );
}
