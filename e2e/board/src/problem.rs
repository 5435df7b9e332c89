//! In: why a request can't be served. Out: its status and a JSON body `{"error": …}` that a person can act on.
//!
//! Invariant: what the database or the system said goes to the log, never to the client.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::json;

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Invalid(String),
    #[error("sign in first")]
    SignedOut,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Conflict(String),
    #[error("this link was used already, has expired, or was never valid")]
    DeadLink,
    #[error("too many wrong passwords, the account is locked: try again in {} min", .seconds.div_ceil(60))]
    Locked { seconds: u64 },
    #[error("passwords are not used here: sign in at your identity provider, {0}")]
    SingleSignOn(String),
    #[error("send application/json")]
    NotJson,
    /// The database refused a statement; the transaction did not commit.
    #[error("the database refused a statement: {0}")]
    Statement(#[from] tokio_postgres::Error),
    /// Nothing is known to be wrong with the request; trying again later may help.
    #[error("{reason}")]
    Unavailable { reason: String },
    #[error("{0}")]
    Internal(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::SingleSignOn(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::DeadLink => StatusCode::GONE,
            Self::Locked { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Statement(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Locked { seconds } => Some(*seconds),
            Self::Unavailable { .. } => Some(2),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = match &self {
            Self::Statement(error) => {
                tracing::error!(error = ?error, "statement refused");
                "something went wrong on our side".to_owned()
            }
            Self::Internal(reason) => {
                tracing::error!(reason, "internal error");
                "something went wrong on our side".to_owned()
            }
            Self::Unavailable { reason } => {
                tracing::warn!(reason, "answered 503");
                "temporarily unavailable, try again shortly".to_owned()
            }
            other => other.to_string(),
        };
        let mut response = (status, Json(json!({ "error": message }))).into_response();
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
