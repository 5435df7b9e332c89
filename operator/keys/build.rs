//! Compiles the protocol, without `protoc`: nothing but cargo is needed, and no generated file is kept.

use std::error::Error;

const PROTO: &str = "proto/keys.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let files = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure()
        // It carries a plain key: its `Debug` is written by hand (src/wire.rs).
        .skip_debug(["freehold.keys.v1.UnwrapReply"])
        .compile_fds(files)?;
    Ok(())
}
