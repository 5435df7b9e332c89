//! One hostname belongs to one tenant.

use super::*;

const CLAIMS: &str = "hostnameclaims";

fn wants_acme_s_name(tenant: &mut Value) {
    tenant["spec"]["hostnames"] = json!(["acme.localhost"]);
}

/// The only claim, changed as somebody else's.
fn held_by(shell: &Shell, tenant: &str, given_up_at: Option<&str>) -> String {
    let path = shell.paths_of(CLAIMS)[0].clone();
    let mut claim = shell.double.object(&path).unwrap();
    claim["metadata"]["labels"]["freehold.dev/tenant"] = tenant.into();
    claim["spec"]["tenant"] = tenant.into();
    claim["spec"]["incarnation"] = "another".into();
    claim["spec"]["state"] = if given_up_at.is_some() { "GivenUp" } else { "Held" }.into();
    claim["spec"]["givenUpAt"] = given_up_at.into();
    shell.double.plant(&path, claim);
    path
}

/// A claim as a tenant that is no more left it; acme was never there.
async fn tombstone(given_up_at: &str) -> (Shell, String) {
    let shell = Shell::new();
    shell.pass().await;
    let path = held_by(&shell, "initech", Some(given_up_at));
    let claim = shell.double.object(&path).unwrap();
    let shell = Shell::new();
    shell.double.plant(&path, claim);
    (shell, path)
}

#[tokio::test]
async fn of_two_tenants_that_want_a_name_the_second_serves_nothing_under_it_and_is_told() {
    let shell = Shell::new();
    shell.settle("acme").await;
    shell.arrives("globex", wants_acme_s_name);
    for _ in 0..4 {
        shell.pass_of("globex").await;
    }
    assert_eq!(shell.paths_of(CLAIMS).len(), 1);
    let claim = shell.double.object(&shell.paths_of(CLAIMS)[0]).unwrap();
    assert_eq!(claim["spec"]["tenant"], "acme");
    assert!(
        shell
            .double
            .paths()
            .iter()
            .all(|path| !path.contains("/tenant-globex/gateways/"))
    );
    let told = shell.blockers_of("globex");
    assert!(
        told.iter()
            .any(|told| told.starts_with("HostnameTaken") && !told.contains("acme,")),
        "{told:?}"
    );
    // Within the half minute nothing is asked.
    assert_eq!(shell.pass_of("globex").await, []);
    // acme takes another name; what waits for its old one looks again, but has to wait for the hold.
    shell.asks("acme", |spec| spec["hostnames"] = json!(["other.localhost"]));
    for _ in 0..3 {
        shell.pass().await;
    }
    let claim = shell.double.object(&shell.paths_of(CLAIMS)[0]).unwrap();
    let states: Vec<Value> = shell
        .paths_of(CLAIMS)
        .iter()
        .map(|path| shell.double.object(path).unwrap()["spec"]["state"].clone())
        .collect();
    assert!(
        states.contains(&json!("GivenUp")) && states.contains(&json!("Held")),
        "{claim}"
    );
    for path in shell.paths_of(CLAIMS) {
        shell.watched(Kind::HostnameClaim, &path);
    }
    assert_ne!(shell.pass_of("globex").await, [], "it looks again");
    for _ in 0..3 {
        shell.pass_of("globex").await;
    }
    assert!(
        shell
            .blockers_of("globex")
            .iter()
            .any(|told| told.starts_with("HostnameTaken"))
    );
    // A person deletes the tombstone.
    let given_up = shell
        .paths_of(CLAIMS)
        .into_iter()
        .find(|path| shell.double.object(path).unwrap()["spec"]["state"] == "GivenUp")
        .unwrap();
    let object: kube::api::DynamicObject =
        serde_json::from_value(shell.double.object(&given_up).unwrap()).unwrap();
    shell.double.raze(&given_up);
    let (tenant, id, _) = crate::watch::reduce(Kind::HostnameClaim, object).unwrap();
    let woken = shell.context.store.remove(&tenant, &id, "999999");
    assert_eq!(woken, ["acme".to_owned(), "globex".to_owned()].into());
    for _ in 0..4 {
        shell.pass_of("globex").await;
    }
    assert!(
        shell
            .double
            .object("/apis/gateway.networking.k8s.io/v1/namespaces/tenant-globex/gateways/edge")
            .is_some()
    );
}

#[tokio::test]
async fn a_name_that_was_given_up_long_ago_passes_to_the_next_and_one_that_was_not_does_not() {
    let (shell, path) = tombstone("2020-01-01T00:00:00Z").await;
    shell.settle("acme").await;
    let claim = shell.double.object(&path).unwrap();
    assert_eq!(claim["spec"]["tenant"], "acme");
    assert_eq!(claim["spec"]["incarnation"], UIDS[0].1);
    assert_eq!(claim["metadata"]["labels"]["freehold.dev/tenant"], "acme");
    assert_eq!(shell.pass().await, []);

    let yesterday = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let (shell, path) = tombstone(&yesterday.to_string()).await;
    let before = shell.double.object(&path);
    shell.settle("acme").await;
    assert_eq!(shell.double.object(&path), before);
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("HostnameTaken"))
    );
}

#[tokio::test]
async fn of_two_that_want_a_name_which_was_given_up_one_gets_it() {
    let (shell, path) = tombstone("2020-01-01T00:00:00Z").await;
    shell.arrives("globex", wants_acme_s_name);
    // Each has seen that it may be taken, in processes that don't know of each other.
    let other = shell.another();
    shell.pass().await;
    other.pass_of("globex").await;
    shell.pass().await;
    let held = shell.double.object(&path).unwrap();
    assert_eq!(held["spec"]["tenant"], "acme");
    for _ in 0..4 {
        other.pass_of("globex").await;
    }
    assert_eq!(shell.double.object(&path).unwrap()["spec"], held["spec"]);
    assert!(
        other
            .blockers_of("globex")
            .iter()
            .any(|told| told.starts_with("HostnameTaken"))
    );
    assert!(
        shell
            .double
            .paths()
            .iter()
            .all(|path| !path.contains("/tenant-globex/gateways/"))
    );
}

#[tokio::test]
async fn a_name_that_is_lost_between_look_and_write_is_looked_at_again() {
    let (shell, path) = tombstone("2020-01-01T00:00:00Z").await;
    shell.pass().await;
    shell.double.refuse(http::Method::PATCH, &path, 409);
    let asked = shell.pass().await;
    assert!(
        asked.iter().all(|asked| asked.resource != "gateways"),
        "nothing is served under it: {asked:#?}"
    );
    held_by(&shell, "globex", None);
    shell.double.relent();
    shell.settle("acme").await;
    assert!(
        shell
            .blockers()
            .iter()
            .any(|told| told.starts_with("HostnameTaken"))
    );
}

#[tokio::test]
async fn a_claim_that_was_deleted_is_taken_again_and_the_gateway_stays() {
    let shell = Shell::new();
    shell.settle("acme").await;
    let path = shell.paths_of(CLAIMS)[0].clone();
    let gateway = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant-acme/gateways/edge";
    let before = shell.double.object(gateway).unwrap();
    let claim: kube::api::DynamicObject =
        serde_json::from_value(shell.double.object(&path).unwrap()).unwrap();
    shell.double.raze(&path);
    let (tenant, id, _) = crate::watch::reduce(Kind::HostnameClaim, claim).unwrap();
    shell.context.store.remove(&tenant, &id, "999999");
    // The API server's versions grow; the double's are small.
    shell.context.store.forget_ends("acme");
    shell.pass().await;
    assert_eq!(shell.double.object(&path).unwrap()["spec"]["state"], "Held");
    assert_eq!(shell.double.object(gateway).unwrap()["spec"], before["spec"]);
}
