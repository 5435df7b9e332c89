//! A tenant serves its users, from its own database.

use freehold_e2e::http::User;
use freehold_e2e::kube;
use serde_json::json;

use crate::stage::{self, lab, lane, namespace, owner, titles};

#[test]
fn a_tenant_answers_from_the_host_through_the_gateway() {
    for tenant in ["acme", "globex"] {
        let user = User::of(lab(), tenant, "nobody").unwrap();
        let version = user.get("/version").unwrap();
        assert_eq!(version["version"], "1.0.0", "{version}");
        assert_eq!(
            user.request("GET", "/api/boards", &[], None).unwrap().status,
            401,
            "no session, no boards"
        );
        let robots = user.request("GET", "/robots.txt", &[], None).unwrap();
        assert_eq!(
            robots.body, "User-agent: *\nDisallow: /\n",
            "a file of the release's"
        );
    }
}

#[test]
fn another_tenants_authority_does_not_vouch_for_a_tenant() {
    let acme = User::of(lab(), "acme", "nobody").unwrap();
    let mut mixed = User::of(lab(), "globex", "nobody").unwrap();
    mixed.base = acme.base;
    let error = format!("{:#}", mixed.get("/version").unwrap_err());
    assert!(error.contains("SSL certificate problem"), "{error}");
}

#[test]
fn a_card_made_in_acme_is_in_acmes_database_and_not_in_globexs() {
    let user = owner("acme");
    let path = lane(&user, "Two databases");
    let title = format!("only acme's, {}", std::process::id());
    user.post(&path, &json!({"title": title})).unwrap();
    assert!(titles("acme").contains(&title));
    assert!(!titles("globex").contains(&title));
    let events = kube::sql(
        lab(),
        &namespace("acme"),
        "db",
        "select count(*) from outbox where kind like 'card%'",
    )
    .unwrap();
    assert!(
        events.parse::<u32>().unwrap() > 0,
        "a committed card has an event in the outbox"
    );
}

#[test]
fn the_account_owners_link_works_once() {
    drop(owner("globex"));
    let token = kube::secret(lab(), &namespace("globex"), "owner", "token").unwrap();
    let intruder = User::of(lab(), "globex", "intruder").unwrap();
    let body =
        json!({"token": token.trim(), "email": "x@globex.example", "name": "X", "password": stage::PASSWORD});
    let answer = intruder
        .request("POST", "/api/welcome", &[], Some(&body))
        .unwrap();
    assert!((400..500).contains(&answer.status), "{answer:?}");
}
