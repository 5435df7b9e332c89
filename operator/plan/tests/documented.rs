//! Who reads a blocker's reason finds it in the documentation, with what ends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|is| is == ending) {
            found.push(path);
        }
    }
}

fn read(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    files(&folder, ending, &mut found);
    found
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// The reasons that blockers are made with.
fn reasons() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for source in read("src", "rs") {
        let blockers = source.split("Wait {\n").skip(1);
        let named = blockers.filter_map(|rest| rest.trim_start().strip_prefix("reason: \""));
        all.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    all
}

#[test]
fn each_blocker_is_in_the_guides() {
    let reasons = reasons();
    assert!(reasons.len() > 25, "they are found: {reasons:?}");
    let mut pages = read("../../docs/guide", "md");
    pages.push(
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/install.md")).unwrap(),
    );
    let is_missing = |reason: &&String| !pages.iter().any(|page| page.contains(&format!("`{reason}`")));
    let missing: Vec<_> = reasons.iter().filter(is_missing).collect();
    assert_eq!(
        missing,
        Vec::<&String>::new(),
        "docs/install.md says what each blocker waits for"
    );
}
