//! In: the contents of the three files. Out: the configurations of both ends of a connection, and what is told of them.
//!
//! They are made anew as a whole when a file changes, instead of a resolver in a configuration that stays: so the
//! memory of resumable sessions ends with the roots that its peers were verified against.

use super::{
    bundle::{self, Bundle, BundleError},
    files::Files,
    suites,
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc};

/// The tiers speak nothing newer, and must not let a peer hope for it.
const ALPN: &[u8] = b"http/1.1";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("tls.crt: {0}")]
    Certificate(pem::Error),
    #[error("tls.crt: there is no usable certificate in it")]
    NoCertificate,
    /// Without its cause, which could quote the key.
    #[error("tls.key: there is no usable key in it")]
    NoKey,
    #[error("tls.key is not the key of tls.crt: {0}")]
    Mismatch(rustls::Error),
    #[error("ca.crt: {0}")]
    Bundle(#[from] BundleError),
    #[error("the verification of clients: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error("TLS set-up: {0}")]
    SetUp(rustls::Error),
}

/// Whether the server asks its clients who they are; those that don't say are let in all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    Asked,
    NotAsked,
}

#[derive(Debug)]
pub struct Loaded {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    pub told: Told,
}

/// The answer to `GET /.well-known/freehold/tls`; digests are SHA-256 of the DER, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    pub roots: BTreeSet<String>,
    pub certificate: String,
    pub not_after: Timestamp,
}

impl Loaded {
    pub fn of(files: &Files, clients: Clients) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::Certificate)?;
        let leaf = chain.first().ok_or(TlsError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::NoKey)?;
        let bundle = bundle::parse(&files.authorities)?;
        let told = Told {
            roots: bundle.certificates.iter().map(fingerprint).collect(),
            certificate: fingerprint(leaf),
            not_after: not_after(leaf)?,
        };
        Ok(Self {
            server: Arc::new(server(&chain, &key, &bundle, clients)?),
            client: Arc::new(client(chain, key, bundle)?),
            told,
        })
    }
}

fn server(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    bundle: &Bundle,
    clients: Clients,
) -> Result<ServerConfig, TlsError> {
    let provider = suites::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(suites::VERSIONS)
        .map_err(TlsError::SetUp)?;
    let builder = match clients {
        Clients::NotAsked => builder.with_no_client_auth(),
        Clients::Asked => {
            let roots = Arc::new(bundle.roots.clone());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        }
    };
    let mut config = builder
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(unfit)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn client(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    bundle: Bundle,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(suites::provider())
        .with_protocol_versions(suites::VERSIONS)
        .map_err(TlsError::SetUp)?
        .with_root_certificates(bundle.roots)
        .with_client_auth_cert(chain, key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn unfit(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch(error),
        rustls::Error::InvalidCertificate(_) => TlsError::NoCertificate,
        // Of a key that has the form of one and can't sign, no more than this.
        _ => TlsError::NoKey,
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// RFC 5280 §4.1.2.5 writes "never" as the last second of the year 9999, which is past what a [`Timestamp`] can hold.
fn not_after(certificate: &CertificateDer<'_>) -> Result<Timestamp, TlsError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| TlsError::NoCertificate)?;
    let seconds = parsed.validity().not_after.timestamp();
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateSec1KeyDer;

    fn files() -> (Files, KeyPair) {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["api.acme.svc.cluster.local".to_owned()]).unwrap();
        let files = Files {
            certificate: leaf.signed_by(&key, &root).unwrap().pem().into(),
            key: key.serialize_pem().into(),
            authorities: root.pem().into(),
        };
        (files, key)
    }

    fn refused(change: impl FnOnce(&mut Files)) -> String {
        let (mut files, _) = files();
        change(&mut files);
        Loaded::of(&files, Clients::Asked).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        let (mut files, key) = files();
        Loaded::of(&files, Clients::Asked).unwrap();
        // PKCS#8 of an elliptic curve ends with its SEC1 form: version 1, then the 32 bytes of the key (RFC 5915 §3).
        let der = key.serialize_der();
        let version = [2, 1, 1, 4, 32];
        let at = der.windows(5).position(|part| part == version).unwrap() - 2;
        let sec1 = PrivateSec1KeyDer::from(der[at..].to_vec());
        files.key = pem("EC PRIVATE KEY", sec1.secret_sec1_der());
        Loaded::of(&files, Clients::NotAsked).unwrap();
    }

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
    }

    #[test]
    fn what_can_not_be_used_is_refused_without_quoting_the_key() {
        let other = KeyPair::generate().unwrap().serialize_pem();
        assert!(refused(|files| files.key = other.into()).contains("not the key of tls.crt"));
        assert!(refused(|files| files.authorities.clear()).contains("ca.crt"));
        assert!(refused(|files| files.certificate.clear()).contains("tls.crt"));
        assert!(refused(|files| files.certificate = pem("CERTIFICATE", b"none")).contains("tls.crt"));
        let one_is_none = |files: &mut Files| files.authorities.extend(pem("CERTIFICATE", b"none"));
        assert!(refused(one_is_none).contains("ca.crt"));
        for key in [
            pem("PRIVATE KEY", b"secret"),
            b"-----BEGIN secret".to_vec(),
            vec![],
        ] {
            assert_eq!(
                refused(|files| files.key = key),
                "tls.key: there is no usable key in it"
            );
        }
    }

    #[test]
    fn the_last_moment_that_a_certificate_can_name_is_told() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(not_after(certificate.der()).unwrap(), Timestamp::MAX);
    }
}
