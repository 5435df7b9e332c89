//! Reading and writing the lab's cluster as `kubectl` does, which its users have.

mod read;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine;
use serde_json::Value;

use crate::lab::{Lab, addons, shell};

/// Runs kubectl and returns what it printed.
pub fn kubectl(lab: &Lab, args: &[&str]) -> Result<String> {
    shell::capture(addons::kubectl(lab).args(args))
}

/// Gets objects as JSON: `kubectl get … -o json`.
pub fn get(lab: &Lab, args: &[&str]) -> Result<Value> {
    if let Some(question) = read::Question::of(args) {
        return read::get(lab, question);
    }
    let text = shell::capture(addons::kubectl(lab).arg("get").args(args).args(["-o", "json"]))?;
    Ok(serde_json::from_str(&text)?)
}

/// Applies manifests given as JSON values.
pub fn apply(lab: &Lab, objects: &[Value]) -> Result<()> {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    shell::feed(
        addons::kubectl(lab).args(["apply", "-f", "-"]),
        list.to_string().as_bytes(),
    )
    .map(drop)
}

/// Runs a command in a container.
pub fn exec(lab: &Lab, namespace: &str, pod: &str, command: &[&str]) -> Result<String> {
    shell::capture(
        addons::kubectl(lab)
            .args(["-n", namespace, "exec", pod, "--"])
            .args(command),
    )
}

/// One statement on a tenant's database, on its primary; rows as psql prints them without decoration.
pub fn sql(lab: &Lab, namespace: &str, cluster: &str, statement: &str) -> Result<String> {
    let primary = get(lab, &["-n", namespace, "clusters.postgresql.cnpg.io", cluster])?;
    let Some(pod) = primary["status"]["currentPrimary"].as_str() else {
        bail!("{cluster} has no primary")
    };
    let call = [
        "psql",
        "-h",
        "/controller/run",
        "-U",
        "postgres",
        "-d",
        "app",
        "-AtX",
        "-c",
        statement,
    ];
    let args = [
        &["-n", namespace, "exec", pod, "-c", "postgres", "--"],
        call.as_slice(),
    ]
    .concat();
    Ok(kubectl(lab, &args)?.trim().to_string())
}

/// One value of a Secret or ConfigMap.
pub fn secret(lab: &Lab, namespace: &str, name: &str, key: &str) -> Result<String> {
    let object = get(lab, &["-n", namespace, "secret", name])?;
    let Some(value) = object["data"][key].as_str() else {
        bail!("Secret {namespace}/{name} has no key {key}")
    };
    Ok(String::from_utf8(
        base64::engine::general_purpose::STANDARD.decode(value)?,
    )?)
}

/// The status of a condition of an object, `Unknown` where it isn't there.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|c| c["type"] == kind);
    found.and_then(|c| c["status"].as_str()).unwrap_or("Unknown")
}

/// What a tenant or a channel waits for under a reason.
pub fn blocker(object: &Value, reason: &str) -> Option<Value> {
    let blockers = object["status"]["blockers"].as_array();
    let mut blockers = blockers.into_iter().flatten();
    blockers.find(|blocker| blocker["reason"] == reason).cloned()
}

/// Tries until it gives something; says what it waited for when the time is over.
pub fn until<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let found = attempt();
        if let Ok(Some(found)) = found {
            return Ok(found);
        }
        if begin.elapsed() > limit {
            let why = found.err().map(|e| format!(": {e:#}")).unwrap_or_default();
            bail!("waited {} s for {what}{why}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until an object has a condition at a status.
pub fn wait_condition(lab: &Lab, args: &[&str], kind: &str, status: &str, limit: Duration) -> Result<Value> {
    until(
        &format!("{} to be {kind}={status}", args.join(" ")),
        limit,
        || {
            let object = get(lab, args)?;
            Ok((condition(&object, kind) == status).then_some(object))
        },
    )
}

/// Every process of this machine whose executable is called `program` and whose arguments hold `argument`,
/// in whatever namespace: what `kill -9` needs.
pub fn processes(program: &str, argument: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line
            .split(|b| *b == 0)
            .map(|w| String::from_utf8_lossy(w).into_owned());
        let name = words.next().unwrap_or_default();
        let matches = name.rsplit('/').next().is_some_and(|n| n == program);
        if matches && words.any(|w| w.contains(argument)) {
            found.push(pid);
        }
    }
    found
}

/// Of those, the ones whose first argument is that: the command of a program that has several.
pub fn commands(program: &str, command: &str) -> Vec<i32> {
    let is_command = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(command.as_bytes())
    };
    let all = processes(program, command);
    all.into_iter().filter(is_command).collect()
}

/// Kills processes at once, without a chance to clean up.
pub fn kill(pids: &[i32]) {
    for pid in pids {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(*pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}
