//! In: a request's JSON body. Out: the typed value, or a [`Problem`] that says what is wrong with it.

use crate::problem::Problem;
use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
};
use serde::de::DeserializeOwned;

pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::NotJson),
            Err(rejection) => Err(Problem::Invalid(rejection.body_text())),
        }
    }
}

/// A text as people type it: without blanks around it, between 1 and `longest` characters.
pub fn text(what: &str, given: &str, longest: usize) -> Result<String, Problem> {
    let text = given.trim();
    match text.chars().count() {
        0 => Err(Problem::Invalid(format!("{what} must not be empty"))),
        length if length > longest => Err(Problem::Invalid(format!(
            "{what} must be at most {longest} characters long"
        ))),
        _ if text.contains('\0') => Err(Problem::Invalid(format!("{what} must not hold a NUL"))),
        _ => Ok(text.to_owned()),
    }
}

/// Enough of an e-mail address to send to; whether it exists shows when it is used.
pub fn email(given: &str) -> Result<String, Problem> {
    let email = text("the e-mail address", given, 254)?;
    let sane = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !sane || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::Invalid(format!("{email:?} is not an e-mail address")));
    }
    Ok(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_bounded() {
        assert_eq!(text("a name", "  Ada ", 3).unwrap(), "Ada");
        assert!(text("a name", " ", 3).is_err());
        assert!(text("a name", "Adaa", 3).is_err());
        assert!(text("a name", "a\0", 3).is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(email(" a@b ").unwrap(), "a@b");
        for wrong in ["", "a", "@b", "a@", "a b@c"] {
            assert!(email(wrong).is_err(), "{wrong}");
        }
    }
}
