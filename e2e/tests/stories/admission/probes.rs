//! The namespace of the unrestricted pods, where Pod Security stops nobody.

use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use super::api::{Api, operator};
use super::table::{absent, changed};
use crate::stage::lab;

const PODS: &str = "/api/v1/namespaces/freehold-probes/pods";

/// The image that the operator was told to use, which is its own.
fn image() -> String {
    let operator = kube::get(lab(), &["-n", install::NAMESPACE, "deployment", "freehold"]).unwrap();
    let container = &operator["spec"]["template"]["spec"]["containers"][0];
    container["image"].as_str().unwrap().to_string()
}

/// As the operator makes it.
fn pod(image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "story"}, "spec": {
        "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet", "restartPolicy": "Never", "activeDeadlineSeconds": 60,
        "terminationGracePeriodSeconds": 0, "serviceAccountName": "default", "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "probe", "image": image, "command": ["/freehold"],
            "args": ["probe", "--target", "the internet=192.0.2.1:443"],
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
                "capabilities": {"drop": ["ALL"]}}}]}})
}

/// What somebody tries with the operator's token, by the word that the refusal has.
fn attempts(image: &str) -> Vec<(Vec<(&'static str, Value)>, &'static str)> {
    let another =
        |name: &str| json!([{"name": name, "image": image, "command": ["/freehold"], "args": ["probe"]}]);
    let two = json!([pod(image)["spec"]["containers"][0], another("two")[0]]);
    let (one, runs, node) = (
        "has one container",
        "runs /freehold probe",
        "has the network and nothing else",
    );
    let (of_pod, of_container) = ("the securityContext of a pod", "the container's securityContext");
    let one_more = [
        ("/spec/containers", two, one),
        ("/spec/initContainers", another("init"), one),
        (
            "/spec/containers/0/image",
            json!("docker.io/library/busybox:1"),
            runs,
        ),
        ("/spec/containers/0/image", json!(format!("{image}0")), runs),
        ("/spec/containers/0/command", json!(["/bin/sh"]), runs),
        ("/spec/containers/0/command", json!(["/freehold", "run"]), runs),
        ("/spec/containers/0/command", absent(), runs),
        ("/spec/containers/0/args", json!(["run"]), runs),
        ("/spec/containers/0/args", json!(["run", "probe"]), runs),
        ("/spec/containers/0/args", absent(), runs),
        (
            "/spec/containers/0/lifecycle",
            json!({"postStart": {"exec": {"command": ["/freehold", "run"]}}}),
            runs,
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"exec": {"command": ["/freehold", "run"]}}),
            runs,
        ),
        (
            "/spec/containers/0/startupProbe",
            json!({"tcpSocket": {"port": 22}}),
            runs,
        ),
        (
            "/spec/containers/0/readinessProbe",
            json!({"tcpSocket": {"port": 22}}),
            runs,
        ),
        (
            "/spec/volumes",
            json!([{"name": "node", "hostPath": {"path": "/"}}]),
            node,
        ),
        ("/spec/volumes", json!([{"name": "tmp", "emptyDir": {}}]), node),
        (
            "/spec/resourceClaims",
            json!([{"name": "device", "resourceClaimName": "device"}]),
            node,
        ),
        ("/spec/hostPID", json!(true), node),
        ("/spec/hostIPC", json!(true), node),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 10250, "hostPort": 10250}]),
            node,
        ),
        ("/spec/automountServiceAccountToken", json!(true), node),
        ("/spec/automountServiceAccountToken", absent(), node),
        ("/spec/securityContext", absent(), of_pod),
        ("/spec/securityContext/runAsNonRoot", json!(false), of_pod),
        (
            "/spec/securityContext/seccompProfile/type",
            json!("Unconfined"),
            of_pod,
        ),
        (
            "/spec/securityContext/sysctls",
            json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]),
            of_pod,
        ),
        (
            "/spec/securityContext/windowsOptions",
            json!({"hostProcess": true, "runAsUserName": "NT AUTHORITY\\SYSTEM"}),
            of_pod,
        ),
        ("/spec/containers/0/securityContext", absent(), of_container),
        (
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/readOnlyRootFilesystem",
            json!(false),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/runAsNonRoot",
            json!(false),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/capabilities/drop",
            json!(["NET_RAW"]),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/capabilities/add",
            json!(["SYS_ADMIN"]),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
            of_container,
        ),
        (
            "/spec/containers/0/securityContext/windowsOptions",
            json!({"hostProcess": true}),
            of_container,
        ),
    ];
    let mut all: Vec<_> = one_more
        .into_iter()
        .map(|(path, value, hint)| (vec![(path, value)], hint))
        .collect();
    // Some contradict what else the pod says, if alone.
    all.push((
        vec![
            ("/spec/containers/0/securityContext/privileged", json!(true)),
            (
                "/spec/containers/0/securityContext/allowPrivilegeEscalation",
                absent(),
            ),
        ],
        of_container,
    ));
    all.push((
        vec![
            (
                "/spec/volumes",
                json!([{"name": "node", "hostPath": {"path": "/"}}]),
            ),
            (
                "/spec/containers/0/volumeMounts",
                json!([{"name": "node", "mountPath": "/node"}]),
            ),
        ],
        node,
    ));
    all.push((
        vec![
            ("/spec/hostNetwork", absent()),
            ("/spec/hostUsers", json!(false)),
            ("/spec/containers/0/securityContext/procMount", json!("Unmasked")),
        ],
        of_container,
    ));
    all
}

#[test]
fn among_the_unrestricted_pods_only_the_probe_runs() {
    let administrator = Api::administrator(lab());
    let operator = Api::named(lab(), &operator());
    let policy = "freehold-probes";
    let theirs = "made and changed by the operator alone";
    let good = pod(&image());
    operator.try_create(PODS, &good).taken();
    // It doesn't need the node's network.
    operator
        .try_create(PODS, &changed(&good, &[("/spec/hostNetwork", absent())]))
        .taken();
    for (changes, hint) in attempts(&image()) {
        let bad = changed(&good, &changes);
        operator.try_create(PODS, &bad).refused_by(policy, hint);
        administrator.try_create(PODS, &bad).refused_by(policy, theirs);
    }
    for user in [
        "system:serviceaccount:freehold-probes:default",
        "system:serviceaccount:kube-system:replicaset-controller",
        "system:serviceaccount:default:freehold",
    ] {
        Api::named(lab(), user)
            .try_create(PODS, &good)
            .refused_by(policy, theirs);
    }
    administrator.try_create(PODS, &good).refused_by(policy, theirs);
    // Elsewhere others decide.
    administrator
        .try_create(
            "/api/v1/namespaces/default/pods",
            &changed(&good, &[("/spec/hostNetwork", absent())]),
        )
        .taken();

    // Nor one that is there already. No node takes this one.
    let one = format!("{PODS}/story-waiting");
    operator.send("DELETE", &one, b"");
    let waiting = [
        ("/metadata/name", json!("story-waiting")),
        ("/spec/nodeSelector", json!({"story": "none"})),
    ];
    let waiting = changed(&good, &waiting);
    operator.create(PODS, &waiting).taken();
    let label = json!({"metadata": {"labels": {"mine": "x"}}});
    administrator.try_patch(&one, &label).refused_by(policy, theirs);
    operator.try_patch(&one, &label).taken();
    Api::named(
        lab(),
        "system:serviceaccount:kube-system:generic-garbage-collector",
    )
    .try_patch(&one, &label)
    .taken();
    let mut other = administrator.get(&one);
    other["spec"]["containers"][0]["image"] = json!("docker.io/library/busybox:1");
    administrator.try_replace(&one, &other).refused_by(policy, theirs);
    operator
        .try_replace(&one, &other)
        .refused_by(policy, "runs /freehold probe");
    let mut debugged = administrator.get(&one);
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": image(), "command": ["/bin/sh"],
            "securityContext": {"privileged": true}}]);
    let path = format!("{one}/ephemeralcontainers");
    administrator
        .try_replace(&path, &debugged)
        .refused_by(policy, theirs);
    operator
        .try_replace(&path, &debugged)
        .refused_by(policy, "has one container");
    // By hand it may go, whatever it is.
    administrator.send("DELETE", &one, b"").taken();
}
