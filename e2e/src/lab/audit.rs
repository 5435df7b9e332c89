//! Who asked the API server for what, counted from its audit log. In: a user's name and a mark in the log. Out: counts by
//! verb and resource. Leases are in the log for Freehold alone; reads of the cluster's own parts aren't ([`super::parts`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Lab;

/// Requests by verb and resource. The verb of one that was refused has the code behind it: `create (403)`. A resource is named
/// like `tenants.freehold.dev/status`, or `pods` where it has no group; a request for something else by its path.
pub type Requests = BTreeMap<(String, String), u64>;

/// A place in the audit log. It stays valid when the log is rotated: the file is remembered, not only the offset.
#[derive(Debug, Clone, Copy)]
pub struct Marker {
    inode: u64,
    offset: u64,
}

/// The end of the log as it is now.
pub fn mark(lab: &Lab) -> Result<Marker> {
    let log = fs::metadata(lab.logs().join("audit.log")).context("the API server has no audit log yet")?;
    Ok(Marker {
        inode: log.ino(),
        offset: log.len(),
    })
}

/// How often `user` asked for what since the mark. A watch counts when it begins, everything else when it is over.
pub fn requests_of(lab: &Lab, user: &str, since: Marker) -> Result<Requests> {
    let mut counts = Requests::new();
    for (path, offset) in files(lab, since)? {
        let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        file.seek(SeekFrom::Start(offset))?;
        for line in BufReader::new(file).split(b'\n') {
            // Most lines are somebody else's, and the last one may still be written.
            let line = line?;
            let Ok(event) = serde_json::from_slice::<Event>(&line) else {
                continue;
            };
            if event.user.username == user && event.counts() {
                *counts.entry((event.verb(), event.resource())).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// The files that hold what was logged since the mark, oldest first, each with where to begin. The API server keeps
/// rotated files beside the log, with the time in their names.
fn files(lab: &Lab, since: Marker) -> Result<Vec<(PathBuf, u64)>> {
    let mut rotated = Vec::new();
    for entry in fs::read_dir(lab.logs())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("audit-") && name.ends_with(".log") {
            rotated.push(entry.path());
        }
    }
    rotated.sort();
    rotated.push(lab.logs().join("audit.log"));
    let first = rotated
        .iter()
        .position(|path| fs::metadata(path).is_ok_and(|found| found.ino() == since.inode))
        .context("the marked part of the audit log was rotated away")?;
    let later = rotated.drain(first..).enumerate();
    Ok(later
        .map(|(at, path)| (path, if at == 0 { since.offset } else { 0 }))
        .collect())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: Subject,
    object_ref: Option<Object>,
    response_status: Option<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    code: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    username: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    resource: Option<String>,
    api_group: Option<String>,
    subresource: Option<String>,
}

impl Event {
    /// A watch is logged twice, when the answer begins and when it ends, unless it is refused.
    fn counts(&self) -> bool {
        match self.stage.as_str() {
            "ResponseStarted" => self.verb == "watch",
            "ResponseComplete" => self.verb != "watch" || self.refused().is_some(),
            _ => false,
        }
    }

    fn refused(&self) -> Option<u16> {
        let code = self.response_status.as_ref()?.code?;
        (code >= 400).then_some(code)
    }

    fn verb(&self) -> String {
        self.refused()
            .map_or_else(|| self.verb.clone(), |code| format!("{} ({code})", self.verb))
    }

    fn resource(&self) -> String {
        let path = || self.uri.split('?').next().unwrap_or_default().to_string();
        let Some(object) = &self.object_ref else {
            return path();
        };
        let mut name = object.resource.clone().unwrap_or_else(path);
        if let Some(group) = &object.api_group {
            name += &format!(".{group}");
        }
        if let Some(subresource) = &object.subresource {
            name += &format!("/{subresource}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn event(user: &str, stage: &str, verb: &str, object: &str) -> String {
        format!(
            r#"{{"stage":"{stage}","verb":"{verb}","requestURI":"/version?x=1","user":{{"username":"{user}"}}{object}}}"#
        )
    }

    #[test]
    fn requests_are_counted_once_by_verb_and_resource_across_a_rotation() {
        let dir = std::env::temp_dir().join(format!("audit-{}", std::process::id()));
        let lab = Lab::at(&dir);
        fs::create_dir_all(lab.logs()).unwrap();
        let log = lab.logs().join("audit.log");
        let status =
            r#","objectRef":{"resource":"tenants","apiGroup":"freehold.dev","subresource":"status"}"#;
        let pods = r#","objectRef":{"resource":"pods"}"#;
        let refused = r#","objectRef":{"resource":"pods"},"responseStatus":{"code":403}"#;
        fs::write(&log, event("us", "ResponseComplete", "patch", status) + "\n").unwrap();
        let since = mark(&lab).unwrap();
        let lines = [
            event("us", "ResponseComplete", "patch", status),
            event("us", "ResponseStarted", "watch", pods),
            event("others", "ResponseComplete", "get", pods),
        ];
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        writeln!(file, "{}", lines.join("\n")).unwrap();
        fs::rename(&log, lab.logs().join("audit-2026-01-01T00-00-00.000.log")).unwrap();
        let lines = [
            event("us", "ResponseComplete", "watch", pods),
            event("us", "ResponseComplete", "get", ""),
            event("us", "ResponseComplete", "create", refused),
            r#"{"stage":"Resp"#.to_string(),
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        let found = requests_of(&lab, "us", since).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|((verb, resource), n)| format!("{verb} {resource} {n}"))
            .collect();
        assert_eq!(
            found,
            [
                "create (403) pods 1",
                "get /version 1",
                "patch tenants.freehold.dev/status 1",
                "watch pods 1"
            ]
        );
    }
}
