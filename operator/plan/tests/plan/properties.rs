//! Properties: what holds for every tenant, at every moment.

use std::collections::BTreeSet;

use freehold_crds::{ReleaseChannel, ReleaseReference};
use freehold_plan::fleet::member::Member;
use freehold_plan::names::{AuthorityName, ClaimName, JobName, NamespaceName, WorkloadName};
use freehold_plan::{Ending, Kind, Plan, Record, plan};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use crate::cluster::Cluster;
use crate::given::{self, Given};

prop_compose! {
    /// A channel that is followed, how, and for how many passes.
    fn following()(
        there in prop::bool::weighted(0.9),
        stable in prop::option::of(1..3_i32),
        grant in prop::option::of((1..4_i32, prop::sample::select(vec!["Wave", "Emergency", "RollBack"]), prop::bool::weighted(0.2))),
        gate in prop::option::of(1..4_i32),
        pin in prop::option::of((1..4_i32, -24..72_i64)),
        rounds in 0..6_usize,
    ) -> (Option<ReleaseChannel>, ReleaseReference, usize) {
        let release = |number: i32| format!("board-{number}.0.0");
        let at = |hours: i64| (given::at(given::NOON) + SignedDuration::from_hours(hours)).to_string();
        let grants = grant.map(|(number, kind, withdrawn)| json!({
            "tenant": "any", "uid": given::UID, "ring": "all", "release": release(number), "kind": kind,
            "at": at(0), "withdrawn": withdrawn.then(|| at(0)),
        }));
        // Beside whichever tenant: its name is put in where it is known.
        let gates = gate.map(|_| json!({"name": "ui", "verdict": "Pending", "attempt": 1}));
        let channel = given::typed(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board"},
            "spec": {"product": "board", "rings": [
                {"name": "all", "gates": [{"name": "ui", "test": {"component": "api", "args": ["ui"]}}]},
            ]},
            "status": {"grants": Vec::from_iter(grants), "rings": [{
                "name": "all", "phase": "Rolling", "message": "", "stable": stable.map(release),
                "release": gate.map(release), "gates": Vec::from_iter(gates),
            }]},
        }));
        let pin = pin.map(|(number, hours)| json!({"name": release(number), "until": at(hours), "reason": "fair"}));
        let follows = given::typed(json!({"channel": "board", "pin": pin}));
        (there.then_some(channel), follows, rounds)
    }
}

prop_compose! {
    /// A tenant somewhere in its life.
    fn anything()(
        name in "[a-z][a-z0-9-]{0,38}[a-z0-9]",
        hosts in proptest::collection::btree_set("[a-z]{1,8}\\.example", 1..4),
        instances in 1..4_i32,
        web in 1..4_i32,
        with_class in prop::bool::weighted(0.9),
        with_release in prop::bool::weighted(0.9),
        worker in any::<bool>(),
        rounds in 0..8_usize,
        crash in 0..70_usize,
        age in 0..800_000_i64,
        ending in prop::bool::weighted(0.2),
        broken in prop::bool::weighted(0.2),
        upgrade in prop::option::of((0..3_usize, 0..70_usize)),
        follows in prop::option::of(following()),
        freeze in prop::option::of((-48..48_i64, 1..96_i64)),
    ) -> Given {
        let mut given = given::new(&name);
        given.tenant.spec.hostnames = hosts.into_iter().collect();
        given.tenant.spec.database = Some(given::typed(json!({"instances": instances})));
        let mut release = given::release("1.0.0");
        release.spec.components[0].replicas = web;
        if worker {
            let mut more = release.spec.components[1].clone();
            more.name = "jobs".into();
            more.tier = freehold_crds::Tier::Worker;
            more.port = None;
            release.spec.components.push(more);
        }
        given.ask_for(release);
        let mut cluster = Cluster::new(given);
        cluster.broken_migration = broken;
        cluster.pass(crash);
        for _ in 0..rounds {
            cluster.tick();
            cluster.pass(usize::MAX);
        }
        if let Some((rounds, crash)) = upgrade {
            let mut release = given::release("2.0.0");
            release.spec.components[0].port = Some(9090);
            release.spec.components[1].tier = freehold_crds::Tier::Worker;
            release.spec.components[1].port = None;
            cluster.given.upgrade_to(release);
            for _ in 0..rounds {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
            cluster.pass(crash);
        }
        if let Some((channel, release, rounds)) = follows {
            cluster.given.tenant.spec.release = release;
            cluster.given.channel = channel;
            let status = cluster.given.channel.as_mut().and_then(|channel| channel.status.as_mut());
            for gate in status.into_iter().flat_map(|status| &mut status.rings).flat_map(|ring| &mut ring.gates) {
                gate.tenant = Some(name.clone());
            }
            let release = given::release("3.0.0");
            cluster.given.releases.insert("board-3.0.0".into(), release.into());
            for _ in 0..rounds {
                cluster.pass(usize::MAX);
                cluster.tick();
            }
        }
        cluster.observe();
        let mut given = cluster.given;
        given.now += SignedDuration::from_secs(age);
        if let Some((begins, long)) = freeze {
            let from = given.now + SignedDuration::from_hours(begins);
            let maintenance = given.tenant.spec.maintenance.get_or_insert_with(given::always_open);
            maintenance.freezes = vec![given::typed(json!({
                "from": from.to_string(), "until": (from + SignedDuration::from_hours(long)).to_string(), "reason": "audit",
            }))];
        }
        if ending {
            given.tenant.metadata.deletion_timestamp = Some(given::typed(json!("2027-01-15T08:00:00Z")));
        }
        if !with_class {
            given.class = None;
        }
        if !with_release {
            given.releases.clear();
        }
        given
    }
}

/// What a plan does, without what it tells and when.
pub fn deeds(plan: &Plan) -> String {
    let Plan {
        objects,
        prune,
        forget,
        actions,
        records,
        conditions: _,
        events: _,
        finalizer,
        wake: _,
        doubts: _,
        member: _,
        status: _,
    } = plan;
    format!("{objects:?} {prune:?} {forget:?} {actions:?} {records:?} {finalizer:?}")
}

/// The operations and accounts that a plan writes more than once: one concern writes each, or the second write would be onto
/// a version that is gone by then. Every simulated pass is held to this, too.
pub fn written_twice(plan: &Plan) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = plan.records.iter().map(|record| match record {
        Record::Create { name, .. } | Record::Advance { name, .. } => format!("TenantOperation {name}"),
        Record::Destruction { name, .. } => format!("DestructionRecord {name}"),
    });
    names.filter(|name| !seen.insert(name.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_operation_is_written_twice_by_one_plan(given in anything()) {
        prop_assert_eq!(written_twice(&plan(&given.input())), Vec::<String>::new());
    }

    #[test]
    fn the_same_facts_give_the_same_plan(given in anything()) {
        prop_assert_eq!(plan(&given.input()), plan(&given.input()));
    }

    #[test]
    fn the_wake_up_is_in_the_future_and_nothing_changes_before_it(given in anything(), part in 0.0..1.0_f64) {
        let first = plan(&given.input());
        let wake = first.wake.unwrap_or(given.now + SignedDuration::from_hours(24 * 365));
        prop_assert!(wake > given.now);
        let mut later = given.clone();
        let span = wake.duration_since(given.now).as_secs_f64() * part;
        later.now = (given.now + SignedDuration::from_secs_f64(span)).min(wake - SignedDuration::from_nanos(1));
        let second = plan(&later.input());
        prop_assert_eq!(deeds(&first), deeds(&second));
        prop_assert_eq!(first.wake, second.wake);
        let told = |plan: &Plan| -> Vec<(String, String, String)> {
            plan.conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.message.clone())).collect()
        };
        prop_assert_eq!(told(&first), told(&second));
        // Since when nobody is served, the status says, which isn't written here.
        let member = |plan: &Plan| plan.member.clone().map(|member| Member { down_since: None, ..member });
        prop_assert_eq!(member(&first), member(&second));
    }

    #[test]
    fn what_was_applied_is_not_written_again(given in anything()) {
        let mut cluster = Cluster::new(given.clone());
        cluster.pass(usize::MAX);
        cluster.pass(usize::MAX);
        let plan = cluster.plan();
        prop_assert!(plan.writes(&cluster.given.observed).is_empty());
    }

    #[test]
    fn nothing_outside_the_tenants_own_place_is_touched(given in anything()) {
        let name = given.tenant.metadata.name.clone().unwrap();
        let namespace = NamespaceName::of(&name);
        let plan = plan(&given.input());
        for id in plan.objects.iter().map(|object| &object.id).chain(&plan.prune) {
            let own = if id.kind.row().namespaced { &id.namespace } else { &id.name };
            // Its claims on hostnames, and the unrestricted pod beside which its isolation is verified.
            let elsewhere = match id.kind {
                Kind::HostnameClaim => "freehold-system",
                Kind::Pod => "freehold-probes",
                _ => namespace.as_str(),
            };
            prop_assert!(own == namespace.as_str() || own == elsewhere, "{}", id);
        }
    }

    #[test]
    fn names_are_valid_and_each_is_given_once(given in anything()) {
        let plan = plan(&given.input());
        let ids: BTreeSet<_> = plan.objects.iter().map(|object| &object.id).collect();
        prop_assert_eq!(ids.len(), plan.objects.len());
        for object in &plan.objects {
            let name = &object.id.name;
            prop_assert!(!name.is_empty() && name.len() <= 63, "{}", name);
            prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            for (_, value) in object.body["metadata"]["labels"].as_object().into_iter().flatten() {
                prop_assert!(value.as_str().is_some_and(|value| value.len() <= 63));
            }
        }
    }

    #[test]
    fn what_holds_data_is_never_pruned(given in anything()) {
        prop_assume!(given.tenant.metadata.deletion_timestamp.is_none());
        let plan = plan(&given.input());
        prop_assert!(plan.prune.iter().all(|id| id.kind.row().ending == Ending::Pruned));
    }

    #[test]
    fn losing_the_status_changes_no_deed(given in anything()) {
        let mut lost = given.clone();
        lost.tenant.status = None;
        let (before, after) = (plan(&given.input()), plan(&lost.input()));
        prop_assert_eq!(deeds(&before), deeds(&after));
        prop_assert_eq!(before.wake, after.wake);
    }

    #[test]
    fn different_tenants_never_share_a_name(a in "[a-z][a-z0-9-]{0,80}", b in "[a-z][a-z0-9-]{0,80}") {
        prop_assume!(a != b);
        prop_assert_ne!(NamespaceName::of(&a), NamespaceName::of(&b));
        prop_assert_ne!(AuthorityName::of(&a), AuthorityName::of(&b));
        prop_assert_ne!(WorkloadName::of(&a), WorkloadName::of(&b));
        prop_assert_ne!(
            JobName::of("migrate", "1.0.0", &a, &[]),
            JobName::of("migrate", "1.0.0", &b, &[])
        );
    }
}

/// No end is cut off: what would be too long gets a hash instead.
#[test]
fn a_million_names_and_none_is_given_twice() {
    let mut seen = std::collections::HashSet::with_capacity(3_000_000);
    for number in 0..1_000_000_u32 {
        // Long names that differ at their end only, and short ones that differ by a separator.
        let long = format!("{}-{number}", "x".repeat(60));
        assert!(seen.insert(NamespaceName::of(&long).to_string()), "{long}");
        assert!(seen.insert(AuthorityName::of(&long).to_string()), "{long}");
        assert!(
            seen.insert(ClaimName::of(&format!("{number}.example")).to_string()),
            "{number}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn annotations_of_a_tenant_change_nothing(
        given in anything(),
        notes in proptest::collection::btree_map("(freehold\\.dev/)?[a-z]{1,12}", ".{0,40}", 1..6),
    ) {
        let mut noted = given.clone();
        noted.tenant.metadata.annotations = Some(notes.clone());
        noted.tenant.metadata.labels = Some(notes);
        // Its channel is told of its labels.
        let alone = |given: &Given| Plan { member: None, ..plan(&given.input()) };
        prop_assert_eq!(alone(&given), alone(&noted));
    }
}
