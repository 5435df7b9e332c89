//! Several certificates in one text. No client.

use std::collections::BTreeSet;

use crate::Error;
use crate::parsed::{self, What};

const BUNDLE: What = What("a bundle");

/// One text of the certificates of several, in the order in which they come, none twice.
pub fn bundle<'a>(pems: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for pem in pems {
        for der in parsed::ders(pem, BUNDLE)? {
            parsed::certificate(&der, BUNDLE)?;
            if seen.insert(parsed::fingerprint(&der)) {
                text.push_str(&parsed::pem(&der));
            }
        }
    }
    Ok(text)
}

/// The certificates of a bundle, each as a text of its own.
pub fn certificates(bundle: &str) -> Result<Vec<String>, Error> {
    let mut pems = Vec::new();
    for der in parsed::ders(bundle, BUNDLE)? {
        parsed::certificate(&der, BUNDLE)?;
        pems.push(parsed::pem(&der));
    }
    Ok(pems)
}
