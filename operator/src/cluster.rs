//! The API server, as the shell sees it: an `Api` for each kind of the table, and what its refusals mean.

use freehold_plan::{Id, Kind};
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::{Client, Error};

/// The API for a kind, in a namespace or in the whole cluster when it is empty.
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    let resource = resource(kind);
    if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// The API in which an object lies.
pub fn api_of(client: &Client, id: &Id) -> Api<DynamicObject> {
    api(client, id.kind, &id.namespace)
}

/// A kind in the client's form.
pub fn resource(kind: Kind) -> ApiResource {
    let row = kind.row();
    ApiResource {
        group: row.group.to_owned(),
        version: row.version.to_owned(),
        api_version: kind.api_version(),
        kind: row.kind.to_owned(),
        plural: row.plural.to_owned(),
    }
}

/// What a refusal means for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    AlreadyExists,
    /// Somebody else was quicker, or the uid is another's.
    Conflict,
    /// The object itself is wrong, or not allowed: trying again gives the same answer.
    Invalid,
    /// Rights that were just given may not be known everywhere yet.
    Forbidden,
    /// Everything else: worth another try later.
    Other,
}

/// Reads a refusal.
pub fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Api(status) => match (status.code, status.reason.as_str()) {
            (404, _) => Refusal::NotFound,
            (409, "AlreadyExists") => Refusal::AlreadyExists,
            (409, _) => Refusal::Conflict,
            (400 | 422, _) => Refusal::Invalid,
            (403, _) => Refusal::Forbidden,
            _ => Refusal::Other,
        },
        _ => Refusal::Other,
    }
}

/// How long the API server asked us to wait, if it did.
pub fn retry_after(error: &Error) -> Option<std::time::Duration> {
    match error {
        Error::Api(status) => status
            .details
            .as_ref()
            .map(|details| u64::from(details.retry_after_seconds))
            .filter(|seconds| *seconds > 0)
            .map(std::time::Duration::from_secs),
        _ => None,
    }
}
