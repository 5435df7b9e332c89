//! Why a call was not done, and which CSI code says so. Texts hold no key material.

use std::io;

use freehold_keys::KeyError;
use tonic::{Code, Status};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no volume {0:?}")]
    NoVolume(String),
    #[error("there is nothing of volume {volume} at {path}")]
    NoPath { volume: String, path: String },
    #[error("volume {volume} is there already, with {found}")]
    Different { volume: String, found: String },
    #[error("{0} bytes is not a size that a volume can have")]
    Size(i64),
    /// The code that CSI wants for a page that isn't there.
    #[error("{0:?} is not where a listing can go on")]
    Token(String),
    #[error("volume {volume} is in use by {holder}; it is free once that has let go of it")]
    Held { volume: String, holder: String },
    #[error("volume {volume}: {state}")]
    State { volume: String, state: String },
    #[error("another call works on volume {0}")]
    Busy(String),
    #[error("{act}: {source}")]
    Io { act: String, source: io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Failure {
    /// For `map_err`: what was tried, in words.
    pub fn io<E: Into<io::Error>>(act: impl Into<String>) -> impl FnOnce(E) -> Failure {
        let act = act.into();
        move |error| Failure::Io {
            act,
            source: error.into(),
        }
    }

    pub fn state(volume: &str, state: impl Into<String>) -> Failure {
        Failure::State {
            volume: volume.to_owned(),
            state: state.into(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Failure::Invalid(_) => Code::InvalidArgument,
            Failure::NoVolume(_) | Failure::NoPath { .. } => Code::NotFound,
            Failure::Different { .. } => Code::AlreadyExists,
            Failure::Size(_) => Code::OutOfRange,
            Failure::Token(_) | Failure::Busy(_) => Code::Aborted,
            Failure::Held { .. } | Failure::State { .. } => Code::FailedPrecondition,
            Failure::Io { .. } => Code::Internal,
            Failure::Key(error) => match error {
                KeyError::Unavailable(_) => Code::Unavailable,
                KeyError::Invalid(_) => Code::InvalidArgument,
                KeyError::Unauthenticated(_) => Code::Unauthenticated,
                KeyError::Forbidden(_) => Code::PermissionDenied,
                KeyError::NotFound(_)
                | KeyError::Destroyed(_)
                | KeyError::Refused(_)
                | KeyError::Corrupt(_)
                | KeyError::Conflict(_) => Code::FailedPrecondition,
            },
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        Status::new(failure.code(), failure.to_string())
    }
}
