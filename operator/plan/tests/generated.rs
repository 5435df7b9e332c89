//! What is generated from the table of kinds stands in the chart as it should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

use std::path::Path;

use freehold_plan::rights::chart_template;

#[test]
fn the_charts_roles_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/freehold/templates/roles.yaml");
    let wanted = chart_template();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "{} is stale: run `UPDATE_GENERATED=1 cargo test -p freehold-plan --test generated`",
        path.display()
    );
}
