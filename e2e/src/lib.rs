//! The lab, the demo and the end-to-end tests of Freehold. `cargo xtask` is the way in; the tests use the same pieces.

pub mod coverage;
pub mod demo;
pub mod fault_proxy;
pub mod http;
pub mod install;
pub mod kube;
pub mod lab;
pub mod leaving;
pub mod load;
pub mod needles;
pub mod operator;
pub mod probe;
pub mod prober;
pub mod raw;
pub mod scale;
pub mod suite;
pub mod tls;
pub mod tools;
