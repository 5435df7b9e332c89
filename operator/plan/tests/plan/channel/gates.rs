//! The tests of the gates of a tenant's ring.

use freehold_plan::fleet::member::{Test, Tested};

use super::*;

const GATE: &str = "ui";

/// The ring's gate is to be passed beside the tenant, which runs the ring's release.
fn gated() -> Cluster {
    let mut cluster = settled();
    let channel = cluster.given.channel.as_mut().unwrap();
    channel.spec.rings[0].gates = given::typed(json!([
        {"name": GATE, "test": {"component": "api", "args": ["ui-test"], "timeoutSeconds": 90}},
        {"name": "word", "manual": {"groups": ["release"]}},
    ]));
    asks(&mut cluster, "Pending", 1);
    cluster
}

fn asks(cluster: &mut Cluster, verdict: &str, attempt: i32) {
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    let gates = json!([
        {"name": GATE, "verdict": verdict, "tenant": "acme", "attempt": attempt},
        {"name": "word", "verdict": "Pending"},
    ]);
    let with = json!({"stable": "board-1.0.0", "release": "board-1.0.0", "gates": gates});
    status.rings = vec![given::typed(ring(with))];
}

fn jobs(cluster: &Cluster) -> Vec<String> {
    let jobs = cluster.ids().filter(|id| id.kind == Kind::Job);
    jobs.filter(|id| id.name.starts_with("gate-"))
        .map(|id| id.name.clone())
        .collect()
}

fn tested(cluster: &mut Cluster, attempt: i32) -> Option<Tested> {
    let run = Test {
        gate: GATE.into(),
        release: "board-1.0.0".into(),
        attempt,
    };
    member(cluster).tests.remove(&run)
}

#[test]
fn a_gate_s_test_is_a_job_that_stays_until_there_is_a_verdict() {
    let mut cluster = gated();
    cluster.settle();
    let names = jobs(&cluster);
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with("gate-ui-board-1-0-0-"), "{names:?}");
    let job = cluster.body(Kind::Job, &names[0]).unwrap().clone();
    let pod = &job["spec"]["template"];
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 90);
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["ui-test"]));
    assert_eq!(pod["metadata"]["labels"]["freehold.dev/tier"], "hook");
    assert!(
        !job.to_string().contains("database-app"),
        "no account of the database"
    );
    insta::assert_snapshot!(job["spec"]["podFailurePolicy"].to_string(), @r#"{"rules":[{"action":"Count","onPodConditions":[{"status":"True","type":"DisruptionTarget"}]},{"action":"FailJob","onExitCodes":{"operator":"NotIn","values":[126,127,128]}}]}"#);
    assert_eq!(tested(&mut cluster, 1), None, "it runs");

    cluster.gate = Some("Complete");
    cluster.settle();
    assert_eq!(tested(&mut cluster, 1), Some(Tested::Passed));
    assert_eq!(jobs(&cluster), names);
    asks(&mut cluster, "Passed", 1);
    cluster.settle();
    assert_eq!(jobs(&cluster), Vec::<String>::new());
    assert_eq!(tested(&mut cluster, 1), None);
}

#[test]
fn a_test_has_failed_only_when_it_ran_and_said_so() {
    let mut cluster = gated();
    cluster.gate = Some("PodFailurePolicy");
    cluster.settle();
    let Some(Tested::Failed(why)) = tested(&mut cluster, 1) else {
        panic!("{:?}", tested(&mut cluster, 1));
    };
    assert!(why.contains("exit code 1"), "{why}");
    asks(&mut cluster, "Failed", 1);
    cluster.settle();
    assert_eq!(jobs(&cluster).len(), 1, "its logs say why");

    // Another attempt is another job.
    asks(&mut cluster, "Pending", 2);
    cluster.gate = None;
    let before = jobs(&cluster);
    cluster.settle();
    assert_eq!(jobs(&cluster).len(), 1);
    assert_ne!(jobs(&cluster), before);
    assert_eq!((tested(&mut cluster, 1), tested(&mut cluster, 2)), (None, None));
}

#[test]
fn a_test_that_could_not_be_had_is_not_known() {
    for reason in ["DeadlineExceeded", "BackoffLimitExceeded"] {
        let mut cluster = gated();
        cluster.gate = Some(reason);
        cluster.settle();
        let told = tested(&mut cluster, 1);
        assert!(
            matches!(&told, Some(Tested::Unknown(why)) if why.contains("did not come to its end")),
            "{told:?}"
        );
    }
    let mut cluster = gated();
    cluster.given.channel.as_mut().unwrap().spec.rings[0].gates[0]
        .test
        .as_mut()
        .unwrap()
        .component = Some("browser".into());
    cluster.settle();
    let told = tested(&mut cluster, 1);
    assert!(
        matches!(&told, Some(Tested::Unknown(why)) if why.contains("has no component browser")),
        "{told:?}"
    );
}

#[test]
fn a_tenant_that_runs_another_release_proves_nothing() {
    let mut cluster = gated();
    always_open(&mut cluster);
    cluster.settle();
    assert_eq!(jobs(&cluster).len(), 1);
    // The wave of the next one comes while the test runs: who is upgraded is no place for it.
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    assert_eq!(runs(&mut cluster).as_deref(), Some("board-1.1.0"));
    assert_eq!(jobs(&cluster), Vec::<String>::new());
    assert_eq!(tested(&mut cluster, 1), None);

    // One that has passed before counts no more either.
    let mut cluster = gated();
    always_open(&mut cluster);
    cluster.gate = Some("Complete");
    cluster.settle();
    grant(&mut cluster, "1.1.0", GrantKind::Wave);
    cluster.settle_upgrade();
    assert!(matches!(tested(&mut cluster, 1), None | Some(Tested::Unknown(_))));
}

#[test]
fn only_the_tenant_that_is_named_runs_it_and_only_while_it_is_awake() {
    let mut cluster = gated();
    let status = cluster.given.channel.as_mut().unwrap().status.as_mut().unwrap();
    status.rings[0].gates[0].tenant = Some("globex".into());
    cluster.settle();
    assert_eq!(jobs(&cluster), Vec::<String>::new());
    asks(&mut cluster, "Pending", 1);
    cluster.settle();
    assert_eq!(jobs(&cluster).len(), 1);
    cluster.given.tenant.spec.desired_state = freehold_crds::DesiredState::Suspended;
    cluster.settle();
    assert_eq!(jobs(&cluster), Vec::<String>::new());
}
