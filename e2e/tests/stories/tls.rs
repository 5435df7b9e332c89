//! Every connection of a tenant is encrypted and verified: at the gateway, to the web tier, to the application tier, to the
//! database.

use std::time::Instant;

use freehold_e2e::kube;
use freehold_e2e::tls::{self, End};
use jiff::Timestamp;

use crate::renewal::{end_authority, issue_each};
use crate::stage::{Guest, MINUTE, lab, namespace, operator_away, wait_ready};

const TENANT: &str = "acme";
const OTHER: &str = "globex";

fn roots(tenant: &str) -> String {
    kube::secret(lab(), &namespace(tenant), "web-tls", "ca.crt").unwrap()
}

fn ends(tenant: &str) -> Vec<End> {
    wait_ready(tenant, MINUTE);
    let ends = tls::ends(lab(), tenant).unwrap();
    assert_eq!(ends.len(), 4);
    ends
}

#[test]
fn each_end_of_a_connection_shows_its_name_and_takes_no_suite_but_those_of_aes_256() {
    let roots = roots(TENANT);
    for end in ends(TENANT) {
        let try_with = |offer: &[&str]| tls::handshake(lab(), &end, &roots, offer).unwrap();
        let agreed = try_with(&[]).unwrap_or_else(|| panic!("{}: no handshake", end.name));
        assert!(agreed.is_verified(), "{}: {}", end.name, agreed.verified);
        assert!(
            agreed.suite.contains("AES_256_GCM") || agreed.suite.contains("AES256-GCM"),
            "{}: {}",
            end.name,
            agreed.suite
        );
        println!("{}: {}", end.name, agreed.suite);
        for weak in [
            ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"].as_slice(),
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ] {
            assert_eq!(try_with(weak), None, "{} takes {weak:?}", end.name);
        }
        // Without the tenant's own roots it is nobody.
        let stranger = tls::handshake(lab(), &end, &self::roots(OTHER), &[]).unwrap();
        assert!(
            stranger.is_none_or(|agreed| !agreed.is_verified()),
            "{}",
            end.name
        );
    }
}

#[test]
fn nothing_is_answered_in_the_clear() {
    let ends = ends(TENANT);
    for end in ends
        .iter()
        .filter(|end| ["web", "application"].contains(&end.name))
    {
        for path in ["/", "/api/about", "/healthz", "/version"] {
            let url = format!("http://{}{path}", end.host);
            let answer = tls::ask(lab(), &url, end, &[]).unwrap();
            assert_eq!(answer, "000", "{}{path}", end.name);
        }
    }
    // Plain HTTP at the gateway is sent on, and serves nothing.
    let plain = kube::get(lab(), &["-n", "traefik", "service", "traefik"]).unwrap();
    let gateway = End {
        address: format!("{}:8000", plain["spec"]["clusterIP"].as_str().unwrap()),
        ..ends[0].clone()
    };
    let url = format!("http://{}/boards?a=b", gateway.host);
    let answer = tls::ask(lab(), &url, &gateway, &[]).unwrap();
    assert_eq!(answer, format!("301 https://{}:8443/boards?a=b", gateway.host));

    let database = &ends[3];
    let (address, port) = database.address.rsplit_once(':').unwrap();
    let namespace = namespace(TENANT);
    // CloudNativePG's own ends of it: how it is, and its metrics. All that those say in the clear is that they want TLS.
    let pods = kube::get(lab(), &["-n", &namespace, "pods", "-l", "cnpg.io/cluster=db"]).unwrap();
    for port in [8000, 9187] {
        let end = End {
            address: format!("{}:{port}", pods["items"][0]["status"]["podIP"].as_str().unwrap()),
            ..database.clone()
        };
        let ask = |scheme: &str| {
            let url = format!("{scheme}://{}/metrics", end.host);
            tls::ask(lab(), &url, &end, &["--insecure"]).unwrap()
        };
        assert_eq!(ask("http"), "400", "{port}");
        let encrypted = ask("https");
        assert!(
            !["000", "400"].contains(&encrypted.as_str()),
            "{port}: {encrypted}"
        );
    }
    let password = kube::secret(lab(), &namespace, "db-app", "password").unwrap();
    let connect = |more: &str| {
        let conninfo = format!(
            "host={} hostaddr={address} port={port} user=app dbname=app {more}",
            database.host
        );
        tls::psql(lab(), &conninfo, &password).unwrap()
    };
    let refused = connect("sslmode=disable").unwrap_err();
    assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");
    let trust = tls::file(lab(), "acme-roots", &roots(TENANT)).unwrap();
    let trust = format!("sslmode=verify-full sslrootcert={}", trust.display());
    assert_eq!(connect(&trust).as_deref(), Ok("1"));
    let other = tls::file(lab(), "globex-roots", &roots(OTHER)).unwrap();
    let refused = connect(&format!("sslmode=verify-full sslrootcert={}", other.display())).unwrap_err();
    assert!(refused.contains("certificate verify failed"), "{refused}");
}

#[test]
fn a_certificate_of_one_tenant_is_refused_by_another_at_every_tier() {
    let ends = ends(TENANT);
    let own = roots(TENANT);
    let trust = tls::file(lab(), "acme-roots", &own).unwrap();
    let (own_namespace, other_namespace) = (namespace(TENANT), namespace(OTHER));
    let api = &ends[2];
    let url = format!("https://{}/api/about", api.host);
    let ask = |identity: Option<(&str, &str)>| {
        let mut more = vec!["--cacert".to_owned(), trust.display().to_string()];
        if let Some((namespace, secret)) = identity {
            let [certificate, key, _] = tls::identity(lab(), namespace, secret).unwrap();
            more.extend(["--cert".to_owned(), certificate.display().to_string()]);
            more.extend(["--key".to_owned(), key.display().to_string()]);
        }
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        tls::ask(lab(), &url, api, &more).unwrap()
    };
    assert_eq!(ask(Some((&own_namespace, "web-tls"))), "200");
    assert_eq!(ask(None), "403", "the application tier asks who is there");
    assert_eq!(ask(Some((&other_namespace, "web-tls"))), "000");

    // To the gateway and to the web tier the other tenant's authority vouches for nobody here.
    for end in &ends[..2] {
        let agreed = tls::handshake(lab(), end, &roots(OTHER), &[]).unwrap();
        assert!(agreed.is_none_or(|agreed| !agreed.is_verified()), "{}", end.name);
    }

    // A replica of the other tenant's database is none of this one's.
    let database = &ends[3];
    let (address, port) = database.address.rsplit_once(':').unwrap();
    let replica = |namespace: &str| {
        let [certificate, key, _] = tls::identity(lab(), namespace, "replication-tls").unwrap();
        let conninfo = format!(
            "host={} hostaddr={address} port={port} user=streaming_replica dbname=postgres sslmode=verify-full \
             sslrootcert={} sslcert={} sslkey={}",
            database.host,
            trust.display(),
            certificate.display(),
            key.display()
        );
        tls::psql(lab(), &conninfo, "").unwrap()
    };
    assert_eq!(replica(&own_namespace).as_deref(), Ok("1"));
    let refused = replica(&other_namespace).unwrap_err();
    assert!(
        refused.contains("unknown ca") || refused.contains("connection"),
        "{refused}"
    );
}

/// What the gateway answers to a client that takes any certificate.
fn through_the_gateway(gateway: &End) -> String {
    let url = format!("https://{}/", gateway.host);
    tls::ask(lab(), &url, gateway, &["--insecure"]).unwrap()
}

/// Others in the place of a component's pods, to which nobody has a connection yet.
fn pods_anew(tenant: &str, component: &str) {
    let namespace = namespace(tenant);
    let own = format!("freehold.dev/component={component}");
    kube::kubectl(lab(), &["-n", &namespace, "delete", "pods", "-l", &own]).unwrap();
    let rolled = format!("deployment/{component}");
    kube::kubectl(
        lab(),
        &["-n", &namespace, "rollout", "status", &rolled, "--timeout=120s"],
    )
    .unwrap();
}

fn wait_for_ended(ends: &[End], trusted: &str) {
    for end in ends {
        let what = format!("{} to show a certificate that is over", end.name);
        kube::until(&what, 2 * MINUTE, || {
            let agreed = tls::handshake(lab(), end, trusted, &[])?;
            Ok(agreed
                .filter(|agreed| agreed.verified.contains("expired"))
                .map(drop))
        })
        .unwrap();
    }
}

fn wait_for_valid(ends: &[End], trusted: impl Fn() -> String) {
    for end in ends {
        let what = format!("{} to show one that is valid", end.name);
        kube::until(&what, 3 * MINUTE, || {
            let agreed = tls::handshake(lab(), end, &trusted(), &[])?;
            Ok(agreed.filter(tls::Agreed::is_verified).map(drop))
        })
        .unwrap();
    }
}

#[test]
fn certificates_that_expired_while_the_operator_was_away_are_renewed_at_its_next_start() {
    let guest = Guest::ready("phoenix", 1);
    let trusted = roots(guest.0);
    let ends = ends(guest.0);
    assert_eq!(through_the_gateway(&ends[0]), "200");
    let away = operator_away();
    // It begins a minute back, so it is over as soon as it is there.
    issue_each(guest.0, Timestamp::now(), 61);
    wait_for_ended(&ends, &trusted);
    // A connection that the gateway has kept from before goes on; it is about those that it makes now.
    pods_anew(guest.0, "web");
    // 502 to 504 would be a pod that it doesn't reach.
    kube::until("the gateway to refuse what it doesn't trust", MINUTE, || {
        Ok((through_the_gateway(&ends[0]) == "500").then_some(()))
    })
    .unwrap();
    for _ in 0..4 {
        assert_eq!(
            through_the_gateway(&ends[0]),
            "500",
            "it hands on to one that it doesn't trust"
        );
    }
    drop(away);
    let begin = Instant::now();
    wait_for_valid(&ends, || trusted.clone());
    wait_ready(guest.0, 3 * MINUTE);
    println!(
        "expired at every end, valid again {:.0} s after the operator's start",
        begin.elapsed().as_secs_f64()
    );

    // The authority as well: it can issue nothing, and another one takes its place.
    let away = operator_away();
    issue_each(guest.0, Timestamp::now(), 61);
    end_authority(guest.0);
    wait_for_ended(&ends, &trusted);
    drop(away);
    let begin = Instant::now();
    wait_for_valid(&ends, || roots(guest.0));
    assert_ne!(roots(guest.0), trusted);
    wait_ready(guest.0, 3 * MINUTE);
    assert_eq!(through_the_gateway(&ends[0]), "200");
    println!(
        "expired with their authority, valid again {:.0} s after the operator's start",
        begin.elapsed().as_secs_f64()
    );
}
