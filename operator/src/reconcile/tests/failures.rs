//! Refusals and silence.

use super::*;

#[tokio::test]
async fn a_write_that_keeps_being_forbidden_or_failing_is_named_until_it_goes_through() {
    let shell = Shell::new();
    for _ in 0..3 {
        shell.pass().await;
    }
    let web = format!("{NAMESPACE}/services/web");
    for code in [403, 503] {
        shell.double.refuse(http::Method::PATCH, &web, code);
        shell.by_hand(Kind::Service, &web, |service| {
            service["spec"]["ports"][0]["port"] = 1.into();
        });
        let mut named = Vec::new();
        for wait in [0, 0, 2100, 0] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            assert!(reconcile(shell.tenant(), shell.context.clone()).await.is_err());
            named.push(shell.blockers().iter().any(|told| told.contains("refuses")));
        }
        // The report of the pass after the third failure says it.
        assert_eq!(named, [false, false, false, true], "{code}");
        shell.double.relent();
        shell.pass().await;
        shell.pass().await;
        assert_eq!(shell.blockers(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_without_an_answer_ends() {
    let shell = Shell::new();
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<
            Result<http::Response<http_body_util::Full<bytes::Bytes>>, std::convert::Infallible>,
        >()
    });
    let context = Context {
        client: Client::new(service, "default"),
        store: shell.context.store.clone(),
        classes: shell.context.classes.clone(),
        releases: shell.context.releases.clone(),
        config: RwLock::new(Config::default()),
        identity: "test".to_owned(),
        metrics: Metrics::default(),
    };
    let ended = reconcile(shell.tenant(), Arc::new(context)).await;
    assert!(matches!(ended, Err(PassError::TimedOut)));
}

#[test]
fn failures_are_retried_soon_then_later_and_not_in_step() {
    assert!(backoff("acme", 1) < Duration::from_millis(130));
    assert!(backoff("acme", 4) > backoff("acme", 1));
    assert!(backoff("acme", 1000) <= BACKOFF_MAX.mul_f64(1.25));
    assert_ne!(backoff("acme", 3), backoff("globex", 3));
}
