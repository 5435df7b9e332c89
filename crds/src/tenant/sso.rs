//! Single sign-on.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Single sign-on: once on, it is the only way in, for all users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sso {
    /// The account's one SAML 2.0 configuration.
    pub saml: Saml,
}

/// A SAML 2.0 identity provider.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saml {
    /// The entity id of the identity provider.
    #[schemars(length(min = 1, max = 1024))]
    pub entity_id: String,

    /// Where users' browsers are sent to sign in. Freehold itself never opens it.
    #[schemars(length(min = 9, max = 1024))]
    // On the text itself: what url() gives has no bound that the API server knows, and the definition is refused.
    #[x_kube(
        validation = Rule::new("isURL(self) && self.startsWith('https://')")
            .message("sso.saml.endpoint is a URL that begins with https://"),
        validation = Rule::new(r"!self.startsWith('https://') || self.matches('^https://([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\\.)+[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?([/?#].*)?$')")
            .message("sso.saml.endpoint must name a public host by its name in full: no address, no user name, no dot at its end"),
        validation = Rule::new(r"!self.matches('^https://[^/?#]*\\.(?i:svc|cluster\\.local|localhost)([:/?#]|$)')")
            .message("sso.saml.endpoint must name a public host: names that end in .svc, .cluster.local or .localhost are the cluster's own")
    )]
    pub endpoint: String,

    /// The one certificate with which the provider signs, in PEM form.
    #[schemars(length(min = 100, max = 8192))]
    #[x_kube(validation = Rule::new(r"self.matches('^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n?$')")
        .message("sso.saml.signingCertificate is exactly one certificate in PEM form, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"))]
    pub signing_certificate: String,

    /// The attribute by which users are matched, where it isn't the NameID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub alternate_id: Option<String>,
}
