use jiff::Timestamp;

/// Why nothing was issued or read. It never holds a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no certificate can be made")]
    Issue(#[source] rcgen::Error),
    #[error("the system gives no randomness")]
    Randomness,
    #[error("{what} can't be read: {why}")]
    Unreadable { what: &'static str, why: &'static str },
    /// Nobody would accept what it signs.
    #[error("the certificate is not an authority's: {0}")]
    NotAuthority(&'static str),
    #[error("the key does not belong to the authority's certificate")]
    ForeignKey,
    #[error("the authority expired at {0}")]
    Expired(Timestamp),
    #[error("{0:?} is no name of the domain name system")]
    InvalidName(String),
    #[error("{0:?} is outside of what the authority may sign")]
    Outside(String),
    #[error("a server needs a name")]
    Nameless,
    /// 1 to 64 characters (RFC 5280, appendix A.1: ub-common-name); a leaf's is one label.
    #[error("{0:?} can't be a common name")]
    CommonName(String),
    #[error("a validity is empty or outside of the years 1970 to 9999")]
    Validity,
}
