//! Who of the customer may look into the instance's namespace.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Groups of the cluster's identity provider.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Groups {
    /// Names of groups, as the API server sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = Rule::new("self.all(group, !group.startsWith('system:'))")
        .message("groups that begin with system: are Kubernetes' own, whole clusters are in them: name a group of the customer"))]
    pub groups: Vec<String>,
}
