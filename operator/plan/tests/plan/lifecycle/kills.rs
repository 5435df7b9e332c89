//! The operator is killed after any effect of anything that a person does to a tenant.

use super::*;

/// What a person does to a tenant, and what is so when everything has come to rest.
struct Deed {
    name: &'static str,
    before: fn() -> Cluster,
    deed: fn(&mut Cluster),
    holds: fn(&Cluster) -> bool,
}

const DEEDS: [Deed; 7] = [
    Deed {
        name: "create",
        before: || Cluster::new(given::new("acme")),
        deed: |_| (),
        holds: ready,
    },
    Deed {
        name: "change",
        before: settled,
        deed: |cluster| {
            let spec = &mut cluster.given.tenant.spec;
            spec.hostnames = vec!["board.acme.example".into()];
            spec.administrators.groups = vec!["acme-admins".into()];
            spec.database = Some(given::typed(json!({"instances": 2, "storageSize": "2Gi"})));
        },
        holds: ready,
    },
    Deed {
        name: "suspend",
        before: settled,
        deed: suspend,
        holds: |cluster| {
            assert_asleep(cluster);
            ready(cluster)
        },
    },
    Deed {
        name: "resume",
        before: || {
            let mut cluster = settled();
            suspend(&mut cluster);
            cluster.settle();
            cluster
        },
        deed: resume,
        holds: ready,
    },
    Deed {
        name: "delete all",
        before: || {
            let mut cluster = settled();
            cluster.release(DeletionPolicy::Delete);
            cluster
        },
        deed: Cluster::delete,
        holds: |cluster| cluster.gone && cluster.ids().all(|id| id.kind == Kind::HostnameClaim),
    },
    Deed {
        name: "delete and keep",
        before: || {
            let mut cluster = settled();
            cluster.release(DeletionPolicy::Retain);
            cluster
        },
        deed: Cluster::delete,
        holds: |cluster| cluster.gone && cluster.body(Kind::Cluster, "db").is_some(),
    },
    Deed {
        name: "adopt",
        before: || {
            let mut cluster = settled();
            cluster.release(DeletionPolicy::Retain);
            cluster.delete();
            cluster.settle();
            cluster
        },
        deed: adopt,
        holds: ready,
    },
];

#[test]
fn killed_after_any_effect_of_anything_it_comes_to_the_same_end_and_then_to_rest() {
    let begin = std::time::Instant::now();
    let mut plans = 0;
    for Deed {
        name,
        before,
        deed,
        holds,
    } in DEEDS
    {
        let start = before();
        let mut whole = start.clone();
        deed(&mut whole);
        whole.settle();
        assert!(holds(&whole), "{name}: {:#?}", whole.given.tenant.status);
        for k in 0.. {
            let mut cluster = start.clone();
            deed(&mut cluster);
            let mut left = k;
            let mut killed = false;
            for _ in 0..60 {
                if cluster.gone {
                    break;
                }
                let spent = cluster.pass(left);
                plans += 1;
                assert_isolated(&cluster);
                if spent == left && !killed {
                    killed = true;
                    // With the process everything that it remembered is gone, and somebody lost the status.
                    cluster.given.tenant.status = None;
                    left = usize::MAX;
                } else if !killed {
                    left -= spent;
                }
                cluster.tick();
            }
            if !cluster.gone {
                cluster.settle();
            }
            assert!(
                holds(&cluster),
                "{name}, killed after {k}: {:#?}",
                cluster.given.tenant.status
            );
            let same: Vec<&Id> = cluster.ids().filter(|id| id.kind != Kind::Pod).collect();
            let whole: Vec<&Id> = whole.ids().filter(|id| id.kind != Kind::Pod).collect();
            assert_eq!(same, whole, "{name}, killed after {k}");
            if !cluster.gone {
                silent(&mut cluster);
                plans += 10;
            }
            if !killed {
                break;
            }
        }
    }
    println!("{plans} plans in {:?}", begin.elapsed());
}
