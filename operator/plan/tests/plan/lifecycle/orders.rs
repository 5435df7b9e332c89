//! Everything in any order.

use freehold_crds::OperationType;

use super::*;

/// What can happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(usize),
    Tick,
    Sleep(i64),
    Suspend,
    Resume,
    Hostname(u8),
    Groups(bool),
    Instances(i32),
    Release(bool),
    Class(i32),
    Protection(bool),
    Policy(bool),
    Delete,
    LoseStatus,
    LoseObject(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..40_usize).prop_map(Happening::Pass),
        8 => Just(Happening::Tick),
        2 => (1..100_000_i64).prop_map(Happening::Sleep),
        1 => Just(Happening::Suspend),
        1 => Just(Happening::Resume),
        1 => any::<u8>().prop_map(Happening::Hostname),
        1 => any::<bool>().prop_map(Happening::Groups),
        1 => (1..4_i32).prop_map(Happening::Instances),
        1 => any::<bool>().prop_map(Happening::Release),
        1 => (1..4_i32).prop_map(Happening::Class),
        1 => any::<bool>().prop_map(Happening::Protection),
        1 => any::<bool>().prop_map(Happening::Policy),
        1 => Just(Happening::Delete),
        1 => Just(Happening::LoseStatus),
        2 => (0..100_usize).prop_map(Happening::LoseObject),
    ]
}

fn happen(cluster: &mut Cluster, happening: Happening) {
    let spec = &mut cluster.given.tenant.spec;
    match happening {
        Happening::Pass(k) => {
            cluster.pass(k);
        }
        Happening::Tick => {
            cluster.tick();
        }
        Happening::Sleep(seconds) => cluster.given.now += SignedDuration::from_secs(seconds),
        Happening::Suspend => suspend(cluster),
        Happening::Resume => resume(cluster),
        Happening::Hostname(n) => spec.hostnames = vec!["acme.example".into(), format!("n{}.example", n % 3)],
        Happening::Groups(some) => {
            spec.viewers.groups = if some { vec!["auditors".into()] } else { Vec::new() }
        }
        Happening::Instances(n) => spec.database = Some(given::typed(json!({"instances": n}))),
        Happening::Release(new) => {
            cluster
                .given
                .upgrade_to(given::release(if new { "1.1.0" } else { "1.0.0" }));
        }
        Happening::Class(n) => {
            let class = cluster.given.class.as_mut().unwrap();
            class.spec.quota.as_mut().unwrap().pods = Some(20 + n);
        }
        Happening::Protection(on) => spec.deletion_protection = on,
        Happening::Policy(delete) => {
            spec.deletion_policy = if delete {
                DeletionPolicy::Delete
            } else {
                DeletionPolicy::Retain
            };
        }
        Happening::Delete => cluster.delete(),
        Happening::LoseStatus => cluster.given.tenant.status = None,
        Happening::LoseObject(n) => {
            let lost = cluster.ids().nth(n).cloned();
            // A namespace or a database that somebody deletes takes its data with it, and without policies nothing is
            // isolated until they are back: those are other stories.
            let others = [Kind::Namespace, Kind::Cluster, Kind::NetworkPolicy];
            if let Some(id) = lost.filter(|id| !others.contains(&id.kind)) {
                cluster.lose(&id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happens_in_whatever_order_it_stays_isolated_and_comes_to_rest(
        happenings in proptest::collection::vec(happening(), 5..60),
    ) {
        let mut cluster = Cluster::new(given::new("acme"));
        for next in happenings {
            if cluster.gone {
                break;
            }
            happen(&mut cluster, next);
            assert_isolated(&cluster);
            let of = |deletes: bool| {
                let mut operations: Vec<Phase> = Vec::new();
                let found = cluster.operations().filter(|found| (found.spec.r#type == OperationType::Deletion) == deletes);
                operations.extend(found.map(|operation| operation.status.phase).filter(|phase| !phase.is_over()));
                operations
            };
            // One that is only announced holds nobody up.
            prop_assert!(of(true).len() <= 1 && of(false).len() <= 1, "two operations at once");
            let protected = cluster.given.tenant.spec.deletion_protection;
            let running = of(true).contains(&Phase::Running);
            prop_assert!(!running || cluster.given.tenant.metadata.deletion_timestamp.is_some() || protected);
        }
        // The world holds still: then so does the operator, whatever windows and delays there are.
        for _ in 0..6 {
            if cluster.gone {
                break;
            }
            cluster.settle();
            if let Some(wake) = cluster.plan().wake {
                cluster.sleep_until(wake);
            }
        }
        if !cluster.gone {
            cluster.settle();
            silent(&mut cluster);
            let deletable = !cluster.given.tenant.spec.deletion_protection;
            let deleted = cluster.given.tenant.metadata.deletion_timestamp.is_some();
            let stuck = deleted && deletable && cluster.operations().any(|o| o.status.phase == Phase::Running);
            prop_assert!(!stuck, "a deletion that does not end:\n{}", cluster.log.join("\n"));
        }
    }
}
