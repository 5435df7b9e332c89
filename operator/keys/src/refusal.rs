//! What the API server's answers mean for keys. In: an error of the client. Out: the case, without the body of the
//! answer, which may hold a Secret.

use kube::Error;

use crate::KeyError;

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Did<'a> {
    pub verb: &'static str,
    pub kind: &'static str,
    pub namespace: &'a str,
    pub name: &'a str,
}

pub(crate) fn failed(did: Did<'_>, error: &Error) -> KeyError {
    let Did {
        verb,
        kind,
        namespace,
        name,
    } = did;
    let what = format!("can't {verb} {kind} {namespace}/{name}");
    match error {
        Error::Api(status) if status.code == 409 => KeyError::Conflict(format!("{what}: {}", status.reason)),
        // Gone in between: the next look says what is there.
        Error::Api(status) if status.code == 404 && verb == "update" => {
            KeyError::Conflict(format!("{what}: {}", status.reason))
        }
        Error::Api(status) => KeyError::Unavailable(format!("{what}: {} {}", status.code, status.reason)),
        _ => KeyError::Unavailable(format!("{what}: the API server does not answer")),
    }
}
