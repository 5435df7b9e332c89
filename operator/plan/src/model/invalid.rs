//! What can be wrong with a tenant, its class or its release: in a word, in words, and what somebody can do.

use freehold_crds::ReleaseReference;

use crate::names::CLASS;

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the TenantClass {0} does not exist")]
    ClassNotFound(String),
    #[error(
        "the class as it was taken over can't be read (ConfigMap {namespace}/{CLASS}: {why}), so nothing is changed; {when}"
    )]
    ClassCopy {
        namespace: String,
        why: String,
        when: String,
    },
    #[error("the Release {0} does not exist")]
    ReleaseNotFound(String),
    #[error(
        "the Release {0} is not the one that ran before and is to come back: it was published again with other contents"
    )]
    ReleaseReplaced(String),
    #[error("the ReleaseChannel {0} does not exist, which says what is installed")]
    ChannelNotFound(String),
    #[error("no ring of the ReleaseChannel {0} is for this tenant, by its environment and its labels")]
    NoRing(String),
    #[error("the ReleaseChannel {channel} has no release yet for its ring {ring}")]
    NoRelease { channel: String, ring: String },
    #[error("it is not known of which release what runs is, and no channel can say so")]
    UnknownRelease,
    #[error("the Release {release} was recalled: {why}")]
    Recalled { release: String, why: String },
    #[error(
        "the Release {0} is a pre-release, which comes to tenants of the environment Development or Testing only"
    )]
    Preview(String),
    #[error("the Release {release} has no strict semantic version: {error}")]
    Version { release: String, error: String },
    #[error("the Release {0} has no single component of tier Web with a port")]
    Web(String),
    #[error("the Release {release} has a port outside 1-65535: {port}")]
    Port { release: String, port: i32 },
    #[error("a hook of the Release {0} names neither a component of it nor an image")]
    Hook(String),
    #[error("the authority's lifetime or overlap {0} is out of range")]
    Authority(String),
    #[error("upgrades.bake or upgrades.rollTimeout {0} is out of range")]
    Upgrades(String),
    #[error("the certificates' lifetime {0} is not between 10m and 2160h")]
    Lifetime(String),
    #[error("the cryptoperiod {0} is not between 1h and 17520h")]
    Cryptoperiod(String),
    #[error("the tenant names no hostname")]
    Hostname,
    #[error("{0} is an address, not a hostname")]
    Address(String),
    #[error("the TenantClass {class} does not allow {what}")]
    NotAllowed { class: String, what: String },
    #[error("sso.saml.signingCertificate is no certificate: {0}")]
    Sso(String),
}

impl Invalid {
    /// For conditions: one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClassNotFound(_) => "ClassNotFound",
            Self::ClassCopy { .. } => "ClassCopyDamaged",
            Self::ReleaseNotFound(_) => "ReleaseNotFound",
            Self::ReleaseReplaced(_) => "ReleaseReplaced",
            Self::ChannelNotFound(_) => "ChannelNotFound",
            Self::NoRing(_) => "NoRing",
            Self::NoRelease { .. } => "NoRelease",
            Self::UnknownRelease => "UnknownRelease",
            Self::Recalled { .. } => "ReleaseRecalled",
            Self::Preview(_) => "PreReleaseRefused",
            Self::Version { .. } | Self::Web(_) | Self::Port { .. } | Self::Hook(_) => "InvalidRelease",
            Self::Authority(_) | Self::Lifetime(_) | Self::Cryptoperiod(_) | Self::Upgrades(_) => {
                "InvalidClass"
            }
            Self::Hostname | Self::Address(_) => "InvalidTenant",
            Self::NotAllowed { .. } => "NotAllowedByClass",
            Self::Sso(_) => "InvalidSso",
        }
    }

    /// Whether nothing goes on until somebody does something.
    pub fn stalls(&self) -> bool {
        !matches!(self, Self::NoRelease { .. })
    }

    /// Who ends it, and how, for a tenant that asks for its release in this way.
    pub fn unblocked_by(&self, asked: &ReleaseReference) -> String {
        let another = another_release(asked);
        match self {
            Self::ClassNotFound(name) => format!("create the TenantClass {name}"),
            Self::ClassCopy { namespace, .. } => format!(
                "put back what was in the ConfigMap {namespace}/{CLASS}; or delete it, by which the class as it is now is taken \
                 over at once"
            ),
            Self::Recalled { .. } | Self::Preview(_) => another.to_owned(),
            Self::ReleaseNotFound(name) if asked.name.is_some() => {
                format!("create the Release {name}, or name another in spec.release.name")
            }
            Self::ReleaseNotFound(name) => format!("create the Release {name}, or {another}"),
            Self::ReleaseReplaced(name) => format!("put the Release {name} back as it was"),
            Self::ChannelNotFound(name) => {
                format!("create the ReleaseChannel {name}, or name another in spec.release.channel")
            }
            Self::NoRing(name) => format!(
                "give the tenant the environment and the labels that a ring of the ReleaseChannel {name} selects, or give the \
                 channel a last ring that selects all others"
            ),
            Self::NoRelease { ring, .. } => {
                format!("promote a release into the ring {ring}, or pin one in spec.release.pin")
            }
            Self::UnknownRelease => "name the release that runs in spec.release.name, or pin it in spec.release.pin".to_owned(),
            Self::Version { .. } | Self::Web(_) | Self::Port { .. } | Self::Hook(_) => {
                if asked.name.is_some() {
                    "publish a correct Release and name it in spec.release.name".to_owned()
                } else {
                    format!("publish a correct Release, or {another}")
                }
            }
            Self::Authority(_) => {
                "correct spec.certificates.authorityLifetime (1h to 87600h) or overlap (1m to 2160h) of the class".to_owned()
            }
            Self::Upgrades(_) => {
                "correct spec.upgrades.bake (1s to 24h) or rollTimeout (1m to 24h) of the class".to_owned()
            }
            Self::Lifetime(_) => "correct spec.certificates.lifetime of the class".to_owned(),
            Self::Cryptoperiod(_) => "correct spec.keys.tenantKeyCryptoperiod of the class".to_owned(),
            Self::Hostname => "name at least one hostname in spec.hostnames".to_owned(),
            Self::Address(_) => {
                "name hostnames only in spec.hostnames: the last part begins with a letter".to_owned()
            }
            Self::NotAllowed { class, what } => {
                format!("ask for less in the tenant's spec, or let the TenantClass {class} allow {what}")
            }
            Self::Sso(_) => {
                "put the identity provider's signing certificate, in PEM form, into sso.saml.signingCertificate"
                    .to_owned()
            }
        }
    }
}

/// How somebody has a tenant get another release.
pub fn another_release(asked: &ReleaseReference) -> &'static str {
    if asked.channel.is_some() {
        "pin another release in spec.release.pin"
    } else {
        "name another release in spec.release.name"
    }
}
