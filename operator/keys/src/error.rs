//! Why the key service did not do something: the cases that a caller must tell apart.

/// Each with what it is about, in words that hold no key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key or the version was never there.
    #[error("there is no such key: {0}")]
    NotFound(String),
    /// It was there, and was destroyed for good.
    #[error("the key is destroyed: {0}")]
    Destroyed(String),
    /// The ciphertext is not one of this key, version and context: changed, or copied from elsewhere.
    #[error("the wrapped key does not open: {0}")]
    Refused(String),
    /// No answer, or none in time. Asking again later may work.
    #[error("the keys are out of reach: {0}")]
    Unavailable(String),
    /// State is there and can't be read. It is NEVER replaced by a new one: somebody has to restore it.
    #[error("the keys can't be read: {0}")]
    Corrupt(String),
    /// Somebody else changed it at the same time, or the act doesn't fit its state.
    #[error("that does not fit the key's state: {0}")]
    Conflict(String),
    /// The request itself is wrong.
    #[error("the request is wrong: {0}")]
    Invalid(String),
    /// The caller is not known: its token is wrong, expired, or meant for somebody else.
    #[error("the caller is not known: {0}")]
    Unauthenticated(String),
    /// The caller is known, and may not do that.
    #[error("the caller may not do that: {0}")]
    Forbidden(String),
}

/// The beginning of something that a caller sent, for an error.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}
