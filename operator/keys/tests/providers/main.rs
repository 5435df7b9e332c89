//! Every provider keeps the same promises: one list of tests, run against each. The HSM is SoftHSM 2, with a token of
//! its own in a temporary folder.
//!
//! SoftHSM takes its configuration from the environment, so this program starts itself again with it. One test runs at
//! a time: losing the token in one is losing it in all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

#[path = "../api/mod.rs"]
mod api;
mod conformance;
mod local;
mod pkcs11;
mod softhsm;

use std::process::ExitCode;
use std::sync::Arc;

use freehold_keys::local::{Local, Memory, Secrets};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    if softhsm::is_outside() {
        return softhsm::run_inside();
    }
    if let Some(key) = pkcs11::asked_to_race() {
        return pkcs11::race(&key);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for (name, test) in conformance::ALL {
        trials.push(trial(format!("local::{name}"), move || {
            test(Arc::new(Local::new(Memory::default())))
        }));
        trials.push(trial(format!("local-secrets::{name}"), move || {
            let secrets = Secrets::new(api::Api::default().client(), "freehold-keys");
            test(Arc::new(Local::new(secrets)))
        }));
        trials.push(trial(format!("pkcs11::{name}"), move || {
            test(Arc::new(softhsm::provider()))
        }));
    }
    for (name, test) in local::ALL {
        trials.push(trial(format!("local::{name}"), *test));
    }
    for (name, test) in pkcs11::ALL {
        trials.push(trial(format!("pkcs11::{name}"), *test));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Done = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn trial(name: String, test: impl FnOnce() -> Done + Send + 'static) -> Trial {
    Trial::test(name, move || {
        Runtime::new().unwrap().block_on(async { test().await });
        Ok(())
    })
}

/// The tests of a list, each with its name.
macro_rules! list {
    ($argument:ty: $($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, fn($argument) -> crate::Done)] =
            &[$((stringify!($name), |argument| Box::pin($name(argument)))),*];
    };
    ($($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, fn() -> crate::Done)] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}
pub(crate) use list;
