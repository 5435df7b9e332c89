//! Names of the domain name system, and whether one is within another's subtree. No client.

use crate::Error;

const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;
/// RFC 5280, appendix A.1: ub-common-name.
const COMMON_NAME_MAX: usize = 64;

/// Letters, digits and hyphens, in labels (RFC 5280, 4.2.1.6, by RFC 1034, 3.5). No wildcard: under a permitted
/// subtree verifiers don't agree on what one may stand for.
pub fn check_dns(name: &str) -> Result<(), Error> {
    if name.len() <= NAME_MAX && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::InvalidName(name.to_owned()))
}

pub fn check_common(name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if (1..=COMMON_NAME_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::CommonName(name.to_owned()))
}

/// One label: where there are no other names OpenSSL takes a common name with a dot in it for a name of a host, and
/// applies the authority's constraints to it (`NAME_CONSTRAINTS_check_CN`). Underscores are fine: the name of PostgreSQL's
/// role for replication has one.
pub fn check_common_label(name: &str) -> Result<(), Error> {
    if is_label(&name.replace('_', "-")) {
        return Ok(());
    }
    Err(Error::CommonName(name.to_owned()))
}

/// "Any DNS name that can be constructed by simply adding zero or more labels to the left-hand side of the name
/// satisfies the name constraint" (RFC 5280, 4.2.1.10). Letters' case doesn't count (7.2). Others write a dot before a
/// subtree, and verifiers take it for one that leaves out the name itself.
pub fn is_within(name: &str, subtree: &str) -> bool {
    let (name, subtree) = (name.as_bytes(), subtree.as_bytes());
    let Some(more) = name.len().checked_sub(subtree.len()) else {
        return false;
    };
    let (left, right) = name.split_at(more);
    let at_label = left.is_empty() || left.ends_with(b".") || subtree.is_empty() || subtree.starts_with(b".");
    right.eq_ignore_ascii_case(subtree) && at_label
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_within_its_own_subtree_and_those_above_it() {
        for (name, subtree, expected) in [
            ("acme.example", "acme.example", true),
            ("a.b.acme.example", "acme.example", true),
            ("A.Acme.Example", "acme.exAMPLE", true),
            ("badacme.example", "acme.example", false),
            ("example", "acme.example", false),
            ("acme.example.evil.test", "acme.example", false),
            ("anything.test", "", true),
            ("a.acme.example", ".acme.example", true),
            ("acme.example", ".acme.example", false),
        ] {
            assert_eq!(is_within(name, subtree), expected, "{name} in {subtree}");
        }
    }

    #[test]
    fn only_letters_digits_and_hyphens_make_a_name() {
        for good in ["a", "acme.example", "10.1.2.3", "xn--bcher-kva.example", "A-1.b"] {
            assert!(check_dns(good).is_ok(), "{good}");
        }
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        for bad in [
            "",
            ".",
            "acme.example.",
            ".acme.example",
            "*.acme.example",
            "a b",
            "bücher.example",
            "-a.b",
            "a-.b",
            "a_b.c",
            "::1",
            "a\0.b",
            &long_label,
            &long_name,
        ] {
            assert!(matches!(check_dns(bad), Err(Error::InvalidName(_))), "{bad}");
        }
    }

    #[test]
    fn a_common_name_has_at_most_64_characters() {
        assert!(check_common(&"ä".repeat(64)).is_ok());
        assert!(check_common("Freehold CA of acme").is_ok());
        for bad in ["", "a\nb", &"a".repeat(65)] {
            assert!(matches!(check_common(bad), Err(Error::CommonName(_))), "{bad:?}");
        }
        assert!(check_common_label("edge").is_ok());
        for bad in ["", "two words", "a.b"] {
            assert!(
                matches!(check_common_label(bad), Err(Error::CommonName(_))),
                "{bad:?}"
            );
        }
    }
}
