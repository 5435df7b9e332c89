//! Compiles the protocols, without `protoc`: nothing but cargo is needed, and no generated file is kept.

use std::error::Error;

const PROTOS: [&str; 2] = ["proto/csi.proto", "proto/registration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo::rerun-if-changed={proto}");
    }
    let files = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        // Its Secret would be in its `Debug`, which is left out, so that nobody can print it.
        .skip_debug(["csi.v1.NodeStageVolumeRequest"])
        .compile_fds(files)?;
    Ok(())
}
