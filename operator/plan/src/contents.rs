//! What tells one release from another: a digest of what of it reaches tenants.
//!
//! In: a Release, and the digest that was noted of the one that is meant. Out: whether they are the same. Invariants: what reaches nobody
//! (`recall`, `notes`, `source`) and what has no meaning (the order of components, variables and files, and the object's name) is not
//! in it; a field that a later operator knows and an earlier release doesn't have leaves the digest as it was.

use freehold_crds::{Release, ReleaseSpec};
use serde_json::Value;

use crate::names::long_digest;
use crate::object::is_blank;

/// The digest of a release.
pub fn of(release: &Release) -> String {
    let ReleaseSpec {
        product,
        version,
        mut components,
        hooks,
        source: _,
        schema,
        upgrade_from,
        notes: _,
        recall: _,
    } = release.spec.clone();
    components.sort_by(|a, b| a.name.cmp(&b.name));
    for component in &mut components {
        component.env.sort_by(|a, b| a.name.cmp(&b.name));
        component.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let spec = ReleaseSpec {
        product,
        version,
        components,
        hooks,
        source: None,
        schema,
        upgrade_from,
        notes: None,
        recall: None,
    };
    // A struct of texts, numbers and lists has a form in JSON; there is no input that reaches the other.
    let mut canonical = serde_json::to_value(spec).unwrap_or_default();
    // Whatever the order of the fields in our types, and of the keys in this library's maps.
    canonical.sort_all_objects();
    drop_blank(&mut canonical);
    long_digest(&[&canonical.to_string()])
}

/// Whether a release is another than the one of which this digest was noted. Of one that was noted without a digest nothing is known: it is
/// taken as the same.
pub fn is_other(release: &Release, noted: Option<&str>) -> bool {
    noted.is_some_and(|noted| noted != of(release))
}

/// Takes out of an object what says nothing.
fn drop_blank(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_blank);
            map.retain(|_, value| !is_blank(value));
        }
        Value::Array(list) => list.iter_mut().for_each(drop_blank),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn release(change: impl FnOnce(&mut Value)) -> Release {
        let mut release = json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "Release", "metadata": {"name": "board-1.4.0"},
            "spec": {
                "product": "board", "version": "1.4.0",
                "components": [
                    {"name": "web", "tier": "Web", "image": "registry.example/board@sha256:0", "args": ["web"], "port": 8080,
                     "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]},
                    {"name": "api", "tier": "Application", "image": "registry.example/board@sha256:1", "port": 8081,
                     "resources": {"cpuRequest": "50m"}, "files": [{"path": "/srv/a", "content": "a"}]},
                ],
                "hooks": {"migrate": {"component": "api", "args": ["migrate"]}},
            },
        });
        change(&mut release["spec"]);
        serde_json::from_value(release).unwrap()
    }

    /// Every tenant has this on its Deployments: an operator that makes another one of it takes every release for one that was replaced.
    /// A new field of a Release must be left out of its JSON as long as nobody has set it.
    #[test]
    fn a_release_keeps_its_digest_whatever_later_operators_know() {
        assert_eq!(of(&release(|_| {})), "4304da26a2cf1942b08de6d7c18bf38b");
    }

    #[test]
    fn what_reaches_nobody_and_what_has_no_meaning_is_not_in_it() {
        let plain = of(&release(|_| {}));
        let told = release(|spec| {
            spec["notes"] = "new".into();
            spec["recall"] = json!({"reason": "bad", "action": "Hold"});
            spec["source"] = json!({"commit": "0".repeat(40), "tag": "v1.4.0", "author": "ada"});
        });
        assert_eq!(of(&told), plain);
        let turned = release(|spec| {
            let components = spec["components"].as_array_mut().unwrap();
            components[0]["env"].as_array_mut().unwrap().reverse();
            components.reverse();
        });
        assert_eq!(of(&turned), plain);
        // As the API server keeps it, with the defaults filled in.
        let defaults = release(|spec| {
            spec["schema"] = json!({"change": "Expand"});
            spec["components"][0]["replicas"] = 1.into();
            spec["components"][0]["strategy"] = "RollingUpdate".into();
            spec["components"][0]["resources"] = json!({});
        });
        assert_eq!(of(&defaults), plain);
    }

    #[test]
    fn whatever_reaches_a_tenant_is_in_it() {
        let changes: [fn(&mut Value); 9] = [
            |spec| spec["product"] = "crm".into(),
            |spec| spec["version"] = "1.4.1".into(),
            |spec| spec["components"][0]["image"] = "registry.example/board@sha256:2".into(),
            |spec| spec["components"][0]["args"] = json!(["api"]),
            |spec| spec["components"][0]["env"][1]["value"] = "2".into(),
            |spec| spec["components"][1]["files"][0]["content"] = "b".into(),
            |spec| spec["hooks"]["migrate"]["args"] = json!(["migrate", "all"]),
            |spec| spec["schema"] = json!({"oldestVersion": "1.4.0"}),
            |spec| spec["upgradeFrom"] = ">=1.3.0".into(),
        ];
        let mut digests: Vec<String> = changes.iter().map(|change| of(&release(change))).collect();
        digests.push(of(&release(|_| {})));
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), changes.len() + 1);
        assert_eq!(digests[0].len(), 32);
    }

    #[test]
    fn one_that_was_noted_without_a_digest_is_taken_as_the_same() {
        let release = release(|_| {});
        assert!(!is_other(&release, None));
        assert!(!is_other(&release, Some(&of(&release))));
        assert!(is_other(&release, Some("another")));
    }
}
