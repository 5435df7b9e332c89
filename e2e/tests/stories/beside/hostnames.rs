//! A hostname belongs to one tenant: while it is held, and for a while after it was given up.

use freehold_e2e::kube;
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, change, lab, tenant_manifest, wait_ready};

fn hostnames(tenant: &str) -> Vec<String> {
    let namespace = format!("tenant-{tenant}");
    let Ok(gateway) = kube::get(lab(), &["-n", &namespace, "gateway", "edge"]) else {
        return Vec::new();
    };
    let listeners = gateway["spec"]["listeners"].as_array().unwrap();
    // The one for plain HTTP names none.
    let named = listeners.iter().filter_map(|l| l["hostname"].as_str());
    named.map(str::to_string).collect()
}

fn blocked(tenant: &str) -> Value {
    kube::until("the hostname to be refused", MINUTE, || {
        let object = kube::get(lab(), &["tenant", tenant])?;
        let told = object["status"]["blockers"][0]["reason"] == "HostnameTaken";
        Ok(told.then_some(object))
    })
    .unwrap()
}

#[test]
fn a_hostname_is_not_taken_from_another_tenant_nor_right_after_it_left() {
    wait_ready("acme", MINUTE);
    let guest = Guest::absent("squatter");
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["hostnames"] = json!(["acme.localhost", "squatter.localhost"]);
    kube::apply(lab(), &[manifest]).unwrap();
    let object = blocked(guest.0);
    let told = object["status"].to_string();
    assert!(
        !told.contains("tenant-acme"),
        "whose it is, is nobody's business: {told}"
    );
    kube::until("the other hostname to be served", 2 * MINUTE, || {
        Ok((hostnames(guest.0) == ["squatter.localhost"]).then_some(()))
    })
    .unwrap();
    wait_ready("acme", MINUTE);

    // What a tenant has just given up is not another's either.
    change(
        "globex",
        &json!({"hostnames": ["globex.localhost", "www.globex.localhost"]}),
    );
    kube::until("globex to hold both", MINUTE, || {
        Ok((hostnames("globex").len() == 2).then_some(()))
    })
    .unwrap();
    change("globex", &json!({"hostnames": ["globex.localhost"]}));
    kube::until("globex to give one up", MINUTE, || {
        let claims = kube::get(lab(), &["-n", "freehold-system", "hostnameclaims"])?;
        let mut claims = claims["items"].as_array().into_iter().flatten();
        let up = claims
            .any(|c| c["spec"]["hostname"] == "www.globex.localhost" && c["spec"]["state"] == "GivenUp");
        Ok(up.then_some(()))
    })
    .unwrap();
    change(
        guest.0,
        &json!({"hostnames": ["www.globex.localhost", "squatter.localhost"]}),
    );
    kube::until("the tombstone to be respected", MINUTE, || {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let message = object["status"]["blockers"][0]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(message.contains("www.globex.localhost").then_some(()))
    })
    .unwrap();
    assert_eq!(hostnames(guest.0), ["squatter.localhost"]);
    wait_ready("globex", MINUTE);
}
