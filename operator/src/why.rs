//! `freehold why NAME`: how a tenant is, in words. In: the Tenant, read with the user's own rights. Out: text or JSON, and an
//! exit code.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use freehold_crds::{Tenant, TenantStatus};
use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde::Serialize;

use crate::cli::print;
use crate::run::install_crypto;

/// The tenant can't be read.
const UNREAD: u8 = 2;

/// What is asked.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The tenant's name.
    pub name: String,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Text,
    Json,
}

/// How a tenant is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Why {
    tenant: String,
    ready: bool,
    /// None when nothing is reported about it.
    serving: Option<bool>,
    /// Why it is or is not ready.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<Under>,
    blockers: Vec<Blocked>,
    /// Conditions that are not true.
    conditions: Vec<Open>,
    /// The spec was changed, and the operator has not reported about it yet.
    behind: bool,
}

/// An operation that is under way or announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Under {
    name: String,
    what: String,
    phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blocked {
    reason: String,
    message: String,
    since: Timestamp,
    unblocked_by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    since: Timestamp,
}

pub fn main(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let tenant = match read(&args.name) {
        Ok(tenant) => tenant,
        Err(error) => {
            // The client says each cause again in the one around it.
            eprintln!("freehold: {error}: {}", error.root_cause());
            return Ok(ExitCode::from(UNREAD));
        }
    };
    let why = why(&tenant);
    match args.output {
        Form::Text => print(&text(&why, Timestamp::now()))?,
        Form::Json => print(&format!("{}\n", serde_json::to_string_pretty(&why)?))?,
    }
    Ok(if why.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(name: &str) -> anyhow::Result<Tenant> {
    install_crypto()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::try_default()
            .await
            .context("no way to the API server is known: is KUBECONFIG set?")?;
        let tenants: Api<Tenant> = Api::all(client);
        tenants
            .get(name)
            .await
            .with_context(|| format!("can't read the tenant {name}"))
    })
}

fn why(tenant: &Tenant) -> Why {
    let none = TenantStatus::default();
    let status = tenant.status.as_ref().unwrap_or(&none);
    let condition = |kind: &str| status.conditions.iter().find(|found| found.type_ == kind);
    let ready = condition("Ready");
    // Some are not true when all is well, and say so by being false.
    let good = |kind: &str, status: &str| match kind {
        "Ready" => true,
        "Reconciling" | "Stalled" => status == "False",
        _ => status == "True",
    };
    Why {
        tenant: tenant.name_any(),
        ready: ready.is_some_and(|found| found.status == "True"),
        serving: condition("Serving").map(|found| found.status == "True"),
        message: ready.map_or_else(
            || "the operator has not reported about it yet: is it running?".to_owned(),
            |found| found.message.clone(),
        ),
        url: status.url.clone(),
        version: status.version.clone(),
        operation: status.operation.as_ref().map(|operation| Under {
            name: operation.name.clone(),
            what: format!("{:?}", operation.r#type),
            phase: format!("{:?}", operation.phase),
            step: operation.step.clone(),
        }),
        blockers: status
            .blockers
            .iter()
            .map(|blocker| Blocked {
                reason: blocker.reason.clone(),
                message: blocker.message.clone(),
                since: blocker.since.0,
                unblocked_by: blocker.unblocked_by.clone(),
            })
            .collect(),
        conditions: status
            .conditions
            .iter()
            .filter(|found| !good(&found.type_, &found.status))
            // A blocker has said it, with more words.
            .filter(|found| {
                !status
                    .blockers
                    .iter()
                    .any(|blocker| blocker.reason == found.reason)
            })
            .map(|found| Open {
                r#type: found.type_.clone(),
                status: found.status.clone(),
                reason: found.reason.clone(),
                message: found.message.clone(),
                since: found.last_transition_time.0,
            })
            .collect(),
        behind: tenant.status.is_some() && status.observed_generation < tenant.metadata.generation,
    }
}

fn text(why: &Why, now: Timestamp) -> String {
    let Why {
        tenant,
        ready,
        serving,
        message,
        url,
        version,
        operation,
        blockers,
        conditions,
        behind,
    } = why;
    let mut text = String::new();
    let serves = match serving {
        Some(true) => ", and serves",
        Some(false) => ", and does not serve",
        None => "",
    };
    let is = if *ready { "is Ready" } else { "is not Ready" };
    // Writing into a String can't fail.
    let _ = writeln!(text, "{tenant} {is}{serves}: {message}");
    if *behind {
        let _ = writeln!(
            text,
            "Its spec was changed, and the operator has not reported about it yet."
        );
    }
    if let Some(url) = url {
        let version = version
            .as_ref()
            .map_or_else(String::new, |version| format!(", version {version}"));
        let _ = writeln!(text, "{url}{version}");
    }
    if let Some(Under {
        name,
        what,
        phase,
        step,
    }) = operation
    {
        let step = step
            .as_ref()
            .map_or_else(String::new, |step| format!(", step {step}"));
        let _ = writeln!(text, "\n{what}: {phase}{step} (TenantOperation {name})");
    }
    if !blockers.is_empty() {
        let _ = writeln!(text, "\nWhat it waits for:");
    }
    for Blocked {
        reason,
        message,
        since,
        unblocked_by,
    } in blockers
    {
        let since = ago(now.duration_since(*since));
        let _ = writeln!(
            text,
            "  {reason}, since {since}\n    {message}\n    ends by: {unblocked_by}"
        );
    }
    if !conditions.is_empty() {
        let _ = writeln!(text, "\nWhat is not so:");
    }
    for Open {
        r#type,
        status,
        reason,
        message,
        since,
    } in conditions
    {
        let since = ago(now.duration_since(*since));
        let _ = writeln!(
            text,
            "  {type} is {status} ({reason}), since {since}\n    {message}",
            type = r#type
        );
    }
    text
}

/// Two units at most: nobody asks for the seconds of a day.
pub fn ago(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |number: i64, unit: &str, rest: i64, smaller: &str| {
        if rest == 0 {
            format!("{number} {unit}")
        } else {
            format!("{number} {unit} {rest} {smaller}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => two(minutes, "min", seconds % 60, "s"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tenant(status: &serde_json::Value) -> Tenant {
        serde_json::from_value(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant",
            "metadata": {"name": "acme", "generation": 3},
            "spec": {
                "displayName": "Acme", "owner": {"email": "owner@acme.example"}, "seats": 1, "region": "local",
                "className": "standard", "release": {"name": "board-1.0.0"}, "hostnames": ["acme.example"],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2027-01-15T06:00:00Z",
        })
    }

    fn now() -> Timestamp {
        "2027-01-15T08:05:00Z".parse().unwrap()
    }

    #[test]
    fn a_tenant_that_waits_says_for_what_since_when_and_what_ends_it() {
        let why = why(&tenant(&json!({
            "observedGeneration": 3,
            "url": "https://acme.example",
            "conditions": [
                condition("Ready", "False", "HostnameTaken", "the hostname is another's"),
                condition("Serving", "False", "NoRoute", "no route leads to the product"),
                condition("Reconciling", "True", "Waiting", "something is waited for"),
                condition("Stalled", "False", "Ok", ""),
                condition("NamespaceReady", "True", "Ready", ""),
            ],
            "blockers": [{
                "reason": "HostnameTaken", "message": "the hostname acme.example belongs to another tenant",
                "since": "2027-01-15T08:03:20Z", "unblockedBy": "name another hostname",
            }],
            "operation": {"name": "acme-deletion-1", "type": "Deletion", "phase": "Pending"},
        })));
        assert!(!why.ready);
        assert_eq!(
            text(&why, now()),
            "acme is not Ready, and does not serve: the hostname is another's\n\
             https://acme.example\n\
             \n\
             Deletion: Pending (TenantOperation acme-deletion-1)\n\
             \n\
             What it waits for:\n  \
               HostnameTaken, since 1 min 40 s\n    \
                 the hostname acme.example belongs to another tenant\n    \
                 ends by: name another hostname\n\
             \n\
             What is not so:\n  \
               Serving is False (NoRoute), since 2 h 5 min\n    \
                 no route leads to the product\n  \
               Reconciling is True (Waiting), since 2 h 5 min\n    \
                 something is waited for\n"
        );
        let json = serde_json::to_value(&why).unwrap();
        assert_eq!(json["blockers"][0]["unblockedBy"], "name another hostname");
        assert_eq!(json["operation"]["phase"], "Pending");
    }

    #[test]
    fn a_tenant_that_is_ready_says_so_in_two_lines() {
        let why = why(&tenant(&json!({
            "observedGeneration": 3,
            "url": "https://acme.example",
            "version": "1.0.0",
            "conditions": [
                condition("Ready", "True", "Ready", "everything is as it was asked for"),
                condition("Serving", "True", "Serving", ""),
                condition("Reconciling", "False", "Done", ""),
            ],
        })));
        assert!(why.ready);
        assert_eq!(
            text(&why, now()),
            "acme is Ready, and serves: everything is as it was asked for\nhttps://acme.example, version 1.0.0\n"
        );
    }

    #[test]
    fn what_nobody_reported_about_is_said_to_be_so() {
        let unseen = why(&tenant(&serde_json::Value::Null));
        assert!(!unseen.ready);
        assert!(text(&unseen, now()).contains("has not reported about it yet"));
        let behind = why(&tenant(&json!({
            "observedGeneration": 2, "conditions": [condition("Ready", "True", "Ready", "fine")],
        })));
        assert!(text(&behind, now()).contains("Its spec was changed"));
    }

    #[test]
    fn lengths_of_time_are_said_as_people_say_them() {
        let said = |seconds| ago(SignedDuration::from_secs(seconds));
        assert_eq!(said(-5), "0 s");
        assert_eq!(said(59), "59 s");
        assert_eq!(said(60), "1 min");
        assert_eq!(said(3600 + 61), "1 h 1 min");
        assert_eq!(said(3 * 86400 + 7200 + 5), "3 d 2 h");
    }
}
