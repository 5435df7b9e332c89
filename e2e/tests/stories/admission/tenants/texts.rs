//! Texts that people read, and addresses that mail goes to.

use crate::admission::table::{Case, lengths, letters, one, refuses, takes};

pub fn cases() -> Vec<Case> {
    let shown = |text: &str| one("/spec/displayName", text);
    let mail = |text: &str| one("/spec/owner/email", text);
    let mut cases = vec![
        takes("a display name in another script", shown("株式会社アクメ")),
        takes(
            "a display name of joined characters",
            shown("Zoë 👩‍💻 & Søn <GmbH>"),
        ),
        takes("a display name that is a YAML word", shown("null")),
        takes(
            "a display name that could be a template",
            shown("{{ .Values.x }} ${HOME} $(id)"),
        ),
        refuses(
            "an empty display name",
            shown(""),
            "displayName…at least 1 chars long",
        ),
        takes("100 characters of three bytes each", shown(&"株".repeat(100))),
        takes(
            "an address with a plus",
            mail("first.last+tag@mail.story.example"),
        ),
        takes("an address of two characters at their least", mail("a@b")),
        refuses(
            "an address without an at",
            mail("nobody"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address with two",
            mail("a@b@c"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address with a space",
            mail("a b@c.example"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address with a line break",
            mail("a@b.example\nBcc: x@y"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address that ends in a line break",
            mail("a@b.example\n"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address with a bell",
            mail("a\u{7}@b.example"),
            "spec.owner.email…should match",
        ),
        refuses(
            "an address with a space of no width to break",
            mail("a\u{a0}b@c.example"),
            "spec.owner.email…should match",
        ),
        takes("an owner with a name", one("/spec/owner/name", "Ada Lovelace")),
        refuses(
            "an owner with a bell in the name",
            one("/spec/owner/name", "A\u{7}da"),
            "owner.name is one line of text",
        ),
        refuses(
            "an owner with an empty name",
            one("/spec/owner/name", ""),
            "owner.name…at least 1 chars long",
        ),
    ];
    for wrong in [
        "a\nb",
        "a\tb",
        "a\u{0}b",
        "a\u{1b}[31mb",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{202e}b",
        "a\u{2066}b",
    ] {
        cases.push(refuses(
            format!("the display name {wrong:?}"),
            shown(wrong),
            "displayName is one line of text",
        ));
    }
    cases.extend(lengths("/spec/displayName", 100, letters));
    cases.extend(lengths("/spec/owner/name", 100, letters));
    cases.extend(lengths("/spec/owner/email", 254, |n| {
        format!("{}@b", letters(n - 2))
    }));
    cases.extend(lengths("/spec/region", 40, letters));
    cases.extend(lengths("/spec/className", 63, letters));
    cases.extend(lengths("/spec/release/name", 120, letters));
    for (path, value) in [
        ("/spec/region", "eu_central"),
        ("/spec/region", "EU"),
        ("/spec/region", "eu-"),
        ("/spec/className", "a.b"),
        ("/spec/className", "-"),
        ("/spec/release/name", "board/1"),
        ("/spec/release/name", "../x"),
        ("/spec/release/name", "board-1.0.0\n"),
    ] {
        let field = path.rsplit('/').next().unwrap_or_default();
        cases.push(refuses(
            format!("{path}: {value:?}"),
            one(path, value),
            &format!("{field}…should match"),
        ));
    }
    cases
}
