//! The gateway's certificate from an issuer of the platform: real cert-manager, with the lab's own authority behind it.

use freehold_e2e::kube;
use freehold_e2e::tls::{self, End};
use serde_json::{Value, json};

use crate::stage::{Guest, MINUTE, always_open, lab, namespace, tenant_manifest, wait_ready};

const CLASS: &str = "issuing";
/// The lab's ClusterIssuer, and the Secret with its authority.
const ISSUER: &str = "lab-ca";

/// A copy of the sample class that names an issuer.
fn class(issuer: &str) -> Value {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": CLASS});
    // Always open: a change of the class reaches the tenant at once.
    class["spec"]["maintenance"] = always_open();
    class["spec"]["certificates"]["issuer"] = json!({"name": issuer});
    class
}

fn name_issuer(issuer: &Value) {
    let patch = json!({"spec": {"certificates": {"issuer": issuer}}}).to_string();
    kube::kubectl(
        lab(),
        &["patch", "tenantclass", CLASS, "--type=merge", "-p", &patch],
    )
    .unwrap();
}

fn is_verified(end: &End, roots: &str) -> anyhow::Result<bool> {
    let agreed = tls::handshake(lab(), end, roots, &[])?;
    Ok(agreed.is_some_and(|agreed| agreed.is_verified()))
}

/// Waits until the gateway shows a certificate of these roots; on the way each handshake is good for one who trusts both.
fn until_shown(end: &End, wanted: &str, other: &str) {
    let either = format!("{wanted}\n{other}");
    let mut handshakes = 0;
    kube::until("the gateway to show the other certificate", 2 * MINUTE, || {
        assert!(is_verified(end, &either)?, "a client that trusts both is refused");
        handshakes += 1;
        Ok(is_verified(end, wanted)?.then_some(()))
    })
    .unwrap();
    assert!(!is_verified(end, other).unwrap(), "it is not of both");
    println!("{handshakes} handshakes on the way, none refused");
}

#[test]
fn the_gateway_shows_what_the_issuer_of_the_class_issued_and_the_tenant_s_own_certificate_otherwise() {
    lab();
    kube::apply(lab(), &[class("nobody")]).unwrap();
    let guest = Guest::absent("issued");
    let mut manifest = tenant_manifest(guest.0, 1);
    manifest["spec"]["className"] = json!(CLASS);
    kube::apply(lab(), &[manifest]).unwrap();

    // An issuer that doesn't exist is told, and users are served all the same.
    let what = "the tenant to be served, and to wait for its issuer";
    let tenant = kube::until(what, 4 * MINUTE, || {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let served = kube::condition(&object, "Serving") == "True";
        let blockers = object["status"]["blockers"].as_array();
        let waits = blockers.is_some_and(|all| all.len() == 1 && all[0]["reason"] == "IssuerNotReady");
        Ok((served && waits).then_some(object))
    })
    .unwrap();
    let told = tenant["status"]["blockers"][0]["message"].as_str().unwrap();
    assert!(
        told.starts_with("the ClusterIssuer nobody has issued no"),
        "{told}"
    );
    assert_eq!(kube::condition(&tenant, "CertificateReady"), "False");
    let end = tls::ends(lab(), guest.0).unwrap().remove(0);
    let own = kube::secret(lab(), &namespace(guest.0), "web-tls", "ca.crt").unwrap();
    let public = kube::secret(lab(), "cert-manager", ISSUER, "tls.crt").unwrap();
    assert!(is_verified(&end, &own).unwrap());
    assert!(!is_verified(&end, &public).unwrap());

    // One that does issues, and nobody is refused meanwhile.
    name_issuer(&json!({"name": ISSUER}));
    until_shown(&end, &public, &own);
    let tenant = wait_ready(guest.0, MINUTE);
    let certificates = tenant["status"]["certificates"].as_array().unwrap();
    let issued = certificates.iter().find(|one| one["name"] == "edge-issued-tls");
    assert!(issued.unwrap()["notAfter"].is_string());

    // The Secret is cert-manager's: the operator may not read it.
    let operator = "--as=system:serviceaccount:freehold-system:freehold";
    let place = namespace(guest.0);
    let may = |secret: &str| {
        let asked = format!("secret/{secret}");
        let args = ["auth", "can-i", "get", &asked, "-n", &place, operator];
        kube::kubectl(lab(), &args).is_ok_and(|said| said.trim() == "yes")
    };
    assert!(may("edge-tls"));
    assert!(!may("edge-issued-tls"));

    // Without an issuer it is as before.
    name_issuer(&Value::Null);
    until_shown(&end, &own, &public);
    wait_ready(guest.0, MINUTE);
    let left = kube::get(lab(), &["-n", &place, "certificates.cert-manager.io"]).unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 0);

    guest.gone();
    kube::kubectl(lab(), &["delete", "tenantclass", CLASS]).unwrap();
}
