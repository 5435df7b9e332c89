//! `cert-manager.io/v1` `Certificate`, as of cert-manager 1.21.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    pub spec: CertificateSpec,
}

/// Without a duration: how long its certificates live is the issuer's word.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    pub secret_name: &'static str,
    pub dns_names: Vec<String>,
    pub issuer_ref: Issuer,
    pub private_key: PrivateKey,
    pub usages: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Issuer {
    pub name: String,
    pub kind: String,
    pub group: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKey {
    pub algorithm: &'static str,
    /// Bits.
    pub size: i32,
    pub rotation_policy: &'static str,
}
