//! AES-256-GCM, and the form in which every ciphertext is kept: a format byte, the nonce, the ciphertext with its tag.
//!
//! Invariant: a nonce is random and used once. With 96 bits of it a key may seal 2^32 times before two are ever likely
//! to be the same (NIST SP 800-38D, 8.3); a tenant key wraps a few data keys.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::KeyError;

/// The only format so far.
const FORMAT: u8 = 1;
/// Bytes of the authentication tag.
const TAG: usize = 16;
/// Bytes of a key.
pub(crate) const KEY: usize = 32;

/// Nonce and ciphertext with its tag, apart.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    pub nonce: [u8; NONCE_LEN],
    pub body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Nothing if these bytes can't be a ciphertext of ours.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        (format == FORMAT && body.len() > TAG).then_some(Self { nonce: *nonce, body })
    }
}

/// The bytes that are kept.
pub(crate) fn join(nonce: &[u8; NONCE_LEN], body: &[u8]) -> Vec<u8> {
    [&[FORMAT], nonce.as_slice(), body].concat()
}

pub(crate) fn seal(key: &[u8], data: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    body.extend_from_slice(plain);
    let nonce = cipher(key)?
        .seal_in_place_append_tag(Aad::from(data), &mut *body)
        .map_err(|_| KeyError::Unavailable("the system gives no randomness".into()))?;
    Ok(join(nonce.as_ref(), &body))
}

/// Nothing if it was not sealed with this key and this data.
pub(crate) fn open(key: &[u8], data: &[u8], sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let Some(Sealed { nonce, body }) = Sealed::parse(sealed) else {
        return Ok(None);
    };
    let mut plain = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    if cipher(key)?
        .open_in_place(nonce, Aad::from(data), &mut plain)
        .is_err()
    {
        return Ok(None);
    }
    plain.truncate(body.len() - TAG);
    Ok(Some(plain))
}

fn cipher(key: &[u8]) -> Result<RandomizedNonceKey, KeyError> {
    RandomizedNonceKey::new(&AES_256_GCM, key)
        .map_err(|_| KeyError::Corrupt("a key does not have 256 bits".into()))
}

/// So many random bytes.
pub(crate) fn random(length: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    rand::fill(&mut bytes).map_err(|_| KeyError::Unavailable("the system gives no randomness".into()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8; KEY] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_data_alone() {
        let sealed = seal(SECRET, b"data", b"plain").unwrap();
        assert_eq!(sealed.len(), 1 + NONCE_LEN + 5 + TAG);
        assert_eq!(
            open(SECRET, b"data", &sealed).unwrap().unwrap().as_slice(),
            b"plain"
        );
        assert!(open(SECRET, b"date", &sealed).unwrap().is_none());
        assert!(open(&[7; KEY], b"data", &sealed).unwrap().is_none());
        assert!(matches!(
            open(&[7; 16], b"data", &sealed),
            Err(KeyError::Corrupt(_))
        ));
    }

    #[test]
    fn no_bit_of_it_may_change_and_no_byte_may_be_missing() {
        let sealed = seal(SECRET, b"data", b"plain").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(SECRET, b"data", &changed).unwrap().is_none(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(
                open(SECRET, b"data", &sealed[..length]).unwrap().is_none(),
                "{length}"
            );
        }
    }

    #[test]
    fn two_of_the_same_differ() {
        assert_ne!(
            seal(SECRET, b"", b"plain").unwrap(),
            seal(SECRET, b"", b"plain").unwrap()
        );
    }
}
