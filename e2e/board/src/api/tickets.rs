//! Tickets and one-time tokens: random text of 256 bits for its holder, its SHA-256 for the database.

use sha2::{Digest, Sha256};

pub struct Ticket {
    /// For the holder only; never logged, never stored.
    pub secret: String,
    pub hash: Vec<u8>,
}

pub fn issue() -> Ticket {
    let secret = crate::random::url_safe::<32>();
    let hash = hash(&secret);
    Ticket { secret, hash }
}

/// No salt and no stretching: what is hashed is 256 random bits.
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}
