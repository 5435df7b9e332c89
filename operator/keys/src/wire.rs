//! Between the crate's types and the messages of the protocol. In: either. Out: the other, checked.
//!
//! Invariant: an error crosses the wire as what it was. A status that doesn't name its case comes from what lies
//! between, and is never taken for a word about a key.

use std::fmt;

use jiff::Timestamp;
use tonic::{Code, Status};
use zeroize::Zeroize;

use crate::{Context, Destroyed, KeyError, KeyName, State, Version, Wrapped};

/// The messages, generated from `proto/keys.proto`.
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_debug_implementations,
    reason = "generated"
)]
pub(crate) mod proto {
    tonic::include_proto!("freehold.keys.v1");
}

impl fmt::Debug for proto::UnwrapReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnwrapReply({} bytes)", self.plain.len())
    }
}

/// The encoded message and the connection's buffers keep their copies until they are used again: nothing to be done
/// from here.
impl Drop for proto::UnwrapReply {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

/// The metadata entry that names the case of an error.
const CASE: &str = "freehold-error";

impl KeyError {
    /// Its name on the wire, its nearest gRPC code, and what it is about.
    fn parts(&self) -> (&'static str, Code, &str) {
        match self {
            Self::NotFound(about) => ("not-found", Code::NotFound, about),
            Self::Destroyed(about) => ("destroyed", Code::FailedPrecondition, about),
            Self::Refused(about) => ("refused", Code::FailedPrecondition, about),
            Self::Unavailable(about) => ("unavailable", Code::Unavailable, about),
            Self::Corrupt(about) => ("corrupt", Code::DataLoss, about),
            Self::Conflict(about) => ("conflict", Code::Aborted, about),
            Self::Invalid(about) => ("invalid", Code::InvalidArgument, about),
            Self::Unauthenticated(about) => ("unauthenticated", Code::Unauthenticated, about),
            Self::Forbidden(about) => ("forbidden", Code::PermissionDenied, about),
        }
    }

    /// Its name, for logs.
    pub fn case(&self) -> &'static str {
        self.parts().0
    }
}

impl From<KeyError> for Status {
    fn from(error: KeyError) -> Self {
        let (case, code, about) = error.parts();
        let mut status = Self::new(code, about);
        if let Ok(case) = case.parse() {
            status.metadata_mut().insert(CASE, case);
        }
        status
    }
}

impl From<Status> for KeyError {
    fn from(status: Status) -> Self {
        let about = status.message().to_owned();
        match status.metadata().get(CASE).and_then(|case| case.to_str().ok()) {
            Some("not-found") => Self::NotFound(about),
            Some("destroyed") => Self::Destroyed(about),
            Some("refused") => Self::Refused(about),
            Some("corrupt") => Self::Corrupt(about),
            Some("conflict") => Self::Conflict(about),
            Some("invalid") => Self::Invalid(about),
            Some("unauthenticated") => Self::Unauthenticated(about),
            Some("forbidden") => Self::Forbidden(about),
            Some("unavailable") => Self::Unavailable(about),
            _ => Self::Unavailable(told(&status)),
        }
    }
}

/// What a status says, with its causes: `transport error` alone helps nobody.
fn told(status: &Status) -> String {
    let mut text = format!("{}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<&Context> for proto::Context {
    fn from(context: &Context) -> Self {
        Self {
            incarnation: context.incarnation().to_owned(),
            purpose: context.purpose().as_str().to_owned(),
            id: context.id().to_owned(),
        }
    }
}

impl TryFrom<proto::Context> for Context {
    type Error = KeyError;

    fn try_from(message: proto::Context) -> Result<Self, KeyError> {
        Self::new(&message.incarnation, message.purpose.parse()?, &message.id)
    }
}

/// The context of a request, which none may lack.
pub(crate) fn context(message: Option<proto::Context>) -> Result<Context, KeyError> {
    message
        .ok_or_else(|| KeyError::Invalid("there is no context".into()))?
        .try_into()
}

/// The key of a request.
pub(crate) fn key(text: &str) -> Result<KeyName, KeyError> {
    text.parse()
}

/// A wrapped key of a request or an answer.
pub(crate) fn wrapped(version: u32, bytes: Vec<u8>) -> Result<Wrapped, KeyError> {
    if version == 0 || bytes.is_empty() {
        return Err(KeyError::Invalid("there is no wrapped key".into()));
    }
    Ok(Wrapped { version, bytes })
}

impl From<Wrapped> for proto::WrappedReply {
    fn from(wrapped: Wrapped) -> Self {
        Self {
            version: wrapped.version,
            wrapped: wrapped.bytes,
        }
    }
}

impl From<Version> for proto::Version {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            created_at: version.created_at.as_second(),
            destroyed_at: match version.state {
                State::Enabled => None,
                State::Destroyed { at } => Some(at.as_second()),
            },
        }
    }
}

impl TryFrom<proto::Version> for Version {
    type Error = KeyError;

    fn try_from(message: proto::Version) -> Result<Self, KeyError> {
        let destroyed = message.destroyed_at.map(time).transpose()?;
        if message.number == 0 {
            return Err(unreadable("a version has no number"));
        }
        Ok(Self {
            number: message.number,
            created_at: time(message.created_at)?,
            state: destroyed.map_or(State::Enabled, |at| State::Destroyed { at }),
        })
    }
}

/// The version of an answer, which none may lack.
pub(crate) fn version(message: Option<proto::Version>) -> Result<Version, KeyError> {
    message
        .ok_or_else(|| unreadable("there is no version"))?
        .try_into()
}

/// The versions of an answer.
pub(crate) fn versions(messages: Vec<proto::Version>) -> Result<Vec<Version>, KeyError> {
    messages.into_iter().map(Version::try_from).collect()
}

impl From<Destroyed> for proto::DestroyReply {
    fn from(destroyed: Destroyed) -> Self {
        Self {
            destroyed: destroyed.versions.into_iter().map(Into::into).collect(),
            evidence: destroyed.evidence,
        }
    }
}

fn time(seconds: i64) -> Result<Timestamp, KeyError> {
    Timestamp::from_second(seconds).map_err(|_| unreadable("a time is out of range"))
}

/// An answer that makes no sense says nothing about the keys.
pub(crate) fn unreadable(what: &str) -> KeyError {
    KeyError::Unavailable(format!("the answer can't be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_crosses_the_wire_as_what_it_was() {
        let about = || String::from("acme, version 2");
        for error in [
            KeyError::NotFound(about()),
            KeyError::Destroyed(about()),
            KeyError::Refused(about()),
            KeyError::Unavailable(about()),
            KeyError::Corrupt(about()),
            KeyError::Conflict(about()),
            KeyError::Invalid(about()),
            KeyError::Unauthenticated(about()),
            KeyError::Forbidden(about()),
        ] {
            assert_eq!(KeyError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn a_status_from_what_lies_between_says_nothing_about_keys() {
        for code in (0..=16).map(Code::from_i32) {
            let error = KeyError::from(Status::new(code, "from a proxy"));
            assert!(matches!(error, KeyError::Unavailable(_)), "{code}: {error}");
        }
    }

    #[test]
    fn a_plain_key_is_not_in_debug_output() {
        let reply = proto::UnwrapReply { plain: vec![171; 32] };
        assert_eq!(format!("{reply:?}"), "UnwrapReply(32 bytes)");
    }
}
