//! `/readyz` of the api: 200 when the database answers and its schema is at least what this version needs.
//!
//! A database that answered a moment ago may be failing over: requests are tried again for that long anyway, and taking
//! every replica away at once would only add the probe's delay to the gap. So it stays ready for [`GRACE`].

use super::App;
use crate::version::SCHEMA;
use axum::{extract::State, http::StatusCode};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

const GRACE: Duration = Duration::from_secs(10);
/// The kubelet waits 1 s by default.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// When the database last answered with a schema that is new enough.
#[derive(Default)]
pub struct Readiness(Mutex<Option<Instant>>);

impl Readiness {
    fn good(&self) {
        if let Ok(mut last) = self.0.lock() {
            *last = Some(Instant::now());
        }
    }

    fn age(&self) -> Option<Duration> {
        self.0.lock().ok()?.map(|last| last.elapsed())
    }
}

pub async fn ready(State(app): State<App>) -> (StatusCode, String) {
    let not_ready = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
    if app.draining.get() {
        return not_ready("stopping".to_owned());
    }
    let problem = match tokio::time::timeout(ANSWER_WITHIN, app.database.schema_version()).await {
        Ok(Ok(Some(version))) if version >= SCHEMA => {
            app.readiness.good();
            return (StatusCode::OK, "ok\n".to_owned());
        }
        Ok(Ok(Some(version))) => {
            return not_ready(format!(
                "the schema is {version}, this version needs {SCHEMA}: migrate has not run"
            ));
        }
        Ok(Ok(None)) => return not_ready("the database has no schema yet: migrate has not run".to_owned()),
        Ok(Err(problem)) => problem.to_string(),
        Err(_) => format!(
            "the database did not answer within {} ms",
            ANSWER_WITHIN.as_millis()
        ),
    };
    match app.readiness.age() {
        Some(age) if age < GRACE => {
            tracing::warn!(problem, "the database is away, staying ready for now");
            (
                StatusCode::OK,
                format!("the database last answered {} s ago\n", age.as_secs()),
            )
        }
        _ => not_ready(problem),
    }
}
