//! Cases: given these facts, that is the plan.

use freehold_plan::{Action, EdgeSlot, Id, Kind, Leaf, Slot, Stranger};

use crate::cluster::Cluster;
use crate::given::{self, Given, at};
use crate::show::show;

fn check(given: &Given) -> String {
    show(&freehold_plan::plan(&given.input()), &given.observed)
}

/// A tenant that is ready.
fn settled() -> Cluster {
    let mut cluster = Cluster::new(given::new("acme"));
    cluster.settle();
    cluster.observe();
    cluster
}

#[test]
fn a_new_tenant() {
    insta::assert_snapshot!(check(&given::new("acme")), @r#"
    finalizer add
    create Namespace tenant-acme
    create HostnameClaim freehold-system/hostname-086f5e4486fe7d3c7a5c49c6e60fdd25
    create RoleBinding tenant-acme/freehold
    create ResourceQuota tenant-acme/tenant
    create NetworkPolicy tenant-acme/allow-dns
    create NetworkPolicy tenant-acme/application
    create NetworkPolicy tenant-acme/database
    create NetworkPolicy tenant-acme/default-deny
    create NetworkPolicy tenant-acme/hook
    create NetworkPolicy tenant-acme/web
    create NetworkPolicy tenant-acme/worker
    create ServiceAccount tenant-acme/api
    create ServiceAccount tenant-acme/hooks
    create ServiceAccount tenant-acme/web
    create ConfigMap tenant-acme/class
    create ConfigMap tenant-acme/settings
    create Service tenant-acme/api
    create Service tenant-acme/web
    create Gateway tenant-acme/edge
    create BackendTLSPolicy tenant-acme/web
    create HTTPRoute tenant-acme/web
    create PodDisruptionBudget tenant-acme/web
    create Deployment tenant-acme/api
    create Deployment tenant-acme/web
    create Job tenant-acme/migrate-1-0-0-955a424b87
    do MintOwner { namespace: "tenant-acme" }
    do MintAuthority { permitted: ["acme.example", "tenant-acme.svc.cluster.local"], lifetime_seconds: 63072000 }
    do MintCertificate { leaf: Edge(EdgeSlot(0)), namespace: "tenant-acme", dns_names: ["acme.example"], lifetime_seconds: 604800 }
    do MintCertificate { leaf: Web, namespace: "tenant-acme", dns_names: ["web.tenant-acme.svc.cluster.local"], lifetime_seconds: 604800 }
    do MintCertificate { leaf: Application, namespace: "tenant-acme", dns_names: ["api.tenant-acme.svc.cluster.local"], lifetime_seconds: 604800 }
    do MintCertificate { leaf: Database, namespace: "tenant-acme", dns_names: ["db-r.tenant-acme.svc.cluster.local", "db-ro.tenant-acme.svc.cluster.local", "db-rw.tenant-acme.svc.cluster.local"], lifetime_seconds: 604800 }
    do MintCertificate { leaf: Replication, namespace: "tenant-acme", dns_names: [], lifetime_seconds: 604800 }
    Ready=False Creating: the namespace is being created
    Stalled=False Progressing: nothing waits for anybody's deed
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False RollingOut: what was asked for is being rolled out
    wake 2027-01-15T08:00:05Z
    "#);
}

#[test]
fn a_ready_tenant_needs_nothing() {
    insta::assert_snapshot!(check(&settled().given), @r#"
    Ready=True Ready: everything runs as it was asked for
    Stalled=False Progressing: nothing waits for anybody's deed
    Serving=True Serving: users are served
    UpToDate=True UpToDate: what runs is what was asked for
    wake 2027-01-15T13:55:01Z
    "#);
}

#[test]
fn a_class_that_does_not_exist() {
    let mut given = given::new("acme");
    given.class = None;
    insta::assert_snapshot!(check(&given), @r#"
    finalizer add
    Ready=False ClassNotFound: the TenantClass standard does not exist
    Stalled=True ClassNotFound: unblocked by: create the TenantClass standard
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False ClassNotFound: the TenantClass standard does not exist
    blocked by ClassNotFound; create the TenantClass standard
    "#);
}

#[test]
fn a_release_that_is_gone_leaves_what_serves_as_it_is() {
    let mut given = settled().given;
    given.releases.clear();
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False ReleaseNotFound: the Release board-1.0.0 does not exist
    Stalled=True ReleaseNotFound: unblocked by: create the Release board-1.0.0, or name another in spec.release.name
    Serving=True Serving: users are served
    UpToDate=False ReleaseNotFound: the Release board-1.0.0 does not exist
    blocked by ReleaseNotFound; create the Release board-1.0.0, or name another in spec.release.name
    wake 2027-01-16T05:30:00Z
    "#);
}

#[test]
fn a_certificate_is_renewed_without_a_release_and_without_a_class() {
    let mut given = settled().given;
    let certificates = freehold_plan::plan(&given.input()).status.certificates;
    let edge = certificates.iter().find(|one| one.name == "edge-tls").unwrap();
    let times = certificates.iter().map(|one| one.renew_at.0);
    let last = times.max().unwrap();
    assert!(edge.renew_at.0 <= last && edge.not_after.0 > last);
    given.now = last;
    given.releases.clear();
    given.class = None;
    let plan = freehold_plan::plan(&given.input());
    let renewed: Vec<Leaf> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::MintCertificate {
                leaf,
                dns_names,
                lifetime_seconds,
                ..
            } => {
                assert!(*leaf != Leaf::Edge(EdgeSlot::FIRST) || dns_names == &["acme.example"]);
                assert_eq!(*lifetime_seconds, 7 * 24 * 3600);
                *leaf
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        renewed,
        [
            Leaf::Edge(EdgeSlot::FIRST),
            Leaf::Web,
            Leaf::Application,
            Leaf::Database,
            Leaf::Replication
        ]
    );
    assert_eq!(plan.status.certificates.len(), 5);
}

#[test]
fn nobody_is_served_with_an_expired_certificate() {
    let mut given = settled().given;
    given.config.verification = None;
    given.observed.minted.authority = Slot::Foreign;
    let plan = freehold_plan::plan(&given.input());
    let end = given
        .observed
        .minted
        .leaf(Leaf::Edge(EdgeSlot::FIRST))
        .present()
        .unwrap()
        .not_after;
    assert_eq!(plan.wake, Some(end), "then it must be said");
    given.now = end;
    let plan = freehold_plan::plan(&given.input());
    let serving = plan.conditions.iter().find(|c| c.type_ == "Serving").unwrap();
    assert_eq!(
        (serving.status.as_str(), serving.reason.as_str()),
        ("False", "CertificateExpired")
    );
}

#[test]
fn a_namespace_that_is_not_ours_is_never_written_into() {
    let mut given = given::new("acme");
    let id = Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name: "tenant-acme".into(),
    };
    given.observed.strangers.insert(
        id,
        Stranger {
            look_again: at(given::NOON + 30),
        },
    );
    insta::assert_snapshot!(check(&given), @r#"
    finalizer add
    Ready=False NamespaceNotOurs: the namespace tenant-acme exists and was not made for this tenant
    Stalled=True NamespaceNotOurs: unblocked by: look what is in the namespace tenant-acme; delete it, or give the tenant another name
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False NamespaceNotOurs: the namespace tenant-acme exists and was not made for this tenant
    blocked by NamespaceNotOurs; look what is in the namespace tenant-acme; delete it, or give the tenant another name
    wake 2027-01-15T08:00:30Z
    "#);
}

#[test]
fn a_namespace_of_an_earlier_tenant_of_that_name_is_never_adopted() {
    let mut given = settled().given;
    given.tenant.metadata.uid = Some("another".into());
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False NamespaceOfEarlierTenant: the namespace tenant-acme holds the data of an earlier tenant of this name, incarnation aaaaaaaa-0000-4000-8000-000000000001
    Stalled=True NamespaceOfEarlierTenant: unblocked by: set spec.adopt.incarnation to aaaaaaaa-0000-4000-8000-000000000001 to go on with that data; or delete the namespace tenant-acme and all that is in it; or give the tenant another name
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False NamespaceOfEarlierTenant: the namespace tenant-acme holds the data of an earlier tenant of this name, incarnation aaaaaaaa-0000-4000-8000-000000000001
    blocked by NamespaceOfEarlierTenant; set spec.adopt.incarnation to aaaaaaaa-0000-4000-8000-000000000001 to go on with that data; or delete the namespace tenant-acme and all that is in it; or give the tenant another name
    "#);
}

#[test]
fn an_address_is_no_hostname() {
    let mut given = given::new("acme");
    given.tenant.spec.hostnames.push("10.1.2.3".into());
    insta::assert_snapshot!(check(&given), @r#"
    finalizer add
    Ready=False InvalidTenant: 10.1.2.3 is an address, not a hostname
    Stalled=True InvalidTenant: unblocked by: name hostnames only in spec.hostnames: the last part begins with a letter
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False InvalidTenant: 10.1.2.3 is an address, not a hostname
    blocked by InvalidTenant; name hostnames only in spec.hostnames: the last part begins with a letter
    "#);
}

/// Kubernetes ends pods before policies; deleting the policies ourselves would undo that.
#[test]
fn nothing_is_deleted_in_a_namespace_that_is_ending() {
    let mut given = settled().given;
    let id = Id {
        kind: Kind::Namespace,
        namespace: String::new(),
        name: "tenant-acme".into(),
    };
    given.observed.objects.get_mut(&id).unwrap().ending = true;
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False NamespaceEnding: the namespace tenant-acme is being deleted, though the tenant is not
    Stalled=False Progressing: nothing waits for anybody's deed
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False NamespaceEnding: the namespace tenant-acme is being deleted, though the tenant is not
    blocked by NamespaceEnding; the end of that deletion; a new namespace is then created, without the old data
    "#);
}

#[test]
fn a_planted_deployment_is_named_and_not_merged() {
    let mut given = settled().given;
    let id = Id {
        kind: Kind::Deployment,
        namespace: "tenant-acme".into(),
        name: "api".into(),
    };
    given.observed.objects.remove(&id);
    given.observed.strangers.insert(
        id,
        Stranger {
            look_again: at(given::NOON + 30),
        },
    );
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False ObjectNotOurs: Deployment tenant-acme/api exists and was not made by Freehold
    Stalled=True ObjectNotOurs: unblocked by: look where Deployment tenant-acme/api comes from, and delete it
    Serving=False NoPods: a tier has no pod that can answer
    UpToDate=False ObjectNotOurs: Deployment tenant-acme/api exists and was not made by Freehold
    blocked by ObjectNotOurs; look where Deployment tenant-acme/api comes from, and delete it
    wake 2027-01-15T08:00:30Z
    "#);
}

#[test]
fn a_volume_for_the_log_comes_when_it_is_asked_for_and_stays() {
    let mut cluster = settled();
    let of_log = |cluster: &mut Cluster| {
        cluster.settle();
        let database = cluster.body(Kind::Cluster, "db").unwrap();
        database["spec"]["walStorage"]["size"].as_str().map(str::to_owned)
    };
    assert_eq!(of_log(&mut cluster), None);
    let ask = |cluster: &mut Cluster, database: serde_json::Value| {
        cluster.given.tenant.spec.database = Some(given::typed(database));
        of_log(cluster)
    };
    let size = |text: &str| serde_json::json!({"walStorageSize": text});
    assert_eq!(ask(&mut cluster, size("2Gi")).as_deref(), Some("2Gi"));
    assert_eq!(ask(&mut cluster, size("3Gi")).as_deref(), Some("3Gi"));
    // CloudNativePG can't take it away or make it smaller.
    assert_eq!(ask(&mut cluster, serde_json::json!({})).as_deref(), Some("3Gi"));
    assert_eq!(ask(&mut cluster, size("2Gi")).as_deref(), Some("3Gi"));
    let blocker = &cluster.plan().status.blockers[0];
    assert!(blocker.unblocked_by.contains("walStorageSize"), "{blocker:?}");
}

#[test]
fn storage_never_shrinks() {
    let mut given = settled().given;
    given.tenant.spec.database = Some(given::typed(serde_json::json!({"storageSize": "512Mi"})));
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False StorageCannotShrink: the database's volumes have 1Gi; 512Mi is asked for
    Stalled=False Progressing: nothing waits for anybody's deed
    Serving=True Serving: users are served
    UpToDate=False StorageCannotShrink: the database's volumes have 1Gi; 512Mi is asked for
    blocked by StorageCannotShrink; set spec.database.storageSize of the tenant to 1Gi or more
    wake 2027-01-15T13:55:01Z
    "#);
}

#[test]
fn three_instances_replicate_synchronously() {
    let mut given = given::new("acme");
    given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 3})));
    let mut cluster = Cluster::new(given);
    cluster.settle();
    assert_eq!(
        cluster.body(Kind::Cluster, "db").unwrap()["spec"]["postgresql"]["synchronous"],
        serde_json::json!({"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": false})
    );
}

#[test]
fn a_component_that_is_no_longer_in_the_release_is_pruned() {
    let mut cluster = settled();
    let mut release = given::release("1.1.0");
    release.spec.components[1].name = "server".into();
    release.spec.hooks.as_mut().unwrap().migrate = None;
    cluster.given.upgrade_to(release);
    cluster.settle_upgrade();
    let is_there = |name: &str| {
        let kinds = [Kind::Deployment, Kind::Service, Kind::ServiceAccount];
        kinds.map(|kind| cluster.body(kind, name).is_some())
    };
    assert_eq!((is_there("api"), is_there("server")), ([false; 3], [true; 3]));
    assert!(!cluster.ids().any(|id| id.name.starts_with("migrate-1-0-0")));
}

/// A Deployment's selector is immutable: what a release may change is not in it.
#[test]
fn a_component_may_change_its_tier() {
    let deployment = |tier| {
        let mut given = given::new("acme");
        let mut release = given::release("1.0.0");
        release.spec.components[1].tier = tier;
        given.ask_for(release);
        let plan = freehold_plan::plan(&given.input());
        let of = |kind| {
            let mut objects = plan.objects.iter();
            let object = objects.find(|o| o.id.kind == kind && o.id.name == "api");
            object.unwrap().body["spec"].clone()
        };
        (of(Kind::Deployment), of(Kind::Service))
    };
    let (before, service) = deployment(freehold_crds::Tier::Application);
    let (after, _) = deployment(freehold_crds::Tier::Worker);
    assert_eq!(before["selector"], after["selector"]);
    assert_eq!(before["selector"]["matchLabels"], service["selector"]);
    let labels = &after["template"]["metadata"]["labels"];
    assert_eq!(labels["freehold.dev/component"], "api");
    assert_eq!(labels["freehold.dev/tier"], "worker");
}

#[test]
fn an_authority_of_another_tenant_is_never_used() {
    let mut given = settled().given;
    given.observed.minted.authority = Slot::Foreign;
    insta::assert_snapshot!(check(&given), @r#"
    Ready=False SecretNotOurs: the Secret freehold-keys/tenant-acme-ca does not bear the mark of this life of the tenant
    Stalled=True SecretNotOurs: unblocked by: put freehold-keys/tenant-acme-ca back as it was, its annotations too; deleting it would end the tenant's authority
    Serving=True Serving: users are served
    UpToDate=False SecretNotOurs: the Secret freehold-keys/tenant-acme-ca does not bear the mark of this life of the tenant
    blocked by SecretNotOurs; put freehold-keys/tenant-acme-ca back as it was, its annotations too; deleting it would end the tenant's authority
    wake 2027-01-15T13:55:01Z
    "#);
}

#[test]
fn only_the_application_tier_gets_the_owners_token_and_the_web_tier_gets_its_certificate_alone() {
    let given = given::new("acme");
    let plan = freehold_plan::plan(&given.input());
    let secrets = |name: &str| -> Vec<String> {
        let object = plan
            .objects
            .iter()
            .find(|o| o.id.kind == Kind::Deployment && o.id.name == name)
            .unwrap();
        let sources = &object.body["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"];
        let names = sources
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|source| source["secret"]["name"].as_str());
        names.map(str::to_owned).collect()
    };
    assert_eq!(secrets("web"), ["web-tls"]);
    assert_eq!(secrets("api"), ["application-tls", "db-app", "owner"]);
}

#[test]
fn the_settings_file_is_what_the_product_expects() {
    let given = given::new("acme");
    let plan = freehold_plan::plan(&given.input());
    let map = plan
        .objects
        .iter()
        .find(|o| o.id.kind == Kind::ConfigMap && o.id.name == "settings")
        .unwrap();
    let text = map.body["data"]["settings.json"].as_str().unwrap();
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap(), @r#"
    {
      "database": {
        "host": "db-rw.tenant-acme.svc.cluster.local"
      },
      "password": {
        "lockoutAttempts": 10,
        "minLength": 12
      },
      "refresh": {
        "idleMinutes": 25
      },
      "release": {
        "product": "board",
        "version": "1.0.0"
      },
      "services": {
        "api": "https://api.tenant-acme.svc.cluster.local:8081",
        "web": "https://web.tenant-acme.svc.cluster.local:8080"
      },
      "session": {
        "idleMinutes": 30,
        "maxHours": 12
      },
      "support": {
        "consent": "OnRequest"
      },
      "tenant": {
        "displayName": "Acme",
        "edition": "Standard",
        "environment": "Production",
        "name": "acme",
        "owner": "owner@acme.example",
        "region": "eu-central",
        "seats": 5
      },
      "url": "https://acme.example"
    }
    "#);
}

/// The whole of the policies: a change here is a change of who reaches whom.
#[test]
fn the_policies_of_a_tenant() {
    let given = given::new("acme");
    let plan = freehold_plan::plan(&given.input());
    let policies = plan
        .objects
        .iter()
        .filter(|object| object.id.kind == Kind::NetworkPolicy);
    let text: Vec<String> = policies
        .map(|object| {
            let spec = freehold_crds::yaml::to_string(&object.body["spec"]).unwrap();
            format!("# {}\n{spec}", object.id.name)
        })
        .collect();
    insta::assert_snapshot!("policies", text.join("\n"));
}

#[test]
fn what_the_api_server_refuses_is_said() {
    let mut given = settled().given;
    given.tenant.spec.database = Some(given::typed(serde_json::json!({"instances": 2})));
    let id = Id {
        kind: Kind::Cluster,
        namespace: "tenant-acme".into(),
        name: "db".into(),
    };
    given
        .observed
        .refused
        .insert(id, "spec.storage.size: can't be reduced".into());
    insta::assert_snapshot!(check(&given), @r#"
    apply Cluster tenant-acme/db
    Ready=False WriteRefused: the API server refuses Cluster tenant-acme/db: spec.storage.size: can't be reduced
    Stalled=False Progressing: nothing waits for anybody's deed
    Serving=True Serving: users are served
    UpToDate=False WriteRefused: the API server refuses Cluster tenant-acme/db: spec.storage.size: can't be reduced
    blocked by WriteRefused; correct what the message names in the tenant, its class or its release
    wake 2027-01-15T08:00:05Z
    "#);

    // Taken back.
    given.tenant.spec.database = None;
    let plan = freehold_plan::plan(&given.input());
    assert_eq!(plan.status.blockers, []);
}

#[test]
fn a_pod_that_is_not_ready_holds_no_node_that_is_drained() {
    let cluster = settled();
    let budget = cluster.body(Kind::PodDisruptionBudget, "web").unwrap();
    assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
}
