//! What a CRD's validation rules cost for a real object, by the API server's own evaluator (`kube cel-cost`). The
//! estimate that the API server makes when the CRD is applied is about the worst object, not about this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::{Lab, shell};

#[derive(Debug, Deserialize)]
struct Cost {
    used: u64,
    budget: u64,
    errors: Vec<String>,
}

/// Units of CEL's cost that validating `object` takes, as an update of `old` where there is one, and the budget of a
/// request. More than the budget is an answer; an object that the rules refuse is an error, for its cost says nothing.
/// Needs no running cluster, only its program.
pub fn cel_cost(lab: &Lab, crd: &Path, object: &Value, old: Option<&Value>) -> Result<(u64, u64)> {
    let files = [Some(object), old]
        .into_iter()
        .flatten()
        .map(Passed::new)
        .collect::<Result<Vec<_>>>()?;
    let mut command = Command::new(lab.bin("kube"));
    command.arg("cel-cost").arg(crd);
    command.args(files.iter().map(|file| &file.0));
    let cost: Cost = serde_json::from_str(&shell::capture(&mut command)?)?;
    if !cost.errors.is_empty() && cost.used <= cost.budget {
        bail!("the object is refused: {}", cost.errors.join("; "));
    }
    Ok((cost.used, cost.budget))
}

/// A file of its own for each call, gone with it: tests run side by side.
#[derive(Debug)]
struct Passed(PathBuf);

impl Passed {
    fn new(object: &Value) -> Result<Passed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cel-cost-{}-{count}.json", std::process::id()));
        fs::write(&path, object.to_string()).with_context(|| format!("write {}", path.display()))?;
        Ok(Passed(path))
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
