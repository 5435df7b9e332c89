//! How long a tenant takes, beside what nobody can do faster: the bare database in it.

use std::time::{Duration, Instant};

use freehold_e2e::kube;
use serde_json::json;

use crate::stage::{Guest, MINUTE, calm, image, lab, wait_ready};

const NAMESPACE: &str = "bare-database";
/// The most that a whole tenant may take, as a multiple of the time of a bare database in the same run.
const MOST: f64 = 1.3;

#[test]
#[ignore = "a measurement: cargo xtask bench ready_in_at_most"]
fn a_tenant_is_ready_in_at_most_1_3_times_the_time_of_a_bare_database() {
    calm();
    kube::apply(
        lab(),
        &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})],
    )
    .unwrap();
    let (mut bare, mut tenant) = (Duration::ZERO, Duration::ZERO);
    // In turns, so that what else the machine does falls on both.
    for round in 0..2 {
        let (b, t) = (time_bare(), time_tenant());
        println!(
            "round {round}: bare database {:.1} s, tenant {:.1} s",
            b.as_secs_f64(),
            t.as_secs_f64()
        );
        bare += b;
        tenant += t;
    }
    kube::kubectl(lab(), &["delete", "namespace", NAMESPACE, "--wait=false"]).unwrap();
    let ratio = tenant.as_secs_f64() / bare.as_secs_f64();
    println!("apply to Ready: a tenant takes {ratio:.2} times as long as a bare database");
    assert!(ratio <= MOST, "{ratio:.2} > {MOST}");
}

fn time_bare() -> Duration {
    // The sample class's sizes.
    let cluster = json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": "bare", "namespace": NAMESPACE},
        "spec": {"instances": 1, "imageName": image(), "storage": {"size": "1Gi"},
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}}});
    let name = ["-n", NAMESPACE, "clusters.postgresql.cnpg.io", "bare"];
    let begin = Instant::now();
    kube::apply(lab(), &[cluster]).unwrap();
    kube::wait_condition(lab(), &name, "Ready", "True", 3 * MINUTE).unwrap();
    let took = begin.elapsed();
    kube::kubectl(
        lab(),
        &[
            "-n",
            NAMESPACE,
            "delete",
            "cluster.postgresql.cnpg.io",
            "bare",
            "--cascade=foreground",
        ],
    )
    .unwrap();
    took
}

fn time_tenant() -> Duration {
    let guest = Guest::absent("initech");
    let begin = Instant::now();
    guest.apply(1);
    wait_ready(guest.0, 3 * MINUTE);
    let took = begin.elapsed();
    guest.gone();
    took
}
