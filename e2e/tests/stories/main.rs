//! The stories: each proves one promise on the lab's real cluster, and is named after it.
//! They need the lab with Freehold in it (`cargo xtask test` sees to that) and leave the samples as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod admission;
mod beside;
#[cfg(feature = "browser")]
mod browser;
mod channel;
mod edge;
mod faults;
mod hostile;
mod isolation;
mod key_faults;
mod keys;
mod kills;
mod operator;
mod reading;
mod reencryption;
mod renewal;
mod scale;
mod serving;
mod speed;
mod stage;
mod succession;
mod timing;
mod tls;
mod upgrade;
mod wave;
