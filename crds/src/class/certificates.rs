//! The certificates of tenants: from their own authorities, and the gateway's from an issuer of the platform where one is named.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The bounds of a certificate's lifetime: 10 minutes to 90 days.
pub const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(600)..=Duration::from_secs(2160 * 3600);

/// The certificates of a tenant: from its own authority, but for the gateway's where an issuer is named.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.overlap).getSeconds() * 4 <= duration(self.authorityLifetime).getSeconds()")
    .message("overlap must be at most a quarter of authorityLifetime: the new authority issues before the old one ends"))]
pub struct Certificates {
    /// How long a certificate of the tenant's own authority is valid, from `10m` to `2160h`. It is renewed before two thirds of
    /// that.
    #[serde(default = "seven_days")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m') && duration(self) <= duration('2160h')")
        .message("lifetime must be between 10m and 2160h (90 days)"))]
    pub lifetime: Span,

    /// How long the authority's own certificate is valid, from `1h` to `87600h` (10 years). The authority is replaced by a new one
    /// with a new key when two thirds of that are over.
    #[serde(default = "two_years")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('87600h')")
        .message("authorityLifetime must be between 1h and 87600h (10 years)"))]
    pub authority_lifetime: Span,

    /// How long a new authority stands in every bundle before anything is issued from it, from `1m` to `2160h`, and
    /// at most a quarter of authorityLifetime: the time in which clients outside of the cluster are given the new ca.crt.
    #[serde(default = "seven_days")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('2160h')")
        .message("overlap must be between 1m and 2160h (90 days)"))]
    pub overlap: Span,

    /// Who issues the certificate that browsers are shown: an issuer of cert-manager, which must be installed. The tenant's own
    /// authority when left out, and as long as the issuer has not issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerRef>,
}

/// An issuer that serves every namespace: a ClusterIssuer of cert-manager, or one of another group that its plugins know.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.group != 'cert-manager.io' || self.kind == 'ClusterIssuer'")
    .message("kind must be ClusterIssuer: an Issuer serves its own namespace only, and there is none in a tenant's"))]
pub struct IssuerRef {
    /// The issuer's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// Its kind. `ClusterIssuer` when left out.
    #[serde(default = "cluster_issuer")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,

    /// The API group of its kind. `cert-manager.io` when left out.
    #[serde(default = "cert_manager")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub group: String,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            lifetime: seven_days(),
            authority_lifetime: two_years(),
            overlap: seven_days(),
            issuer: None,
        }
    }
}

/// The bounds of an authority's lifetime: one hour to ten years.
pub const AUTHORITY_LIFETIME: RangeInclusive<Duration> =
    Duration::from_secs(3600)..=Duration::from_secs(87_600 * 3600);
/// The bounds of the overlap of two authorities: one minute to 90 days.
pub const OVERLAP: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(2160 * 3600);

fn two_years() -> Span {
    "17520h".into()
}

fn seven_days() -> Span {
    "168h".into()
}

fn cluster_issuer() -> String {
    "ClusterIssuer".into()
}

fn cert_manager() -> String {
    "cert-manager.io".into()
}
