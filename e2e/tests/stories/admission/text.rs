//! What people write is YAML, which has ideas of its own about some words: by `kubectl`, which reads it. And JSON that no
//! serializer writes.

use std::fmt::Write as _;

use freehold_e2e::lab::{Lab, addons, shell};

use super::api::Api;
use super::table::{self, Expect, Tally, refuses, takes};
use super::tenants;

/// The good one, with some words in the place of a line.
fn tenant(name: &str, seats: &str, more: &str) -> String {
    format!(
        "apiVersion: freehold.dev/v1alpha1\nkind: Tenant\nmetadata:\n  name: {name}\nspec:\n  displayName: Story\n  owner: {{email: owner@story.example}}\n  \
         seats: {seats}\n  region: eu-central\n  className: no-such-class\n  release: {{name: board-1.0.0}}\n  hostnames: [story.example.com]\n{more}"
    )
}

/// Nine to the power of nine words.
fn bomb() -> String {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..9 {
        let inner = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", [inner.as_str(); 9].join(", "));
    }
    text + &tenant("story-admission", "5", "  egress: *a8\n")
}

pub fn yaml(lab: &Lab) -> Tally {
    let name = |name: &str| tenant(name, "5", "");
    let seats = |seats: &str| tenant("story-admission", seats, "");
    let more = |more: &str| tenant("story-admission", "5", more);
    let deep = format!("  egress: {}{}\n", "[".repeat(20_000), "]".repeat(20_000));
    let cases = [
        (name("story-admission"), takes("the good one", [])),
        (name("'on'"), takes("a name on in quotes", [])),
        (name("on"), refuses("a name on", [], "metadata.name")),
        (name("null"), refuses("a name null", [], "name")),
        (name("1e3"), refuses("a name 1e3", [], "metadata.name")),
        (name("0777"), refuses("a name 0777", [], "metadata.name")),
        (name("~"), refuses("a name ~", [], "name")),
        (seats("1e1"), takes("seats 1e1", [])),
        (
            seats("'5'"),
            refuses("seats in quotes", [], "spec.seats…must be of type integer"),
        ),
        (
            seats("5 seats"),
            refuses("seats with a word", [], "spec.seats…must be of type integer"),
        ),
        (seats(".inf"), refuses("seats without end", [], "")),
        (
            more("  deletionProtection: no\n"),
            takes("no, which is false", []),
        ),
        (
            more("  deletionProtection: \"no\"\n"),
            refuses(
                "no in quotes",
                [],
                "spec.deletionProtection…must be of type boolean",
            ),
        ),
        (
            more("  database: {storageSize: 5}\n"),
            refuses(
                "storage as a number",
                [],
                "spec.database.storageSize…must be of type string",
            ),
        ),
        (
            more("  colour: red\n"),
            refuses("an unknown field", [], "unknown field \"spec.colour\""),
        ),
        (more("\tquota: {}\n"), refuses("a tabulator", [], "yaml")),
        (more(&deep), refuses("twenty thousand brackets", [], "depth")),
        (bomb(), refuses("an alias bomb", [], "excessive aliasing")),
    ];
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let asked: Vec<_> = cases
            .iter()
            .map(|(text, case)| (case, scope.spawn(move || create(lab, text))))
            .collect();
        for (case, asked) in asked {
            let judged = judge(&case.name, &case.expect, asked.join().unwrap());
            tally.add(&case.expect, judged);
        }
    });
    tally
}

/// `kubectl` keeps the last of two that have the same key; the API server itself refuses them.
pub fn json(api: &Api) -> Tally {
    let good = tenants::base().to_string();
    let deep = format!("{{\"spec\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let cases = [
        (good.clone(), takes("the good one", [])),
        (
            good.replace("\"seats\":5", "\"seats\":5,\"seats\":6"),
            refuses("seats twice", [], "duplicate field \"spec.seats\""),
        ),
        (deep, refuses("twenty thousand brackets", [], "depth")),
        (
            good[..good.len() - 1].to_owned(),
            refuses("all but the last bracket", [], "unexpected end of JSON"),
        ),
        (String::new(), refuses("nothing", [], "")),
        ("\u{0}".repeat(1000), refuses("zeros", [], "")),
    ];
    let mut tally = Tally::default();
    for (text, case) in cases {
        let path = "/apis/freehold.dev/v1alpha1/tenants?dryRun=All&fieldValidation=Strict";
        let answer = api.send("POST", path, text.as_bytes());
        tally.add(
            &case.expect,
            table::judge(&format!("JSON: {}", case.name), &case.expect, &answer),
        );
    }
    tally
}

fn create(lab: &Lab, text: &str) -> Result<(), String> {
    let mut command = addons::kubectl(lab);
    command.args(["create", "--dry-run=server", "-f", "-"]);
    shell::feed(&mut command, text.as_bytes())
        .map(drop)
        .map_err(|error| format!("{error:#}"))
}

fn judge(name: &str, expect: &Expect, told: Result<(), String>) -> Result<(), String> {
    match (expect, told) {
        (Expect::Taken, Ok(())) => Ok(()),
        (Expect::Taken, Err(message)) => Err(format!("YAML: {name}: is refused: {message}")),
        (Expect::Refused(_), Ok(())) => Err(format!("YAML: {name}: is taken")),
        (Expect::Refused(parts), Err(message)) => match parts.iter().find(|part| !message.contains(*part)) {
            None => Ok(()),
            Some(part) => Err(format!(
                "YAML: {name}: the refusal doesn't say {part:?}: {message}"
            )),
        },
    }
}
