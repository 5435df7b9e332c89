//! Random bytes from the kernel. Out: text that nobody guesses.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The kernel's generator fails only on systems that this program can't run on.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => std::process::abort(),
    }
}

/// Safe in URLs and cookies.
pub fn url_safe<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<N>())
}

pub fn hex<const N: usize>() -> String {
    bytes::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}
