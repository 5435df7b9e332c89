//! What the API server refuses: by the types' own rules ([`the_table_of_good_and_bad_objects`]), and by the chart's
//! policies, which know who asks. Each policy is tried as the lab's administrator, whom RBAC lets do everything, and as
//! the operator. Nothing is kept but what a story makes for itself.

mod api;
mod approvals;
mod bindings;
mod channels;
mod classes;
mod copies;
mod databases;
mod keeping;
mod marked;
mod namespaces;
mod probes;
mod records;
mod releases;
mod table;
mod tenants;
mod text;
mod transitions;

use std::time::Instant;

use freehold_e2e::kube;
use serde_json::{Value, json};

use crate::stage::{MINUTE, lab};
use api::{Api, operator};
use copies::Copies;
use table::Tally;

#[test]
fn the_table_of_good_and_bad_objects() {
    let lab = lab();
    let begin = Instant::now();
    let administrator = Api::administrator(lab);
    // Operations, claims and records are the operator's.
    let operator = Api::named(lab, &operator());
    let mut all = Tally::default();
    let mut count = |what: &str, tally: Tally| {
        println!("  {what}: {} taken, {} refused", tally.taken, tally.refused);
        all.join(tally);
    };
    for table in [
        tenants::table(),
        classes::table(),
        releases::table(),
        channels::table(),
    ] {
        count(table.kind, table.run(&administrator));
    }
    for table in [records::operations(), records::claims(), records::destructions()] {
        count(table.kind, table.run(&operator));
    }
    count("ReleaseApproval", approvals::table().run(&approvals::approver()));
    count("YAML", text::yaml(lab));
    count("JSON", text::json(&administrator));
    count("transitions", transitions::run(&Copies::make(&administrator)));
    count(
        "transitions of the samples",
        transitions::on_the_samples(&administrator),
    );
    println!(
        "{} objects: {} taken, {} refused, in {:.1} s",
        all.taken + all.refused,
        all.taken,
        all.refused,
        begin.elapsed().as_secs_f64()
    );
    assert!(
        all.wrong.is_empty(),
        "{} otherwise:\n{}",
        all.wrong.len(),
        all.wrong.join("\n")
    );
    assert!(all.taken + all.refused >= 150);
}

/// The API server compiles the policies against the kinds that it knows: a slip in one is a warning there, and a rule that
/// always errs, which refuses everything.
#[test]
fn the_policies_are_of_sound_types() {
    lab();
    let policies = kube::until("the policies to be checked", MINUTE, || {
        let all = kube::get(
            lab(),
            &[
                "validatingadmissionpolicies",
                "-l",
                "app.kubernetes.io/name=freehold",
            ],
        )?;
        let items = all["items"].as_array().cloned().unwrap_or_default();
        let current = |p: &Value| p["status"]["observedGeneration"] == p["metadata"]["generation"];
        Ok((items.len() >= 10 && items.iter().all(current)).then_some(items))
    })
    .unwrap();
    for policy in policies {
        let name = &policy["metadata"]["name"];
        assert_eq!(policy["status"]["typeChecking"], json!({}), "{name}");
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
        let binding = kube::get(
            lab(),
            &["validatingadmissionpolicybinding", name.as_str().unwrap()],
        )
        .unwrap();
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]), "{name}");
    }
}
