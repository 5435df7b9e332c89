//! Every name that Freehold gives, in one place.
//!
//! In: names from the API. Out: newtypes that are valid Kubernetes names. Invariant: what would be too long gets a
//! suffix from a hash instead of being cut, so that two different inputs never give one name.

use std::fmt;

use freehold_crds::HOSTNAMES_MAX;
use sha2::{Digest, Sha256};

/// A DNS label has at most this many characters.
const LABEL_MAX: usize = 63;
/// Room for the pod's own suffix in names of Deployments and Jobs: `-` and 10, `-` and 5 characters.
const WORKLOAD_MAX: usize = 45;

/// The first 16 hexadecimal digits of the SHA-256 of the parts, each with its length before it.
pub fn digest(parts: &[&str]) -> String {
    hash(parts, 8)
}

/// The first 32 of them: for what somebody might want to have twice. Two that have the same 16 are found in an hour.
pub fn long_digest(parts: &[&str]) -> String {
    hash(parts, 16)
}

fn hash(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The name itself if it fits, else its beginning and a hash of the whole.
fn fit(name: String, max: usize) -> String {
    if name.len() <= max {
        return name;
    }
    // 64 bits: a million names are told apart; 40 were not enough for that.
    let suffix = digest(&[&name]);
    let head: String = name.chars().take(max - suffix.len() - 1).collect();
    format!("{}-{suffix}", head.trim_end_matches(['-', '.']))
}

/// The domain of a namespace's Services.
pub fn service_domain(namespace: &str) -> String {
    format!("{namespace}.svc.cluster.local")
}

/// The fully qualified name of a Service.
pub fn service_host(service: &str, namespace: &str) -> String {
    format!("{service}.{}", service_domain(namespace))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The namespace of a tenant.
    NamespaceName
);
name!(
    /// The Secret in the keys namespace that holds a tenant's certificate authority.
    AuthorityName
);
name!(
    /// A Deployment, its Service, its ServiceAccount and its PodDisruptionBudget.
    WorkloadName
);
name!(
    /// A Job that belongs to a release. Jobs are immutable, so their name is a hash of what they do.
    JobName
);

name!(
    /// A claim on a hostname, in the operator's namespace: a hash, so that two claims on one name are one object.
    ClaimName
);
name!(
    /// A TenantOperation, in the operator's namespace.
    OperationName
);
name!(
    /// A DestructionRecord.
    DestructionName
);
name!(
    /// A pod that verifies the isolation.
    ProbeName
);

impl NamespaceName {
    pub fn of(tenant: &str) -> Self {
        Self(fit(format!("tenant-{tenant}"), LABEL_MAX))
    }
}

impl AuthorityName {
    pub fn of(tenant: &str) -> Self {
        Self(fit(format!("tenant-{tenant}-ca"), LABEL_MAX))
    }
}

impl WorkloadName {
    pub fn of(component: &str) -> Self {
        Self(fit(component.to_owned(), WORKLOAD_MAX))
    }
}

/// How much of a gate's name is shown in that of its test.
const GATE_SHOWN: usize = 20;

impl JobName {
    /// One name for each attempt of a gate's test of a release.
    pub fn of_gate(gate: &str, release: &str, attempt: i32, test: &[String]) -> Self {
        let shown: String = gate.chars().take(GATE_SHOWN).collect();
        let mut parts = vec![gate.to_owned(), attempt.to_string()];
        parts.extend_from_slice(test);
        Self::of(
            &format!("gate-{}", shown.trim_end_matches('-')),
            release,
            "",
            &parts,
        )
    }

    /// One name for each version, image and list of arguments of a hook.
    pub fn of(hook: &str, version: &str, image: &str, args: &[String]) -> Self {
        let mut parts = vec![hook, version, image];
        parts.extend(args.iter().map(String::as_str));
        let version: String = version
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(20)
            .collect();
        let hash = &digest(&parts)[..10];
        Self(format!("{hook}-{}-{hash}", version.trim_end_matches('-')))
    }
}

impl ClaimName {
    pub fn of(hostname: &str) -> Self {
        let long = [digest(&["hostname", hostname]), digest(&[hostname, "hostname"])].concat();
        Self(format!("hostname-{long}"))
    }
}

impl OperationName {
    /// One name for each act in the life of an incarnation: `number` counts those before it.
    pub fn of(tenant: &str, act: &str, incarnation: &str, number: usize) -> Self {
        let hash = &digest(&[act, incarnation, &number.to_string()])[..10];
        Self(format!(
            "{}-{hash}",
            fit(format!("{tenant}-{act}"), LABEL_MAX - 11)
        ))
    }
}

impl DestructionName {
    /// One for each operation that destroys: `created` tells those apart that have one name because somebody deleted the
    /// operations before them.
    pub fn of(tenant: &str, operation: &str, created: &str) -> Self {
        let hash = &digest(&["destruction", operation, created])[..10];
        Self(format!("{}-{hash}", fit(tenant.to_owned(), LABEL_MAX - 11)))
    }
}

impl ProbeName {
    /// One for each run and each place from which it tries.
    pub fn of(place: &str, tenant: &str, run: &str) -> Self {
        Self(fit(format!("verify-{place}-{tenant}-{run}"), LABEL_MAX))
    }
}

/// The CloudNativePG Cluster; its Services and Secrets derive from it (`db-rw`, `db-app`, `db-ca`).
pub const DATABASE: &str = "db";
/// The Secret with the database's application account, made by CloudNativePG.
pub const DATABASE_ACCOUNT: &str = "db-app";
/// Its Services: for the primary, for any instance, for replicas.
pub const DATABASE_SERVICES: [&str; 3] = ["db-r", "db-ro", "db-rw"];
/// The Service whose connections reach the primary.
pub const DATABASE_PRIMARY: &str = "db-rw";
/// On a Deployment: the release that it is of, by its object's name.
pub const RELEASE: &str = "freehold.dev/release";
/// On a Deployment: a digest of what that release was when it came. On its pods it would restart those that have none yet.
pub const RELEASE_DIGEST: &str = "freehold.dev/release-digest";
/// PostgreSQL's port.
pub const POSTGRESQL: u16 = 5432;
/// CloudNativePG's own label on every pod of a cluster, jobs included.
pub const CLUSTER_LABEL: &str = "cnpg.io/cluster";
/// The ConfigMap with OpenSSL's configuration for the database.
pub const OPENSSL: &str = "openssl";
/// The ConfigMap with what the product must know.
pub const SETTINGS: &str = "settings";
/// The ConfigMap with the certificate of the tenant's authority, and the BackendTLSPolicy that names it.
pub const AUTHORITY_BUNDLE: &str = "ca";
/// The Secrets with the certificates for the gateway, one for each hostname.
pub const EDGE_CERTIFICATES: [&str; HOSTNAMES_MAX] = [
    "edge-tls",
    "edge-tls-1",
    "edge-tls-2",
    "edge-tls-3",
    "edge-tls-4",
    "edge-tls-5",
    "edge-tls-6",
    "edge-tls-7",
];
/// The Secret in which an issuer of the platform puts the one that it issued for the gateway. Never read by the operator.
pub const ISSUED_CERTIFICATE: &str = "edge-issued-tls";
/// The Secrets with the certificates of the tiers' pods.
pub const WEB_CERTIFICATE: &str = "web-tls";
pub const APPLICATION_CERTIFICATE: &str = "application-tls";
pub const WORKER_CERTIFICATE: &str = "worker-tls";
/// The Secret with the certificate that the database's instances show.
pub const DATABASE_CERTIFICATE: &str = "database-tls";
/// The Secret with the certificate that replicas show to their primary.
pub const REPLICATION_CERTIFICATE: &str = "replication-tls";
/// What shows that the gateway trusts the authority that issues next: a pod, its Service, its policy and its route. Longer than the name
/// of a component may be.
pub const PROOF: &str = "freehold-proof-of-next-authority";
/// The Secret with the certificate that it shows.
pub const PROOF_CERTIFICATE: &str = "next-authority-tls";
/// The Secret with the account owner's one-time token.
pub const OWNER_TOKEN: &str = "owner";
/// The ConfigMap with the class as it was last taken over.
pub const CLASS: &str = "class";
/// The ConfigMap with what the last verification of the isolation found.
pub const ISOLATION: &str = "isolation";
/// The ConfigMap with the volumes for which a key was made.
pub const KEYS: &str = "keys";
/// The tenant's Gateway.
pub const GATEWAY: &str = "edge";
/// The ServiceAccount of the release's jobs.
pub const HOOKS: &str = "hooks";
/// The RoleBinding that lets the operator write in the tenant's namespace.
pub const OPERATOR_BINDING: &str = "freehold";

/// The RoleBinding of the customer's administrators.
pub const ADMINISTRATORS_BINDING: &str = "customer-administrators";
/// The RoleBinding of the customer's viewers.
pub const VIEWERS_BINDING: &str = "customer-viewers";

/// The mark of everything that Freehold declares.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of that mark, and the field manager of every write.
pub const FREEHOLD: &str = "freehold";
/// Names the tenant on everything that belongs to it.
pub const TENANT_LABEL: &str = "freehold.dev/tenant";
/// Names a pod's tier; the network policies select by it.
pub const TIER_LABEL: &str = "freehold.dev/tier";
/// Names the component on its pods; Deployments, Services and budgets select by it alone. A selector is immutable, so
/// nothing that a release may change is in it.
pub const COMPONENT: &str = "freehold.dev/component";
/// On the namespace and on all that holds keys: which life of a tenant of that name it belongs to. It is the uid of the
/// Tenant in its first life, which the API server minted; a Tenant that adopts goes on with it.
pub const INCARNATION: &str = "freehold.dev/incarnation";
/// On the namespace: the uid of the Tenant that holds it now.
pub const TENANT_UID: &str = "freehold.dev/tenant-uid";
/// On a namespace whose tenant was deleted and whose data was kept: since when.
pub const RETAINED_AT: &str = "freehold.dev/retained-at";
/// On a Deployment that is scaled to nothing: how many pods it had.
pub const AWAKE_REPLICAS: &str = "freehold.dev/awake-replicas";
/// Tells CloudNativePG to stop the pods of a cluster and to keep its volumes.
pub const HIBERNATION: &str = "cnpg.io/hibernation";
/// On every declared object: a digest of what was asked for, so that a field that is no longer wanted is noticed.
pub const DECLARED: &str = "freehold.dev/declared";
/// On the Tenant: held until all its children are gone.
pub const FINALIZER: &str = "freehold.dev/teardown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_get_a_hash_instead_of_an_end() {
        let a = NamespaceName::of(&format!("{}a", "x".repeat(80)));
        let b = NamespaceName::of(&format!("{}b", "x".repeat(80)));
        assert_eq!(a.as_str().len(), 63);
        assert_ne!(a, b);
        assert_eq!(NamespaceName::of("acme").as_str(), "tenant-acme");
    }

    #[test]
    fn a_job_is_named_after_what_it_does() {
        let args = |text: &str| vec![text.to_owned()];
        let one = JobName::of("migrate", "1.0.0-RC.1", "image", &args("up"));
        assert!(one.as_str().starts_with("migrate-1-0-0-rc-1-"), "{one}");
        assert_ne!(one, JobName::of("migrate", "1.0.0-RC.1", "image", &args("down")));
        assert_ne!(one, JobName::of("migrate", "1.0.0-RC.1", "other", &args("up")));
        let gate = "a".repeat(30);
        let first = JobName::of_gate(&gate, "board-1.0.0-rc.1-and-more", 1, &args("ui"));
        assert!(
            first.as_str().len() <= 58,
            "its pods are called after it: {first}"
        );
        assert_ne!(
            first,
            JobName::of_gate(&gate, "board-1.0.0-rc.1-and-more", 2, &args("ui"))
        );
        assert_ne!(
            first,
            JobName::of_gate(&gate[1..], "board-1.0.0-rc.1-and-more", 1, &args("ui"))
        );
    }
}
