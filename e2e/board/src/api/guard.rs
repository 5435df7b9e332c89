//! In: each request of the api. Out: a refusal, unless it is a read, or JSON from a page of this host; and with single
//! sign-on, for whatever takes a password; and with TLS, unless it comes from a tier of this instance.
//!
//! Against requests that another site makes a browser send, together with `SameSite=Strict`: a foreign form can't send
//! JSON, a foreign script can't without a preflight that nobody answers, and a browser names where it comes from.
//! Programs that send no `Origin` are no browsers.

use super::App;
use crate::{problem::Problem, tls::Peer};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

pub async fn same_origin(request: Request, next: Next) -> Response {
    match check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

pub async fn passwords_allowed(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match app.settings.get().sso.clone() {
        Some(sso) => Err(Problem::SingleSignOn(sso.endpoint)),
        None => Ok(next.run(request).await),
    }
}

/// For all but what probes ask: those have no certificate.
pub async fn certified(request: Request, next: Next) -> Result<Response, Problem> {
    match Peer::is_certified(&request) {
        true => Ok(next.run(request).await),
        false => Err(Problem::Forbidden("this address needs a client certificate")),
    }
}

fn check(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let get = |name| {
        headers
            .get(name)
            .and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    let host = get(header::HOST);
    if headers.contains_key(header::ORIGIN) {
        let origin = get(header::ORIGIN).and_then(|origin| origin.split_once("://"));
        if origin.map(|(_, authority)| authority) != host || host.is_none() {
            return Err(Problem::Forbidden("this request comes from another site"));
        }
    } else if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return Err(Problem::Forbidden("this request comes from another site"));
    }
    let kind = get(header::CONTENT_TYPE)
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    if *method != Method::DELETE && !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::NotJson);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(method: Method, given: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, value.parse().unwrap());
        }
        check(&method, &headers).is_ok()
    }

    #[test]
    fn only_json_of_this_host_may_change_anything() {
        let host = ("host", "acme.localhost:8443");
        let json = ("content-type", "application/json");
        assert!(allowed(Method::GET, &[host, ("origin", "https://evil.example")]));
        assert!(allowed(Method::POST, &[host, json]));
        assert!(allowed(
            Method::POST,
            &[host, json, ("origin", "https://acme.localhost:8443")]
        ));
        assert!(!allowed(
            Method::POST,
            &[host, json, ("origin", "https://evil.example")]
        ));
        assert!(!allowed(
            Method::POST,
            &[host, json, ("origin", "https://acme.localhost")]
        ));
        assert!(!allowed(Method::POST, &[host, json, ("origin", "null")]));
        assert!(!allowed(
            Method::POST,
            &[host, json, ("sec-fetch-site", "cross-site")]
        ));
        assert!(!allowed(Method::POST, &[host, ("content-type", "text/plain")]));
        assert!(!allowed(Method::POST, &[host]));
        assert!(allowed(Method::DELETE, &[host]));
        assert!(!allowed(
            Method::DELETE,
            &[host, ("origin", "https://evil.example")]
        ));
    }
}
