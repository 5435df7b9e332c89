//! A rotation, and a process that is killed in the middle of it. In: whom to kill, and when. Out: which step that was, by the
//! rotation's own record as it is written, and how long the rotation took.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use freehold_e2e::{install, kube};
use serde_json::{Value, json};

use super::feed::Feed;
use crate::stage::{MINUTE, change, lab};

/// Of a rotation, in their order.
pub const STEPS: [&str; 3] = ["Rotate", "Rewrap", "Destroy"];
/// The key service is started again, heard by the operator, which asks every 10 s, and asked once more.
const OVER: Duration = Duration::from_secs(180);

/// Who is killed.
#[derive(Clone, Copy, Debug)]
pub enum Victim {
    /// All of its processes at once.
    KeyService,
    Driver,
    Kubelet,
}

impl Victim {
    pub fn processes(self) -> Vec<i32> {
        // Two are one program with others, some of which have the word among their arguments.
        match self {
            Victim::KeyService => kube::commands("freehold", "keys"),
            Victim::Driver => kube::processes("freehold-csi", "--node-id"),
            Victim::Kubelet => kube::commands("kube", "kubelet"),
        }
    }

    /// Waits until as many run again, and none of those that were killed.
    pub fn wait_for_another(self, killed: &[i32]) {
        kube::until(&format!("{self:?} to run again"), MINUTE, || {
            let now = self.processes();
            let another = now.len() >= killed.len() && !now.iter().any(|pid| killed.contains(pid));
            Ok(another.then_some(()))
        })
        .unwrap();
    }
}

/// When to strike.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// As soon as the record says that this step is under way.
    Step(&'static str),
    /// So long after the rotation was asked for, wherever it is then.
    After(Duration),
}

/// One strike.
#[derive(Debug)]
pub struct Struck {
    at: At,
    /// The step that was under way; `Pending` before the first, `Succeeded` after the last, nothing before it was on record.
    pub hit: String,
    /// From when it was asked for to when it was acknowledged.
    pub took: Duration,
}

impl fmt::Display for Struck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Step(step) => write!(f, "when {step} was seen: ")?,
            At::After(delay) => write!(f, "after {:.3} s: ", delay.as_secs_f64())?,
        }
        let hit = if self.hit.is_empty() { "nothing" } else { &self.hit };
        write!(f, "hit {hit}, rotated within {:.1} s", self.took.as_secs_f64())
    }
}

/// The rotations of one tenant's key, as their records are written.
pub struct Rotations {
    tenant: &'static str,
    seen: Arc<Mutex<Seen>>,
    _feed: Feed,
}

#[derive(Default)]
struct Seen {
    /// Word of the rotation, where it stands, since when.
    told: Vec<(String, String, Instant)>,
    aim: Option<Aim>,
    struck: Option<Instant>,
}

struct Aim {
    word: String,
    step: &'static str,
    pids: Vec<i32>,
}

impl Seen {
    /// Takes in a record, and strikes if it is the time.
    fn take(&mut self, record: &Value) {
        let status = &record["status"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(word) = text(&record["spec"]["rotation"]["token"]) else {
            return;
        };
        let stands = match status["phase"].as_str() {
            Some("Running") => text(&status["step"]),
            Some(phase) => Some(phase.to_owned()),
            None => None,
        };
        let stands = stands.unwrap_or_else(|| "Pending".to_owned());
        let known = self.told.iter().rev().find(|(of, ..)| *of == word);
        if known.is_none_or(|(_, before, _)| *before != stands) {
            self.told.push((word.clone(), stands.clone(), Instant::now()));
        }
        if let Some(aim) = self.aim.take_if(|aim| aim.word == word && aim.step == stands) {
            self.struck = Some(Instant::now());
            kube::kill(&aim.pids);
        }
    }

    /// Where a rotation stood at some time.
    fn at(&self, word: &str, time: Instant) -> String {
        let told = self.told.iter().rev();
        let mut before = told.filter(|(of, _, since)| of == word && *since <= time);
        before
            .next()
            .map(|(_, stands, _)| stands.clone())
            .unwrap_or_default()
    }
}

impl Rotations {
    pub fn watch(tenant: &'static str) -> Rotations {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let into = seen.clone();
        let feed = Feed::start(&["-n", install::NAMESPACE, "tenantoperations"], move |record| {
            if record["spec"]["tenant"] == tenant && record["spec"]["type"] == "TenantKeyRotation" {
                into.lock().unwrap().take(record);
            }
        });
        Rotations {
            tenant,
            seen,
            _feed: feed,
        }
    }

    /// Rotates once, with a strike meanwhile; returns when the rotation is over and the victim runs again.
    pub fn under_strike(&self, victim: Victim, at: At) -> Struck {
        let before = self.key();
        let version = before["version"].as_u64().unwrap() + 1;
        let word = format!("strike-{version}-{:x}", std::process::id());
        let pids = victim.processes();
        assert!(!pids.is_empty(), "{victim:?} runs");
        let begin = Instant::now();
        let timer = match at {
            At::Step(step) => {
                let (word, pids) = (word.clone(), pids.clone());
                let mut seen = self.seen.lock().unwrap();
                (seen.aim, seen.struck) = (Some(Aim { word, step, pids }), None);
                None
            }
            At::After(delay) => {
                let pids = pids.clone();
                Some(std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    let now = Instant::now();
                    kube::kill(&pids);
                    now
                }))
            }
        };
        change(self.tenant, &json!({"keys": {"rotateTenantKey": word}}));
        self.wait_for(&word, version);
        let took = begin.elapsed();
        let struck = match timer {
            Some(timer) => Some(timer.join().unwrap()),
            None => self.seen.lock().unwrap().struck,
        };
        let struck =
            struck.unwrap_or_else(|| panic!("{at:?} was not seen: {:?}", self.seen.lock().unwrap().told));
        victim.wait_for_another(&pids);
        let hit = self.seen.lock().unwrap().at(&word, struck);
        Struck { at, hit, took }
    }

    fn key(&self) -> Value {
        let object = kube::get(lab(), &["tenant", self.tenant]).unwrap();
        object["status"]["keys"]["tenantKey"].clone()
    }

    /// Waits until a rotation is acknowledged, and looks whether it is one, and whole.
    fn wait_for(&self, word: &str, version: u64) {
        let keys = kube::until("the rotation to be acknowledged", OVER, || {
            let object = kube::get(lab(), &["tenant", self.tenant])?;
            let over = object["status"]["keys"]["tenantKey"]["acknowledged"] == word
                && kube::condition(&object, "KeysCurrent") == "True";
            Ok(over.then(|| object["status"]["keys"].clone()))
        });
        let keys = keys.unwrap_or_else(|error| panic!("{error:#}: {:?}", self.seen.lock().unwrap().told));
        let (key, volumes) = (&keys["tenantKey"], keys["dataKeys"].as_array().unwrap());
        assert_eq!(key["version"], version, "one new version: {key}");
        let versions = key["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 1, "the old one is destroyed: {key}");
        assert!(!volumes.is_empty());
        assert_eq!(
            versions[0]["protects"].as_u64(),
            Some(volumes.len() as u64),
            "{keys}"
        );
    }
}
