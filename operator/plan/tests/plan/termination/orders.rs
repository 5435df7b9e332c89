//! Everything in any order.

use super::*;

/// What can happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(usize),
    Tick,
    Sleep(i64),
    Terminate,
    DestroyKeys(bool),
    Protection(bool),
    Wake,
    Rotate(u8),
    LoseDataKey,
    Silence(bool),
    CutOff,
    Late,
    Land,
    LoseStatus,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..12_usize).prop_map(Happening::Pass),
        6 => Just(Happening::Tick),
        3 => (1..1_500_000_i64).prop_map(Happening::Sleep),
        2 => Just(Happening::Terminate),
        3 => prop::bool::weighted(0.8).prop_map(Happening::DestroyKeys),
        2 => prop::bool::weighted(0.2).prop_map(Happening::Protection),
        1 => Just(Happening::Wake),
        2 => any::<u8>().prop_map(Happening::Rotate),
        1 => Just(Happening::LoseDataKey),
        1 => prop::bool::weighted(0.2).prop_map(Happening::Silence),
        1 => Just(Happening::CutOff),
        2 => Just(Happening::Late),
        2 => Just(Happening::Land),
        1 => Just(Happening::LoseStatus),
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
        Happening::Terminate => spec.desired_state = DesiredState::Terminated,
        Happening::DestroyKeys(yes) => spec.termination = Some(Termination { destroy_keys: yes }),
        Happening::Protection(on) => spec.deletion_protection = on,
        Happening::Wake => spec.desired_state = DesiredState::Active,
        Happening::Rotate(n) => {
            spec.keys = Some(TenantKeys {
                rotate_tenant_key: Some(format!("word-{n}")),
                ..TenantKeys::default()
            });
        }
        Happening::LoseDataKey => lose_data_key(cluster),
        Happening::Silence(silent) => {
            let service = cluster.given.config.key_service.as_mut().unwrap();
            service.failure = silent.then(|| "no answer".into());
        }
        Happening::CutOff => cluster.cut_off = true,
        Happening::Late => cluster.late = true,
        Happening::Land => cluster.lands(),
        Happening::LoseStatus => cluster.given.tenant.status = None,
    }
}

static SETTLED: LazyLock<Cluster> = LazyLock::new(settled);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The simulated shell asserts that each destruction is on record, and that nothing runs.
    #[test]
    fn whatever_happens_in_whatever_order_what_was_destroyed_stays_so_and_it_comes_to_rest(
        happenings in proptest::collection::vec(happening(), 5..80),
    ) {
        let mut cluster = SETTLED.clone();
        let mut was_destroyed = false;
        for next in happenings {
            happen(&mut cluster, next);
            let gone = cluster.keys().tenant.present().is_some_and(|key| key.versions.is_empty());
            prop_assert!(gone || !was_destroyed, "a key in the place of one that was destroyed");
            was_destroyed = gone;
            let running = cluster.operations().filter(|o| o.status.phase == Phase::Running).count();
            prop_assert!(running <= 1, "two operations at once");
            let plan = cluster.plan();
            let mut later = cluster.given.clone();
            let wake = plan.wake.unwrap_or(later.now + SignedDuration::from_hours(24));
            prop_assert!(wake > later.now);
            later.now = wake - SignedDuration::from_nanos(1);
            prop_assert_eq!(deeds(&plan), deeds(&freehold_plan::plan(&later.input())));
        }
        cluster.given.config.key_service.as_mut().unwrap().failure = None;
        for _ in 0..6 {
            cluster.settle();
            if let Some(wake) = cluster.plan().wake {
                cluster.sleep_until(wake);
            }
        }
        cluster.settle();
        silent(&mut cluster);
        prop_assert!(phase(&cluster) != Some(Phase::Running), "a destruction that does not end");
        let gone = cluster.keys().tenant.present().is_some_and(|key| key.versions.is_empty());
        let says_so = |id: &Id| cluster.body(id.kind, &id.name).unwrap()["status"]["phase"] == "Destroyed";
        let told = cluster.ids().any(|id| id.kind == Kind::DestructionRecord && says_so(id));
        prop_assert_eq!(gone, told, "a record that is not true");
        prop_assert!(phase(&cluster) != Some(Phase::Succeeded) || is_destroyed(&mut cluster));
        let writes = cluster.plan().records.iter().any(|record| matches!(record, Record::Destruction { .. }));
        prop_assert!(!writes);
    }
}
