//! Who a token is, from the API server. In: a token. Out: a username. Client required.
//!
//! Invariants: a token counts only if it was made for this service; an answer is kept for a minute at most, under the
//! token's hash; a refusal is never kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;

use crate::refusal::{Did, failed};
use crate::{AUDIENCE, KeyError};

/// For how long a caller stays known whose token was taken back.
const KEPT: Duration = Duration::from_secs(60);
/// Callers that are kept: a driver on each of so many nodes.
const KEPT_MAX: usize = 4096;
/// Bytes of a token.
const TOKEN_MAX: usize = 8 * 1024;

type Hash = [u8; 32];

/// See the module.
pub struct Reviewer {
    api: Api<TokenReview>,
    known: Mutex<HashMap<Hash, (String, Instant)>>,
}

impl fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reviewer")
    }
}

impl Reviewer {
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
            known: Mutex::default(),
        }
    }

    /// The username behind a token.
    pub async fn who(&self, token: &str) -> Result<String, KeyError> {
        if token.is_empty() || token.len() > TOKEN_MAX {
            return Err(KeyError::Unauthenticated("that is no token".into()));
        }
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(who) = self.remembered(&hash) {
            return Ok(who);
        }
        let asked = Instant::now();
        let who = self.ask(token).await?;
        self.remember(hash, &who, asked);
        Ok(who)
    }

    async fn ask(&self, token: &str) -> Result<String, KeyError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let did = Did {
            verb: "create",
            kind: "TokenReview",
            namespace: "",
            name: "",
        };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let status = answer
            .map_err(|error| failed(did, &error))?
            .status
            .unwrap_or_default();
        // An API server that knows no audiences answers without them.
        let for_us = status
            .audiences
            .unwrap_or_default()
            .iter()
            .any(|found| found == AUDIENCE);
        let username = status.user.and_then(|user| user.username).unwrap_or_default();
        if status.authenticated != Some(true) || !for_us || username.is_empty() {
            return Err(KeyError::Unauthenticated(format!(
                "the API server does not take the token: it is wrong, expired, or not made for the audience {AUDIENCE}"
            )));
        }
        Ok(username)
    }

    fn remembered(&self, hash: &Hash) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (who, asked) = known.get(hash)?;
        (asked.elapsed() < KEPT).then(|| who.clone())
    }

    fn remember(&self, hash: Hash, who: &str, asked: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT_MAX {
            known.retain(|_, (_, asked)| asked.elapsed() < KEPT);
        }
        if known.len() < KEPT_MAX {
            known.insert(hash, (who.to_owned(), asked));
        }
    }
}
