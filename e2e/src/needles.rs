//! Whether a secret stands somewhere, in whatever form it got there.
//!
//! In: a secret's bytes. Out: whether some bytes hold a piece of it, as it is, in hexadecimal, or in base64 at any place of a
//! longer text, as a Secret of the API has it. Invariant: a piece is long enough to be told from anything else.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use memchr::memmem::Finder;

/// Bytes of a piece, at least: 96 bits where it is base64.
const LEAST: usize = 16;
/// The length of a whole line of a PEM (RFC 7468, 2).
const PEM_LINE: usize = 64;

/// One secret, as it is searched for.
#[derive(Debug)]
pub struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// None when the secret is too short to be told from anything else. A PEM is searched for by the first line of its body: that
    /// has no line break, and in keys of elliptic curves nothing of the public key, which may stand anywhere.
    pub fn of(secret: &[u8]) -> Option<Needles> {
        let piece = match std::str::from_utf8(secret) {
            Ok(text) if text.starts_with("-----BEGIN ") => text
                .lines()
                .nth(1)
                .filter(|line| line.len() == PEM_LINE)?
                .as_bytes(),
            _ => secret,
        };
        if piece.len() < LEAST {
            return None;
        }
        let lower: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![
            piece.to_vec(),
            lower.to_uppercase().into_bytes(),
            lower.into_bytes(),
        ];
        for letters in [alphabet::STANDARD, alphabet::URL_SAFE] {
            let engine = GeneralPurpose::new(&letters, NO_PAD);
            forms.extend((0..3).map(|before| coded(&engine, piece, before).into_bytes()));
        }
        forms.sort();
        forms.dedup();
        let finders = forms.iter().map(|form| Finder::new(form).into_owned());
        Some(Needles(finders.collect()))
    }

    pub fn stands_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|form| form.find(text).is_some())
    }
}

/// The base64 of a piece behind so many other bytes, without the characters at its ends that depend on what is beside it.
fn coded(engine: &GeneralPurpose, piece: &[u8], before: usize) -> String {
    let whole = [&[0; 2][..before], piece].concat();
    let text = engine.encode(&whole);
    // 8 bits of others reach into the second character, 16 into the third.
    let begin = [0, 2, 3][before];
    let end = text.len() - usize::from(!whole.len().is_multiple_of(3));
    text[begin..end].to_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn key() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    /// As it is, and in the base64 of a longer text.
    fn assert_found(needles: &Needles, secret: &[u8]) {
        assert!(needles.stands_in(&[b"before ", secret, b" after"].concat()));
        for before in 0..6 {
            for after in 0..3 {
                let whole = [&b"abcdef"[..before], secret, &b"xyz"[..after]].concat();
                let text = STANDARD.encode(whole);
                assert!(
                    needles.stands_in(text.as_bytes()),
                    "{before} before, {after} after"
                );
            }
        }
    }

    #[test]
    fn a_key_is_found_as_it_is_escaped_in_one_line_and_coded() {
        let key = key();
        let needles = Needles::of(key.as_bytes()).unwrap();
        assert_found(&needles, key.as_bytes());
        let escaped = serde_json::to_string(&key).unwrap();
        assert!(escaped.contains("\\n") && needles.stands_in(escaped.as_bytes()));
        let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(needles.stands_in(body.as_bytes()));
        assert!(!needles.stands_in(self::key().as_bytes()), "of another key");
    }

    #[test]
    fn passwords_and_binary_keys_are_found_too() {
        let binary: Vec<u8> = (0_u8..32).map(|n| n.wrapping_mul(83) ^ 0xa5).collect();
        for secret in [&b"KzWd3vQ9mB2xTn7RpL4h"[..], &binary] {
            let needles = Needles::of(secret).unwrap();
            assert_found(&needles, secret);
            let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(needles.stands_in(digits.as_bytes()));
            assert!(needles.stands_in(digits.to_uppercase().as_bytes()));
            assert!(!needles.stands_in(&secret[1..]), "of another");
        }
    }

    #[test]
    fn what_is_too_short_is_not_searched_for() {
        assert!(Needles::of(b"hunter2").is_none());
        assert!(Needles::of(b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n").is_none());
    }
}
