//! In: a trust bundle in PEM. Out: its roots, of which there are several while one takes the place of another.
//!
//! A bundle with one root that can't be used is refused as a whole: leaving it out would look like success until the
//! peer that needs it comes.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{0}")]
    Pem(#[from] pem::Error),
    #[error("{0}")]
    Root(#[from] rustls::Error),
    #[error("there is no usable certificate in it")]
    Empty,
}

#[derive(Debug)]
pub struct Bundle {
    pub certificates: Vec<CertificateDer<'static>>,
    pub roots: RootCertStore,
}

pub fn parse(text: &[u8]) -> Result<Bundle, BundleError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone())?;
    }
    if roots.is_empty() {
        return Err(BundleError::Empty);
    }
    Ok(Bundle { certificates, roots })
}
