//! A part of the product that runs as pods.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::File;
use crate::Resources;

/// A part of the product that runs as pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.tier == 'Worker' || has(self.port)")
    .message("a component of tier Web or Application needs a port: name the one on which it serves HTTPS"))]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name, also that of its Service.
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(
        validation = Rule::new("self != 'db' && !self.startsWith('db-')")
            .message("names 'db' and 'db-…' belong to the database: take another name"),
        validation = Rule::new("!(self in ['hooks', 'default'])")
            .message("names 'hooks' and 'default' are those of the release's jobs and of the namespace's own account: take another name")
    )]
    pub name: String,

    /// Its tier, which decides what it may reach and what it is given.
    pub tier: Tier,

    /// The image, pinned by digest: `name@sha256:…` or `name:tag@sha256:…`.
    #[schemars(
        length(max = 300),
        regex(pattern = "^[a-z0-9]([-a-zA-Z0-9._/:]*[a-zA-Z0-9])?@sha256:[0-9a-f]{64}$")
    )]
    pub image: String,

    /// Arguments for the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 256)))]
    pub args: Vec<String>,

    /// The port on which it serves HTTPS, with the certificate in /etc/freehold/tls; below 1024 is for root, which nothing here is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: Option<i32>,

    /// How many pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub replicas: i32,

    /// What each pod asks for and may use.
    #[serde(default)]
    pub resources: Resources,

    /// Answers 200 when requests may be sent to the pod. Asked as soon as it has started, then every 5 s; after two other answers in
    /// a row, or none within 2 s, it gets no requests until the next 200.
    #[serde(default = "readyz")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^/[-A-Za-z0-9._~/]*$"))]
    pub readiness_path: String,

    /// Answers 200 as long as the process is worth keeping. Asked every second until it has started, for a minute at most, then every
    /// 10 s; after three other answers in a row, or none within 2 s, the container is started again.
    #[serde(default = "healthz")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^/[-A-Za-z0-9._~/]*$"))]
    pub liveness_path: String,

    /// Environment variables of its own pods; a hook that takes its image does not get them. Values are taken as they are: `$(NAME)`
    /// stands for nothing else. Nothing secret: everybody who may read Releases reads it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<Variable>,

    /// Files that its own pods find; a hook that takes its image does not get them. Read-only, for everybody in the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"])
    )]
    #[x_kube(validation = Rule::new("self.all(f, !self.exists(g, g.path.startsWith(f.path + '/')))")
        .message("a file can't lie in a file: give one of the two another path"))]
    pub files: Vec<File>,

    /// For how many seconds a new pod must have been ready before it counts, and the next old one goes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 600))]
    pub min_ready_seconds: i32,

    /// How old pods make way for new ones: `RollingUpdate`, by which a new one is ready before an old one goes, or `Recreate`, by
    /// which all old ones have ended before the first new one starts. A component that must not run twice at a time declares
    /// `Recreate`, and with it a pause at each upgrade.
    #[serde(default)]
    pub strategy: Strategy,
}

fn one() -> i32 {
    1
}

fn readyz() -> String {
    "/readyz".to_owned()
}

fn healthz() -> String {
    "/healthz".to_owned()
}

/// Where a component stands between the user and the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Reached by the gateway, reaches the application tier. Holds no credentials.
    Web,
    /// Reached by the web tier, reaches the database.
    Application,
    /// Reached by nobody, reaches the database.
    Worker,
}

/// An environment variable.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name. Those that begin with `FREEHOLD_` are the platform's.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    // With one of them a product may be told to do without encryption, as the sample product is on a developer's machine.
    #[x_kube(validation = Rule::new("!self.startsWith('FREEHOLD_')")
        .message("names that begin with FREEHOLD_ belong to the platform: take another name"))]
    pub name: String,

    /// Its value, as it is.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// How old pods make way for new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// A new pod is ready before an old one goes: nobody notices.
    #[default]
    RollingUpdate,
    /// Every old pod has ended before the first new one starts: a pause, which is declared by this. For a component that must not
    /// run twice at a time.
    Recreate,
}
