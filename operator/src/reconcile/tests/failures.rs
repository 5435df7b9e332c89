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
        channels: shell.context.channels.clone(),
        members: Arc::default(),
        config: RwLock::new(Config::default()),
        keys: None,
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

#[tokio::test]
async fn while_the_key_service_is_away_a_pass_waits_for_seconds_only() {
    let shell = Shell::new();
    let away = || MintError::Key {
        verb: "rotate",
        source: freehold_keys::KeyError::Unavailable("no answer".to_owned()),
    };
    let mut last = Action::await_change();
    for _ in 0..12 {
        let error = PassError::Apply(ApplyError::Mint(away()));
        last = on_error(shell.tenant(), &error, shell.context.clone());
    }
    assert_eq!(last, Action::requeue(KEY_SERVICE_BACKOFF_MAX));
}

impl Shell {
    /// Passes, some of which may fail, until none asks for anything.
    async fn rest(&self, over: impl Fn(&Self) -> bool) {
        for _ in 0..80 {
            let passed = reconcile(self.tenant(), self.context.clone()).await;
            let at_rest = passed.is_ok() && self.double.take_asked().is_empty();
            if over(self) && (at_rest || !self.is_held()) {
                return;
            }
            self.controllers();
            self.watches();
        }
        panic!("no rest: {:?}", self.blockers());
    }

    /// A whole life, in which the answer to one write is lost.
    async fn whole_life(policy: &str, lost: usize) -> Self {
        let shell = Self::new();
        shell.double.lose_answer(lost);
        shell
            .rest(|shell| !shell.paths_of("deployments").is_empty() && shell.double.object(EDGE).is_some())
            .await;
        shell.asks("acme", |spec| {
            spec["deletionProtection"] = false.into();
            spec["deletionPolicy"] = policy.into();
        });
        shell
            .rest(|shell| !shell.paths_of("tenantoperations").is_empty())
            .await;
        for path in shell.paths_of("tenantoperations") {
            let mut operation = shell.double.object(&path).unwrap();
            operation["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
            shell.double.plant(&path, operation);
        }
        shell.watches();
        shell.mark_deleted();
        shell.rest(|shell| !shell.is_held()).await;
        shell
    }

    /// Every `step`th write of a life.
    async fn every_answer_lost(policy: &str, step: usize) {
        let mut lost = 0;
        loop {
            let shell = Self::whole_life(policy, lost).await;
            assert_eq!(shell.operation()["status"]["phase"], "Succeeded", "{lost}");
            assert_eq!(shell.paths_of("tenantoperations").len(), 1, "{lost}");
            for path in [NAMESPACE, AUTHORITY, DATABASE] {
                let is_kept = shell.double.object(path).is_some();
                assert_eq!(is_kept, policy == "Retain", "{path} {lost}");
            }
            if !shell.double.has_lost_answer() {
                break;
            }
            lost += step;
        }
        assert!(lost > 40, "{lost}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_found_again_wherever_it_is() {
    Shell::every_answer_lost("Delete", 1).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_costs_no_data_that_is_kept() {
    Shell::every_answer_lost("Retain", 3).await;
}
