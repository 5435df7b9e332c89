//! In: passwords. Out: argon2id hashes (RFC 9106's second recommendation scaled as OWASP does: 19 MiB, 2 passes) and their
//! verification. Pure but slow: [`Verifier`] runs it away from the requests, two at a time, so that a burst of logins
//! takes neither all memory nor all cores.

use crate::problem::Problem;
use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use std::sync::LazyLock;
use tokio::sync::Semaphore;

/// Longer ones only cost time.
const LONGEST: usize = 256;
const AT_ONCE: usize = 2;

pub struct Verifier(Semaphore);

impl Default for Verifier {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Verifier {
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.run(move || hash(&password))
            .await?
            .ok_or_else(|| Problem::Internal("argon2 refused".to_owned()))
    }

    /// False for a wrong password, and, in the same time, for a user that doesn't exist.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Problem> {
        self.run(move || {
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(|| NOBODY.clone());
            let right = PasswordHash::new(&stored).is_ok_and(|stored| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &stored)
                    .is_ok()
            });
            right && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _permit = self
            .0
            .acquire()
            .await
            .map_err(|error| Problem::Internal(error.to_string()))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Problem::Internal(error.to_string()))
    }
}

static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&crate::random::hex::<16>()).unwrap_or_default());

fn hash(password: &str) -> Option<String> {
    let salt = SaltString::encode_b64(&crate::random::bytes::<16>()).ok()?;
    Some(
        Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .ok()?
            .to_string(),
    )
}

/// Length is what counts (NIST SP 800-63B); besides, it must not be the address that it protects.
pub fn check_policy(password: &str, least: usize, email: &str) -> Result<(), Problem> {
    let length = password.chars().count();
    if length < least {
        return Err(Problem::Invalid(format!(
            "the password must be at least {least} characters long"
        )));
    }
    if password.len() > LONGEST {
        return Err(Problem::Invalid(format!(
            "the password must be at most {LONGEST} bytes long"
        )));
    }
    if password.eq_ignore_ascii_case(email) {
        return Err(Problem::Invalid(
            "the password must not be the e-mail address".to_owned(),
        ));
    }
    let mut characters = password.chars();
    let first = characters.next();
    if characters.all(|character| Some(character) == first) {
        return Err(Problem::Invalid(
            "the password must not be one character repeated".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy() {
        let ok = |password: &str| check_policy(password, 12, "ada@acme.example").is_ok();
        assert!(ok("correct horse"));
        assert!(ok("zwölf Zeiche"), "characters count, not bytes");
        assert!(!ok("elf Zeichen"));
        assert!(!ok("aaaaaaaaaaaaaaa"));
        assert!(!ok("ADA@acme.example"));
        assert!(!ok(&"ab".repeat(200)));
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_verifies_only_its_password() {
        let verifier = Verifier::default();
        let stored = verifier.hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(
            verifier
                .verify("correct horse".to_owned(), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(
            !verifier
                .verify("wrong horse".to_owned(), Some(stored))
                .await
                .unwrap()
        );
        assert!(!verifier.verify("correct horse".to_owned(), None).await.unwrap());
    }
}
