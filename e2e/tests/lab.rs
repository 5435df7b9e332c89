//! The lab's own promises: it ends without a trace, starts again, has a second node, and says clearly what is wrong.
//! These tests end the lab that runs; `cargo xtask test` runs them last, in the order of their names: those that want two nodes follow
//! each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/a_volume.rs"]
mod a_volume;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use freehold_e2e::lab::cel::cel_cost;
use freehold_e2e::lab::enforcement::Unenforced;
use freehold_e2e::lab::{Lab, cgroup, host, net, shell, up};
use freehold_e2e::{install, kube, probe, scale};
use serde_json::json;

/// The warm start that docs/lab.md promises on two cores.
const WARM: Duration = Duration::from_secs(120);
/// And the memory of the idle lab.
const MEMORY: u64 = 3 << 30;

fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .output()
        .unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = xtask(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = xtask(args);
    assert!(!output.status.success(), "{args:?} must fail");
    String::from_utf8(output.stderr).unwrap()
}

/// What of this machine the lab could leave behind.
fn traces() -> Vec<String> {
    let mut found: Vec<String> = cgroup::left().iter().map(|p| p.display().to_string()).collect();
    let lines =
        |program: &str, args: &[&str]| shell::capture(Command::new(program).args(args)).unwrap_or_default();
    let about_lab = |line: &&str| {
        // The last is a volume's disk, as seen from inside of the lab.
        [".lab/", net::HOST_LINK, "10.77.", "/volumes/volumes/"]
            .iter()
            .any(|of| line.contains(of))
    };
    found.extend(
        fs::read_to_string("/proc/mounts")
            .unwrap()
            .lines()
            .filter(about_lab)
            .map(String::from),
    );
    for args in [["-o", "link"], ["-o", "address"], ["-o", "route"], ["-o", "rule"]] {
        found.extend(lines("ip", &args).lines().filter(about_lab).map(String::from));
    }
    found.extend(
        lines("losetup", &["--list", "--noheadings"])
            .lines()
            .filter(about_lab)
            .map(String::from),
    );
    found.extend(
        lines("iptables-save", &[])
            .lines()
            .filter(|l| l.contains("KUBE-") || l.contains("CILIUM"))
            .map(String::from),
    );
    let lab = Lab::of_this_checkout();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if program.starts_with(lab.dir.join("bin")) {
            found.push(format!("process {}", program.display()));
        }
    }
    found
}

#[test]
fn down_leaves_nothing_and_up_starts_again() {
    let lab = Lab::of_this_checkout();
    let rules = shell::capture(&mut Command::new("iptables-save")).unwrap_or_default();
    // Two nodes with a tenant, when the tests of these ran before.
    ok(&["down"]);
    assert_eq!(traces(), Vec::<String>::new());
    let begin = Instant::now();
    ok(&["up"]);
    let took = begin.elapsed();
    println!("up after down took {:.1} s", took.as_secs_f64());
    assert!(took < WARM, "{took:?}");
    assert_eq!(
        rules,
        shell::capture(&mut Command::new("iptables-save")).unwrap_or_default(),
        "the host's rules"
    );
    let status: serde_json::Value = serde_json::from_str(&ok(&["status", "--output", "json"])).unwrap();
    let parts = status["parts"].as_array().unwrap();
    for part in parts {
        assert!(part["state"] == "Running" || part["state"] == "Ready", "{part}");
        assert!(
            part["version"].as_str().unwrap().len() > 1 && part["memoryBytes"].as_u64().unwrap() > 0,
            "{part}"
        );
    }
    assert!(parts.len() >= 15, "{parts:?}");
    println!(
        "the idle lab takes {} MiB",
        status["memoryBytes"].as_u64().unwrap() >> 20
    );
    assert!(status["memoryBytes"].as_u64().unwrap() < MEMORY);
    assert_eq!(
        cgroup::weight(net::NodeId(1)),
        Some(16),
        "pods go before the control plane"
    );
    assert!(Path::new(status["volumes"]["node1"].as_str().unwrap()).is_dir());
    assert_eq!(ok(&["kubeconfig"]).trim(), lab.kubeconfig().display().to_string());
    again_is_quick();
}

fn again_is_quick() {
    let begin = Instant::now();
    ok(&["up"]);
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "nothing is left to do: {:?}",
        begin.elapsed()
    );
}

#[test]
fn a_killed_supervisor_takes_everything_with_it_and_up_starts_again() {
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let supervisor = host::running(&lab).unwrap();
    kube::kill(&[supervisor]);
    kube::until("the lab's processes to be gone", Duration::from_secs(10), || {
        Ok((!traces().iter().any(|t| t.starts_with("process"))).then_some(()))
    })
    .unwrap();
    ok(&["up"]);
    let told = ok(&["kubectl", "get", "nodes"]);
    assert!(told.contains(" Ready"), "{told}");
}

#[test]
fn secrets_are_encrypted_in_etcd_and_the_audit_log_knows_who_read_them() {
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let (hidden, shown) = (
        format!("hidden-{}", std::process::id()),
        format!("shown-{}", std::process::id()),
    );
    kube::apply(&lab, &[
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary", "namespace": "default"}, "stringData": {"x": hidden}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "canary", "namespace": "default"}, "data": {"x": shown}}),
    ])
    .unwrap();
    let on_disk = |needle: &str| -> bool {
        let mut files = vec![lab.cluster().join("etcd")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(fs::read_dir(path).unwrap().flatten().map(|e| e.path()));
            } else if memchr::memmem::find(&fs::read(&path).unwrap(), needle.as_bytes()).is_some() {
                return true;
            }
        }
        false
    };
    assert!(on_disk(&shown), "the search must find what is clear");
    assert!(!on_disk(&hidden), "a Secret is clear on etcd's disk");
    kube::get(&lab, &["secret", "canary"]).unwrap();
    kube::until(
        "the audit log to name the reader",
        Duration::from_secs(10),
        || {
            let log = fs::read_to_string(lab.logs().join("audit.log"))?;
            let read = |l: &str| {
                l.contains("secrets/canary")
                    && l.contains("\"verb\":\"get\"")
                    && l.contains("freehold-lab-admin")
            };
            Ok(log.lines().any(read).then_some(()))
        },
    )
    .unwrap();
    kube::kubectl(&lab, &["delete", "secret/canary", "configmap/canary"]).unwrap();
}

#[test]
fn what_a_tenant_costs_to_validate_is_known() {
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let crd = lab.repo.join("crds/tenants.freehold.dev.yaml");
    let sample = lab.repo.join("manifests/samples/tenant-acme.yaml");
    // Not by the API server, which doesn't know the kind before Freehold is installed.
    let local = ["annotate", "--local", "-o", "json", "lab=test", "-f"];
    let text = kube::kubectl(&lab, &[&local, &[sample.to_str().unwrap()][..]].concat()).unwrap();
    let tenant: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (created, budget) = cel_cost(&lab, &crd, &tenant, None).unwrap();
    let (updated, _) = cel_cost(&lab, &crd, &tenant, Some(&tenant)).unwrap();
    println!("create {created}, update {updated} of {budget}");
    assert!(0 < created && created < updated && updated < budget / 100);
    let mut refused = tenant.clone();
    refused["metadata"]["name"] = "a.dot".into();
    let told = cel_cost(&lab, &crd, &refused, None).unwrap_err().to_string();
    assert!(told.contains("no dot"), "{told}");
}

#[test]
fn every_request_of_the_operator_is_in_the_audit_log() {
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let _ = kube::kubectl(&lab, &["create", "namespace", install::NAMESPACE]);
    let account = ["serviceaccount", "freehold", "-n", install::NAMESPACE];
    let created = kube::kubectl(&lab, &[&["create"], &account[..]].concat()).is_ok();
    let token = kube::kubectl(&lab, &["create", "token", "freehold", "-n", install::NAMESPACE]).unwrap();
    let since = scale::mark(&lab).unwrap();
    // Without a right to most of it: what is refused was asked for, too.
    let header = format!("Authorization: Bearer {}", token.trim());
    for (method, path) in [
        ("GET", "apis/coordination.k8s.io/v1/namespaces/x/leases/x"),
        ("GET", "apis/coordination.k8s.io/v1/leases"),
        ("GET", "api/v1/pods?watch=1&timeoutSeconds=1"),
        ("POST", "api/v1/namespaces/x/configmaps"),
        ("PATCH", "apis/freehold.dev/v1alpha1/tenants/x/status"),
        ("DELETE", "apis/apps/v1/namespaces/x/deployments/x"),
    ] {
        let url = format!("https://{}:{}/{path}", net::NodeId(1).address(), net::API_PORT);
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--insecure",
            "--request",
            method,
            "--header",
            &header,
            &url,
        ]);
        shell::capture(&mut curl).unwrap();
    }
    let wanted = [
        "create configmaps",
        "delete deployments.apps",
        "get leases.coordination.k8s.io",
        "list leases.coordination.k8s.io",
        "patch tenants.freehold.dev/status",
        "watch pods",
    ];
    let found = kube::until("the audit log", Duration::from_secs(10), || {
        let asked = scale::requests_of(&lab, scale::OPERATOR, since)?;
        // Whether it may is not the question here.
        let plain = |verb: &str| verb.split(' ').next().unwrap_or_default().to_owned();
        let asked: BTreeSet<String> = asked
            .keys()
            .map(|(verb, of)| format!("{} {of}", plain(verb)))
            .collect();
        Ok((asked.len() >= wanted.len()).then_some(asked))
    });
    assert_eq!(found.unwrap(), wanted.map(str::to_owned).into());
    if created {
        kube::kubectl(&lab, &[&["delete"], &account[..]].concat()).unwrap();
    }
}

/// What Freehold makes of a database, and the pods of one product, without Freehold.
fn fake_tenant(number: usize) -> Vec<serde_json::Value> {
    let namespace = format!("{}scale-{number}", scale::TENANTS);
    let pods = json!({
        "nodeSelector": {scale::LABEL.0: scale::LABEL.1}, "restartPolicy": "Never", "automountServiceAccountToken": false,
        "tolerations": [{"key": scale::TAINT.0, "value": scale::TAINT.1}],
        "containers": [{"name": "main", "image": "freehold.lab/none"}]});
    let mut web = pods.clone();
    web["restartPolicy"] = "Always".into();
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": "db", "namespace": namespace},
            "spec": {"instances": 1, "storage": {"size": "1Gi"}}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": namespace},
            "spec": {"template": {"spec": pods}}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": web}}}),
    ]
}

#[test]
#[ignore = "a measurement: cargo xtask bench hundreds"]
fn hundreds_of_databases_and_pods_are_ready_within_a_minute_when_they_only_say_so() {
    const TENANTS: usize = 200;
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let fakes = scale::Scale::start(&lab, 2).unwrap();
    let since = scale::mark(&lab).unwrap();
    let begin = Instant::now();
    let all: Vec<serde_json::Value> = (1..=TENANTS).flat_map(fake_tenant).collect();
    kube::apply(&lab, &all).unwrap();
    println!("applied after {:.1} s", begin.elapsed().as_secs_f64());
    let count = |kind: &str, well: &dyn Fn(&serde_json::Value) -> bool| {
        let what = format!("{TENANTS} {kind} to be well");
        kube::until(&what, Duration::from_secs(60), || {
            let found = kube::get(&lab, &["-A", kind]).unwrap();
            let found = found["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|o| well(o))
                .count();
            Ok((found == TENANTS).then_some(()))
        })
        .unwrap();
        println!("{kind} after {:.1} s", begin.elapsed().as_secs_f64());
    };
    count("clusters.postgresql.cnpg.io", &|o| {
        kube::condition(o, "Ready") == "True" && o["status"]["readyInstances"] == 1
    });
    count("jobs", &|o| kube::condition(o, "Complete") == "True");
    count("deployments", &|o| {
        o["metadata"]["name"] == "web" && o["status"]["availableReplicas"] == 2
    });
    let namespace = format!("{}scale-{TENANTS}", scale::TENANTS);
    assert_eq!(kube::secret(&lab, &namespace, "db-app", "host").unwrap(), "db-rw");
    assert!(
        kube::secret(&lab, &namespace, "db-ca", "ca.crt")
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let asked = scale::requests_of(&lab, "freehold-lab-admin", since).unwrap();
    let of = |verb: &str, resource: &str| asked.get(&(verb.into(), resource.into())).copied();
    let patches = of("patch", "clusters.postgresql.cnpg.io/status").unwrap_or_default();
    println!("{asked:?}");
    assert_eq!(patches as usize, TENANTS, "each status is written once");
    let names: Vec<String> = (1..=TENANTS)
        .map(|n| format!("{}scale-{n}", scale::TENANTS))
        .collect();
    let mut delete = vec!["delete", "namespace", "--timeout=180s"];
    delete.extend(names.iter().map(String::as_str));
    kube::kubectl(&lab, &delete).unwrap();
    println!("deleted after {:.1} s", begin.elapsed().as_secs_f64());
    let kwok = fakes.pid();
    drop(fakes);
    assert!(!Path::new(&format!("/proc/{kwok}")).exists());
    let nodes = kube::get(&lab, &["nodes"]).unwrap();
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
}

/// A port of the internet's stand-in.
fn internet(host: &str, port: u16) -> probe::Target {
    let what = format!("{host}:{port}");
    let host = host.into();
    probe::Target { what, host, port }
}

#[test]
fn the_internet_is_reached_by_whom_policies_let_and_by_all_when_nothing_enforces_them() {
    let lab = Lab::of_this_checkout();
    ok(&["up"]);
    let image = ok(&["image", "postgresql"]).trim().to_string();
    probe::start_control(&lab, &image).unwrap();
    let policy = |name: &str, egress: serde_json::Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": probe::CONTROL},
            "spec": {"podSelector": {"matchLabels": {"held": name}}, "policyTypes": ["Egress"], "egress": egress}})
    };
    let one =
        json!([{"to": [{"ipBlock": {"cidr": format!("{}/32", net::INTERNET)}}], "ports": [{"port": 443}]}]);
    kube::apply(&lab, &[policy("everywhere", json!([])), policy("but-one", one)]).unwrap();
    for pod in ["free", "everywhere", "but-one"] {
        probe::start(&lab, probe::CONTROL, pod, &image, &json!({"held": pod})).unwrap();
    }
    let targets = [net::INTERNET, net::INTERNET_OTHER]
        .map(|host| [internet(host, 443), internet(host, 80)])
        .concat();
    let reached = |pod: &str| -> Vec<bool> {
        let found = probe::reach(&lab, probe::CONTROL, pod, &targets).unwrap();
        found.iter().map(|f| f.reached).collect()
    };
    let held = || {
        assert_eq!(reached("control"), [true; 4], "the node");
        assert_eq!(reached("free"), [true; 4], "a pod without policies");
        assert_eq!(reached("everywhere"), [false; 4], "a pod that may reach nothing");
        assert_eq!(reached("but-one"), [true, false, false, false], "{targets:?}");
    };
    held();
    {
        let _open = Unenforced::start(&lab).unwrap();
        for pod in ["everywhere", "but-one"] {
            assert_eq!(reached(pod), [true; 4], "{pod} without enforcement");
        }
    }
    held();
    kube::kubectl(&lab, &["delete", "namespace", probe::CONTROL]).unwrap();
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_nothing_is_half_done() {
    ok(&["down"]);
    let taken = TcpListener::bind(("127.0.0.1", net::HTTPS_PORT)).unwrap();
    let told = refused(&["up"]);
    assert!(told.contains("port 8443") && told.lines().count() == 1, "{told}");
    drop(taken);

    shell::capture(Command::new("ip").args(["link", "add", "lab-test", "type", "bridge"])).unwrap();
    shell::capture(Command::new("ip").args(["address", "add", "10.77.0.200/25", "dev", "lab-test"])).unwrap();
    shell::capture(Command::new("ip").args(["link", "set", "lab-test", "up"])).unwrap();
    let told = refused(&["up"]);
    shell::capture(Command::new("ip").args(["link", "delete", "lab-test"])).unwrap();
    assert!(
        told.contains("10.77.0.128/25") && told.lines().count() == 1,
        "{told}"
    );

    // Copied to where everybody may run it: the checkout may lie in root's home.
    let copy = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &copy).unwrap();
    let nobody = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .arg("up")
        .output()
        .unwrap();
    fs::remove_file(copy).unwrap();
    let told = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        !nobody.status.success() && told.contains("needs root") && told.lines().count() == 1,
        "{told}"
    );

    assert_eq!(traces(), Vec::<String>::new());
    assert!(host::running(&Lab::of_this_checkout()).is_none());
    let told = refused(&["kubectl", "get", "pods"]);
    assert!(told.contains("cargo xtask up"), "{told}");
    assert!(refused(&["image", "nonsense"]).contains("there are: "));
    assert!(refused(&["logs", "nonsense"]).contains("cargo xtask status"));
}

/// The lab with two nodes.
fn two_nodes() -> Lab {
    let lab = Lab::of_this_checkout();
    if up::nodes_running(&lab) != 2 {
        ok(&["down"]);
    }
    ok(&["up", "--nodes", "2"]);
    lab
}

#[test]
fn a_second_node_runs_pods_that_reach_those_of_the_first() {
    let lab = two_nodes();
    let nodes = kube::get(&lab, &["nodes"]).unwrap();
    assert_eq!(nodes["items"].as_array().unwrap().len(), 2);
    let image = ok(&["image", "postgresql"]).trim().to_string();
    kube::kubectl(&lab, &["cordon", "node1"]).unwrap();
    kube::until("the default service account", Duration::from_secs(30), || {
        Ok(kube::get(&lab, &["-n", "default", "serviceaccount", "default"]).ok())
    })
    .unwrap();
    probe::start(&lab, "default", "far", &image, &json!({})).unwrap();
    let pod = kube::get(&lab, &["-n", "default", "pod", "far"]).unwrap();
    assert_eq!(pod["spec"]["nodeName"], "node2");
    let targets = [
        probe::pod(&lab, "a pod on node1", "kube-system", "k8s-app=kube-dns", 53).unwrap(),
        probe::service(&lab, "its Service", "kube-system", "kube-dns", 53).unwrap(),
        probe::service(&lab, "the API server", "default", "kubernetes", 443).unwrap(),
        internet(net::INTERNET, 443),
    ];
    for found in probe::reach(&lab, "default", "far", &targets).unwrap() {
        assert!(found.reached, "{:?}", found.target);
    }
    // Its agent enforces policies too, and stops with the first's.
    let nothing = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "nothing", "namespace": "default"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
    kube::apply(&lab, &[nothing]).unwrap();
    let reached = || -> Vec<bool> {
        let found = probe::reach(&lab, "default", "far", &targets).unwrap();
        found.iter().map(|f| f.reached).collect()
    };
    let held = || Ok((!reached().contains(&true)).then_some(()));
    kube::until("the policy to hold", Duration::from_secs(30), held).unwrap();
    {
        let _open = Unenforced::start(&lab).unwrap();
        assert!(!reached().contains(&false), "{targets:?} without enforcement");
    }
    assert!(!reached().contains(&true), "{targets:?} with enforcement again");
    // Draining the second node moves what runs there.
    kube::kubectl(&lab, &["uncordon", "node1"]).unwrap();
    kube::kubectl(
        &lab,
        &[
            "drain",
            "node2",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
            "--timeout=60s",
        ],
    )
    .unwrap();
    assert!(kube::get(&lab, &["-n", "default", "pod", "far"]).is_err());
    assert_eq!(up::nodes_running(&lab), 2);
    kube::kubectl(&lab, &["uncordon", "node2"]).unwrap();
    kube::kubectl(&lab, &["delete", "networkpolicy", "nothing"]).unwrap();
}
