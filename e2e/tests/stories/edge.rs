//! Each hostname has a certificate of its own: clients that hold the `ca.crt` of before one was added, or given up, are served at the
//! others all the while.

use std::time::Duration;

use freehold_e2e::kube;
use freehold_e2e::prober::{EDGE, Prober};
use freehold_e2e::tls::{self, End};
use serde_json::json;

use crate::stage::{Guest, MINUTE, calm, change, lab, namespace, wait_ready};
use crate::succession::{bundle, is_verified};

const FIRST: &str = "widening.localhost";
/// Not below the first: the root of before would be for it, too.
const SECOND: &str = "widened.localhost";
/// After this a prober has seen every end at rest.
const REST: Duration = Duration::from_secs(10);

fn until_other_bundle(tenant: &str, before: &str) -> String {
    kube::until("the root to be issued anew", 2 * MINUTE, || {
        let now = bundle(tenant);
        Ok((now != before).then_some(now))
    })
    .unwrap()
}

#[test]
fn a_hostname_comes_and_goes_and_a_client_with_the_root_of_before_is_never_refused_at_the_other() {
    calm();
    let guest = Guest::ready("widening", 1);
    let place = namespace(guest.0);
    let certificate = |secret: &str| kube::secret(lab(), &place, secret, "tls.crt").unwrap();
    let first = tls::ends(lab(), guest.0).unwrap().remove(0);
    let second = End {
        host: SECOND.to_owned(),
        ..first.clone()
    };
    let old = bundle(guest.0);
    let before = certificate("edge-tls");
    let prober = Prober::start_trusting(lab(), guest.0, &old).unwrap();
    std::thread::sleep(REST);

    change(guest.0, &json!({"hostnames": [FIRST, SECOND]}));
    let wide = until_other_bundle(guest.0, &old);
    kube::until("the other hostname to be served", 2 * MINUTE, || {
        Ok(is_verified(&second, &wide).then_some(()))
    })
    .unwrap();
    wait_ready(guest.0, MINUTE);
    assert!(
        !is_verified(&second, &old),
        "the root of before is not for {SECOND}"
    );
    assert!(is_verified(&first, &old) && is_verified(&first, &wide));
    assert_eq!(certificate("edge-tls"), before);
    assert_ne!(certificate("edge-tls-1"), before);
    std::thread::sleep(REST);

    change(guest.0, &json!({"hostnames": [FIRST]}));
    let narrow = until_other_bundle(guest.0, &wide);
    wait_ready(guest.0, MINUTE);
    assert!(!is_verified(&second, &narrow), "{SECOND} was given up");
    assert!(is_verified(&first, &old) && is_verified(&first, &narrow));
    std::thread::sleep(REST);

    let report = prober.stop().unwrap();
    println!("{report}");
    report.flawless().unwrap();
    let lane = report.lane(EDGE).unwrap();
    assert_eq!(lane.leaves.len(), 1, "{FIRST} was shown with {:?}", lane.leaves);
}
