//! The protocols, generated from `proto/` by the build: CSI, and kubelet's registration of drivers.
#![allow(missing_debug_implementations, clippy::all)]

pub mod csi {
    tonic::include_proto!("csi.v1");
}

pub mod registration {
    tonic::include_proto!("pluginregistration");
}
