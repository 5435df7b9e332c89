//! A file that a component finds in its pods.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The directories that are the platform's or the kernel's, each with its slash.
const TAKEN: &str = "!['/etc/freehold/', '/tmp/', '/proc/', '/sys/', '/dev/', '/var/run/secrets/', '/run/secrets/'].exists(taken, \
     (self + '/').startsWith(taken) || taken.startsWith(self + '/'))";

/// A file that a component finds in its pods: configuration that belongs to a version, as environment variables do, but is
/// read from a path.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Where it lies: an absolute path without `.`, `..`, a doubled slash or one at its end. What the image has there is hidden by it.
    #[schemars(
        length(min = 2, max = 255),
        regex(pattern = r"^(/\.?[-A-Za-z0-9_][-A-Za-z0-9._]*)+$")
    )]
    #[x_kube(validation = Rule::new(TAKEN)
        .message("/etc/freehold, /tmp, /proc, /sys, /dev and /run/secrets belong to the platform: take a path beside them"))]
    pub path: String,

    /// What stands in it: text in UTF-8, as it is. Nothing secret: everybody who may read Releases reads it.
    #[schemars(length(max = 8000))]
    pub content: String,
}
