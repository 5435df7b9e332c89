//! A database's volumes: one of its own for the write-ahead log, and both grow when the tenant asks for more.

use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use crate::keys::volumes;
use crate::reencryption::{ids, keys};
use crate::stage::{
    Guest, MINUTE, always_open, assert_nothing_lost, change, lab, lane, namespace, owner, tenant_manifest,
    wait_ready,
};

/// Bytes of a file system as its user sees it.
fn room(namespace: &str, instance: &str, path: &str) -> u64 {
    let df = [
        "-n",
        namespace,
        "exec",
        instance,
        "-c",
        "postgres",
        "--",
        "df",
        "-B1",
        "--output=size",
        path,
    ];
    let told = kube::kubectl(lab(), &df).unwrap();
    told.lines().last().unwrap().trim().parse().unwrap()
}

fn claims(namespace: &str) -> Vec<(String, Value)> {
    let claims = kube::get(lab(), &["-n", namespace, "persistentvolumeclaims"]).unwrap();
    let claims = claims["items"].as_array().unwrap().iter();
    claims
        .map(|claim| {
            let name = claim["metadata"]["name"].as_str().unwrap().to_owned();
            (name, claim["status"]["capacity"]["storage"].clone())
        })
        .collect()
}

#[test]
fn the_log_gets_a_volume_of_its_own_volumes_grow_and_get_new_keys_after_sleep() {
    const GIB: u64 = 1 << 30;
    let guest = Guest::absent("roomy");
    let mut tenant = tenant_manifest(guest.0, 1);
    tenant["spec"]["database"]["walStorageSize"] = "2Gi".into();
    kube::apply(lab(), &[tenant]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    let own = namespace(guest.0);
    let named: Vec<String> = claims(&own).into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, ["db-1", "db-1-wal"]);
    let keys = kube::get(lab(), &["tenant", guest.0]).unwrap()["status"]["keys"].clone();
    assert_eq!(
        keys["dataKeys"].as_array().unwrap().len(),
        2,
        "each volume has a key of its own"
    );
    let (data, log) = ("/var/lib/postgresql/data", "/var/lib/postgresql/wal");
    let before = (room(&own, "db-1", data), room(&own, "db-1", log));
    assert!(before.0 < GIB && before.1 > GIB, "{before:?}");
    let link = [
        "-n",
        &own,
        "exec",
        "db-1",
        "-c",
        "postgres",
        "--",
        "readlink",
        "/var/lib/postgresql/data/pgdata/pg_wal",
    ];
    assert!(kube::kubectl(lab(), &link).unwrap().starts_with(log));
    let user = owner(guest.0);
    let path = lane(&user, "Roomy");
    user.post(&path, &json!({"title": "before the volume grew"}))
        .unwrap();

    change(
        guest.0,
        &json!({"database": {"storageSize": "2Gi", "walStorageSize": "3Gi"}}),
    );
    kube::until("the volumes to be enlarged", 2 * MINUTE, || {
        let volumes = kube::get(lab(), &["persistentvolumes"])?;
        let mut sizes: Vec<&str> = volumes["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|volume| volume["spec"]["claimRef"]["namespace"] == own.as_str())
            .filter_map(|volume| volume["spec"]["capacity"]["storage"].as_str())
            .collect();
        sizes.sort_unstable();
        Ok((sizes == ["2Gi", "3Gi"]).then_some(()))
    })
    .unwrap();
    // The lab's driver enlarges the file system when the volume is staged anew.
    change(guest.0, &json!({"desiredState": "Suspended"}));
    wait_ready(guest.0, 2 * MINUTE);
    kube::until("the database's pod to be gone", MINUTE, || {
        let pods = kube::get(lab(), &["-n", &own, "pods", "-l", "cnpg.io/cluster=db"])?;
        Ok(pods["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    change(guest.0, &json!({"desiredState": "Active"}));
    wait_ready(guest.0, 4 * MINUTE);
    let after = (room(&own, "db-1", data), room(&own, "db-1", log));
    println!("{before:?} bytes became {after:?}; {:?}", claims(&own));
    assert!(after.0 > GIB && after.1 > 2 * GIB, "{after:?}");
    assert_nothing_lost(guest.0, &["before the volume grew".to_owned()]);
    gets_new_keys_when_it_wakes(guest.0);
    assert_nothing_lost(guest.0, &["before the volume grew".to_owned()]);
}

/// A tenant that sleeps waits with its new data keys.
fn gets_new_keys_when_it_wakes(tenant: &str) {
    let old = ids(&keys(tenant));
    change(tenant, &json!({"desiredState": "Suspended"}));
    wait_ready(tenant, 2 * MINUTE);
    change(tenant, &json!({"keys": {"rotateDataKeys": "asleep"}}));
    kube::until("the blocker", MINUTE, || {
        let object = kube::get(lab(), &["tenant", tenant])?;
        Ok(kube::blocker(&object, "DataKeyRotationWaits"))
    })
    .unwrap();
    assert_eq!(ids(&keys(tenant)), old);
    change(tenant, &json!({"desiredState": "Active"}));
    let now = kube::until("the new data keys", 5 * MINUTE, || {
        let now = keys(tenant);
        Ok((now["dataKeysAcknowledged"] == "asleep").then_some(now))
    })
    .unwrap();
    assert!(ids(&now).iter().all(|id| !old.contains(id)));
}

#[test]
fn without_its_key_or_with_anothers_a_volume_is_not_staged() {
    let guest = Guest::ready("vault", 1);
    let own = namespace(guest.0);
    let user = owner(guest.0);
    let path = lane(&user, "Vault");
    user.post(&path, &json!({"title": "locked away"})).unwrap();
    let volume = volumes(&own).remove(0);
    let secret = |name: &str| kube::get(lab(), &["-n", install::KEYS, "secret", name]).unwrap();
    let kept = secret(&volume);
    let other = secret(&volumes(&namespace("acme"))[0]);
    change(guest.0, &json!({"desiredState": "Suspended"}));
    wait_ready(guest.0, 2 * MINUTE);
    kube::until("the database's pod to be gone", MINUTE, || {
        let pods = kube::get(lab(), &["-n", &own, "pods", "-l", "cnpg.io/cluster=db"])?;
        Ok(pods["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    // Another tenant's wrapped key in the place of its own.
    let put = |data: &Value| {
        let patch = json!({"data": data}).to_string();
        let args = [
            "-n",
            install::KEYS,
            "patch",
            "secret",
            &volume,
            "--type=merge",
            "-p",
            &patch,
        ];
        kube::kubectl(lab(), &args).unwrap();
    };
    put(&other["data"]);
    change(guest.0, &json!({"desiredState": "Active"}));
    let told = kube::until("the staging to be refused", 2 * MINUTE, || {
        let events = kube::get(
            lab(),
            &["-n", &own, "events", "--field-selector=reason=FailedMount"],
        )?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let mut told = events.iter().filter_map(|event| event["message"].as_str());
        Ok(told
            .find(|text| {
                text.contains("MountVolume.MountDevice") && text.contains("the wrapped key does not open")
            })
            .map(str::to_owned))
    })
    .unwrap();
    println!("with another tenant's key: {told}");
    kube::kubectl(lab(), &["-n", install::KEYS, "delete", "secret", &volume]).unwrap();
    // The Cluster's own condition may still be that of before it slept.
    let pods = kube::get(lab(), &["-n", &own, "pods", "-l", "cnpg.io/cluster=db"]).unwrap();
    let pods = pods["items"].as_array().unwrap();
    assert!(!pods.is_empty(), "somebody waits for the volume");
    for pod in pods {
        assert_eq!(pod["status"]["phase"], "Pending", "nothing was opened");
    }
    // Put back it opens again, with what was in it.
    let mut back = kept.clone();
    let metadata = &kept["metadata"];
    back["metadata"] = json!({
        "name": volume, "namespace": install::KEYS, "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    kube::apply(lab(), &[back]).unwrap();
    wait_ready(guest.0, 4 * MINUTE);
    assert!(crate::stage::titles(guest.0).contains("locked away"));
}

/// Its volumes lie in the clear, as its class allows; its window is open.
fn in_the_clear(name: &str) -> Value {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": name});
    class["spec"]["database"]["storageClassName"] = "plain-control".into();
    class["spec"]["database"]["allowUnencrypted"] = true.into();
    class["spec"]["maintenance"] = always_open();
    class
}

/// Of what StorageClass each claim of a database is.
fn storage_classes(namespace: &str) -> Vec<String> {
    let claims = kube::get(lab(), &["-n", namespace, "persistentvolumeclaims"]).unwrap();
    let claims = claims["items"].as_array().unwrap().iter();
    let of = |claim: &Value| claim["spec"]["storageClassName"].as_str().unwrap().to_owned();
    claims.map(of).collect()
}

#[test]
fn volumes_that_lie_in_the_clear_move_to_encrypted_ones_when_the_class_and_a_word_ask_for_it() {
    const CLASS: &str = "in-the-clear";
    let guest = Guest::absent("cleared");
    kube::apply(lab(), &[in_the_clear(CLASS)]).unwrap();
    let mut tenant = tenant_manifest(guest.0, 1);
    tenant["spec"]["className"] = CLASS.into();
    kube::apply(lab(), &[tenant]).unwrap();
    let there = wait_ready(guest.0, 4 * MINUTE);
    assert_eq!(kube::condition(&there, "VolumesEncrypted"), "False");
    let own = namespace(guest.0);
    let user = owner(guest.0);
    let path = lane(&user, "Cleared");
    user.post(&path, &json!({"title": "written in the clear"}))
        .unwrap();

    let encrypted =
        json!({"spec": {"database": {"storageClassName": "encrypted", "allowUnencrypted": false}}});
    let patch = ["patch", "tenantclass", CLASS, "--type=merge", "-p"];
    kube::kubectl(lab(), &[&patch[..], &[&encrypted.to_string()]].concat()).unwrap();
    let told = kube::until("the older volumes to be told", MINUTE, || {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let blocker = kube::blocker(&object, "VolumesNotReplaced");
        Ok(blocker.map(|blocker| (blocker, object)))
    });
    let (blocker, object) = told.unwrap();
    println!("{}", blocker["message"].as_str().unwrap());
    assert_eq!(kube::condition(&object, "VolumesEncrypted"), "False");
    assert_eq!(object["status"]["keys"]["scope"], "Nobody");
    assert_eq!(storage_classes(&own), ["plain-control"]);

    change(guest.0, &json!({"keys": {"rotateDataKeys": "encrypt"}}));
    let now = kube::until("the first data keys", 5 * MINUTE, || {
        let now = keys(guest.0);
        Ok((now["dataKeysAcknowledged"] == "encrypt").then_some(now))
    })
    .unwrap();
    assert_eq!((ids(&now).len(), &now["scope"]), (1, &json!("Tenant")));
    assert_eq!(storage_classes(&own), ["encrypted"]);
    let object = wait_ready(guest.0, MINUTE);
    assert_eq!(kube::condition(&object, "VolumesEncrypted"), "True");
    assert_nothing_lost(guest.0, &["written in the clear".to_owned()]);
    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}
