//! A certificate authority, what it issues, and the volume in which a pod finds it.

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

#[derive(Debug, Clone)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn fingerprint(&self) -> String {
        fingerprint(&self.pem())
    }

    /// For both ends of a connection, by the names that the operator gives and the one that tests can reach.
    pub fn issue(&self) -> Leaf {
        self.issue_for(&PKCS_ECDSA_P256_SHA256)
    }

    pub fn issue_rsa(&self) -> Leaf {
        self.issue_for(&PKCS_RSA_SHA256)
    }

    fn issue_for(&self, algorithm: &'static SignatureAlgorithm) -> Leaf {
        let names = ["localhost", "api.acme.svc.cluster.local"].map(str::to_owned);
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        leaf.not_after = rcgen::date_time_ymd(2040, 1, 2);
        let key = KeyPair::generate_for(algorithm).unwrap();
        Leaf {
            certificate: leaf.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Leaf {
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate)
    }
}

fn fingerprint(pem: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    Sha256::digest(&certificate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A projected volume: its files are links through `..data`, which is turned to another folder in one step.
#[derive(Debug)]
pub struct Volume(PathBuf);

impl Volume {
    pub fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            let _ = symlink(Path::new("..data").join(name), path.join(name));
        }
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn write(&self, leaf: &Leaf, roots: &[&Authority]) {
        let roots: String = roots.iter().map(|root| root.pem()).collect();
        self.write_files(&leaf.certificate, &leaf.key, &roots);
    }

    pub fn write_files(&self, certificate: &str, key: &str, roots: &str) {
        let generation = fs::read_dir(&self.0).unwrap().count();
        let folder = format!("..{generation}");
        fs::create_dir(self.0.join(&folder)).unwrap();
        for (name, content) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", roots)] {
            fs::write(self.0.join(&folder).join(name), content).unwrap();
        }
        symlink(&folder, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }

    /// What a peer that has this volume shows and trusts, all of it from one moment.
    pub fn client(&self) -> ClientConfig {
        let now = fs::canonicalize(self.0.join("..data")).unwrap();
        let read = |name: &str| fs::read_to_string(now.join(name)).unwrap();
        let leaf = Leaf {
            certificate: read("tls.crt"),
            key: read("tls.key"),
        };
        client(&read("ca.crt"), Some(&leaf))
    }
}

pub fn client(roots: &str, leaf: Option<&Leaf>) -> ClientConfig {
    client_with(aws_lc_rs::ALL_CIPHER_SUITES.to_vec(), roots, leaf)
}

pub fn client_with(suites: Vec<SupportedCipherSuite>, roots: &str, leaf: Option<&Leaf>) -> ClientConfig {
    let mut trusted = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        trusted.add(root.unwrap()).unwrap();
    }
    let versions: Vec<_> = rustls::ALL_VERSIONS
        .iter()
        .copied()
        .filter(|version| {
            suites
                .iter()
                .any(|suite| suite.version().version == version.version)
        })
        .collect();
    let provider = CryptoProvider {
        cipher_suites: suites,
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(trusted);
    let Some(leaf) = leaf else {
        return config.with_no_client_auth();
    };
    let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    config
        .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap()
}

/// Also for plain HTTP, where the configuration isn't asked for.
pub fn connector(config: ClientConfig) -> HttpsConnector<HttpConnector> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    HttpsConnector::from((http, config))
}
