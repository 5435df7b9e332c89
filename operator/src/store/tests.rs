use freehold_plan::Facts;
use serde_json::json;

use super::*;

fn id() -> Id {
    Id {
        kind: Kind::ConfigMap,
        namespace: "tenant-acme".into(),
        name: "settings".into(),
    }
}

fn seen(version: &str) -> Seen {
    Seen {
        uid: "u".into(),
        resource_version: version.into(),
        ending: false,
        created: false,
        live: json!({"data": version}),
        facts: Facts::None,
    }
}

#[test]
fn an_object_belongs_to_the_tenant_in_whose_namespace_it_is() {
    let longest = "x".repeat(40);
    for tenant in ["acme", "a-b", &longest] {
        let namespace = NamespaceName::of(tenant);
        assert_eq!(
            owner(Kind::Service, namespace.as_str(), "web", None),
            Some(tenant)
        );
        assert_eq!(owner(Kind::Namespace, "", namespace.as_str(), None), Some(tenant));
    }
    assert_eq!(owner(Kind::Service, "default", "tenant-acme", Some("acme")), None);
}

#[test]
fn what_the_watch_brings_late_does_not_undo_our_own_write() {
    let store = Store::default();
    assert!(store.put("acme", id(), seen("10")));
    assert!(!store.put("acme", id(), seen("9")));
    assert!(
        store.remove("acme", &id(), "9").is_empty(),
        "the end of an older object of that name"
    );
    assert_eq!(store.remove("acme", &id(), "11"), ["acme".to_owned()].into());
}

#[test]
fn the_answer_to_our_delete_does_not_bring_back_what_the_watch_has_seen_go() {
    let store = Store::default();
    store.put("acme", id(), seen("10"));
    assert!(!store.remove("acme", &id(), "12").is_empty());
    assert!(
        !store.put("acme", id(), seen("11")),
        "the answer to the delete, late"
    );
    assert!(store.put("acme", id(), seen("13")), "a new object of that name");
}

#[test]
fn a_fresh_listing_takes_away_what_is_gone_and_leaves_what_was_written_since() {
    let store = Store::default();
    store.put("acme", id(), seen("10"));
    let before = store.versions(Kind::ConfigMap);
    let mut written = id();
    written.name = "written-since".into();
    store.put("acme", written.clone(), seen("12"));
    assert_eq!(store.retain(&before, &[id()].into()), Vec::<String>::new());
    assert_eq!(store.retain(&before, &BTreeSet::new()), ["acme"]);
    let left = store.observed("acme", Timestamp::UNIX_EPOCH).objects;
    assert_eq!(left.keys().collect::<Vec<_>>(), [&written]);
}

#[test]
fn a_stranger_is_forgotten_when_it_is_time_to_look_again() {
    let store = Store::default();
    let later = Timestamp::from_second(100).unwrap();
    store.stranger("acme", id(), later);
    assert_eq!(
        store
            .observed("acme", Timestamp::from_second(99).unwrap())
            .strangers
            .len(),
        1
    );
    assert_eq!(store.observed("acme", later).strangers.len(), 0);
}

fn claim(version: &str, given_up_at: Option<Timestamp>) -> Seen {
    Seen {
        live: json!({"metadata": {"annotations": {DECLARED: "x"}}, "version": version}),
        facts: Facts::Claim {
            hostname: "acme.example".into(),
            tenant: "acme".into(),
            incarnation: "1".into(),
            given_up_at,
        },
        ..seen(version)
    }
}

fn claim_id() -> Id {
    Id {
        kind: Kind::HostnameClaim,
        namespace: "freehold-system".into(),
        name: "hostname-1".into(),
    }
}

fn knows(store: &Store, tenant: &str) -> bool {
    let observed = store.observed(tenant, Timestamp::UNIX_EPOCH);
    observed.objects.contains_key(&claim_id())
}

#[test]
fn what_is_found_by_its_label_is_taken_from_one_tenant_when_another_gets_it() {
    let names =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let store = Store::default();
    assert_eq!(
        owner(Kind::HostnameClaim, "freehold-system", "x", Some("acme")),
        Some("acme")
    );
    assert_eq!(
        owner(Kind::Pod, "freehold-probes", "x", Some("acme")),
        Some("acme")
    );
    assert_eq!(
        owner(Kind::Pod, "tenant-globex", "x", Some("acme")),
        Some("globex"),
        "in a tenant's namespace a label says nothing"
    );
    store.put_watched("globex", claim_id(), claim("10", None));
    // acme and initech have seen that it may be taken.
    store.put_read("acme", claim_id(), claim("10", None));
    store.put_read("initech", claim_id(), claim("10", None));
    assert!(knows(&store, "globex"), "its holder still knows of it");
    // acme was quicker.
    store.put("acme", claim_id(), claim("11", None));
    assert_eq!(
        ["acme", "globex", "initech"].map(|tenant| knows(&store, tenant)),
        [true, false, false]
    );
    // An older word does not bring it back.
    assert_eq!(
        store.put_watched("globex", claim_id(), claim("10", None)),
        names(&[])
    );
    assert!(!knows(&store, "globex"));
    // The watch alone is enough, too.
    assert_eq!(
        store.put_watched("globex", claim_id(), claim("12", None)),
        names(&["acme", "globex"])
    );
    assert!(!knows(&store, "acme"));
}

#[test]
fn who_waits_for_a_name_is_woken_when_it_is_given_up_and_when_its_claim_is_deleted() {
    let names =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let store = Store::default();
    let later = Timestamp::from_second(100).unwrap();
    store.put_watched("acme", claim_id(), claim("10", None));
    store.stranger("globex", claim_id(), later);
    assert_eq!(
        store.put_watched("acme", claim_id(), claim("11", None)),
        names(&["acme"])
    );
    let given_up = claim("12", Some(Timestamp::UNIX_EPOCH));
    // The answer to our own write comes first, and wakes nobody: the watch does.
    store.put("acme", claim_id(), given_up.clone());
    assert_eq!(
        store.put_watched("acme", claim_id(), given_up),
        names(&["globex"])
    );
    store.stranger("globex", claim_id(), later);
    assert_eq!(
        store.remove("acme", &claim_id(), "13"),
        names(&["acme", "globex"])
    );
    assert_eq!(store.observed("globex", Timestamp::UNIX_EPOCH).strangers.len(), 0);
}

fn database(version: &str, ready: bool, ending: bool) -> Seen {
    Seen {
        ending,
        facts: Facts::Database {
            ready,
            current: true,
            hibernated: false,
            address: Some("10.0.0.7".to_owned()),
            primary: None,
            target: None,
            healthy: [].into(),
            instances: 1,
            ready_instances: 1,
            phase: String::new(),
        },
        ..seen(version)
    }
}

#[test]
fn the_neighbour_is_the_next_tenant_whose_database_answers() {
    let store = Store::default();
    let id = |tenant: &str| Id {
        kind: Kind::Cluster,
        namespace: NamespaceName::of(tenant).as_str().to_owned(),
        name: "db".into(),
    };
    let neighbour = |tenant: &str| {
        let found = store.observed(tenant, Timestamp::UNIX_EPOCH).neighbour;
        found.map(|other| other.namespace)
    };
    assert_eq!(neighbour("acme"), None);
    store.put("acme", id("acme"), database("1", true, false));
    assert_eq!(neighbour("acme"), None, "not itself");
    for tenant in ["globex", "initech"] {
        store.put(tenant, id(tenant), database("1", true, false));
    }
    assert_eq!(neighbour("acme").as_deref(), Some("tenant-globex"));
    assert_eq!(neighbour("hooli").as_deref(), Some("tenant-initech"));
    assert_eq!(
        neighbour("initech").as_deref(),
        Some("tenant-acme"),
        "the first comes after the last"
    );
    store.put("globex", id("globex"), database("2", true, true));
    assert_eq!(
        neighbour("acme").as_deref(),
        Some("tenant-initech"),
        "one that ends is none"
    );
    store.put("initech", id("initech"), database("2", false, false));
    assert_eq!(neighbour("acme"), None);
    store.put("initech", id("initech"), database("3", true, false));
    store.remove("initech", &id("initech"), "4");
    assert_eq!(neighbour("acme"), None);
}

#[test]
fn ends_are_not_remembered_for_ever() {
    let store = Store::default();
    let id = |at: usize| Id {
        kind: Kind::Pod,
        namespace: "tenant-acme".into(),
        name: format!("verify-{at}"),
    };
    for at in 1..1000 {
        store.put("acme", id(at), seen(&(2 * at).to_string()));
        store.remove("acme", &id(at), &(2 * at + 1).to_string());
    }
    assert!(store.lock().record("acme").gone.len() <= 64);
    assert!(!store.put("acme", id(999), seen("1998")), "the last ones are");
}

#[test]
fn the_newer_word_of_a_record_wins_and_what_is_deleted_does_not_come_back() {
    use freehold_crds::{OperationType, Phase, TenantOperationSpec, TenantOperationStatus};
    let operation = |version: &str, phase| freehold_plan::Operation {
        resource_version: version.into(),
        created: Timestamp::UNIX_EPOCH,
        spec: TenantOperationSpec {
            tenant: "acme".into(),
            incarnation: "1".into(),
            tenant_uid: "1".into(),
            r#type: OperationType::Deletion,
            deletion: None,
            rotation: None,
            authority: None,
            upgrade: None,
            reencryption: None,
        },
        status: TenantOperationStatus {
            phase,
            ..TenantOperationStatus::default()
        },
    };
    let store = Store::default();
    assert!(store.put_operation("one", operation("10", Phase::Running)));
    assert!(!store.put_operation("one", operation("9", Phase::Pending)));
    assert_eq!(store.running_deletions().len(), 1);
    store.forget("acme");
    assert_eq!(
        store.running_deletions().len(),
        1,
        "the watch keeps it up to date"
    );
    let before = store.operation_versions();
    store.put_operation("two", operation("12", Phase::Pending));
    assert_eq!(store.retain_operations(&before, &BTreeSet::new()), ["acme"]);
    assert_eq!(store.observed("acme", Timestamp::UNIX_EPOCH).operations.len(), 1);
    assert!(store.remove_operation("acme", "two", "13"));
    assert!(!store.put_operation("two", operation("12", Phase::Pending)));
}

#[test]
fn who_doubts_looks_again_then_and_never_later_than_before() {
    let store = Store::default();
    let now = Timestamp::UNIX_EPOCH;
    let at = |seconds| now + jiff::SignedDuration::from_secs(seconds);
    assert_eq!(store.doubt("acme", at(30)), at(30), "nothing is trusted anyway");
    let trust = Trust {
        until: at(3600),
        namespace_uid: "u".into(),
    };
    store.set_minted("acme", Minted::default(), Some(trust));
    assert_eq!(store.doubt("acme", at(30)), at(30));
    assert_eq!(
        store.doubt("acme", at(50)),
        at(30),
        "a pass in between puts nothing off"
    );
    assert_eq!(store.trust("acme").unwrap().until, at(30));
}
