//! The account owner's one-time token, without a client.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::MintError;

/// Bytes of randomness in it.
const BYTES: usize = 32;

/// In base64url.
pub fn random() -> Result<String, MintError> {
    let mut bytes = [0_u8; BYTES];
    rand::fill(&mut bytes).map_err(|_| MintError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_256_bits_and_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}
