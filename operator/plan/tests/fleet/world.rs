//! A channel with tenants that do what their plans would do, on a clock that jumps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_crds::{
    Environment, Grant, GrantKind, Release, ReleaseApproval, ReleaseChannel, RingPhase, RingStatus,
};
use freehold_plan::fleet::member::{Apart, Member, Test, Tested, Way};
use freehold_plan::fleet::{Advance, Fleet, advance};
use freehold_plan::{Event, Hours};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// When every world begins.
pub const BEGIN: i64 = 1_800_000_000;

/// What a release does to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Well,
    Fails,
    /// It runs, and serves nobody ten minutes later.
    Breaks,
}

/// When a tenant may be upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Always,
    Never,
    /// From this second of each day, for four hours.
    Daily(i64),
}

impl Window {
    pub fn hours(self, now: Timestamp) -> Hours {
        const DAY: i64 = 86_400;
        const LONG: i64 = 4 * 3600;
        match self {
            Self::Always => Hours::Open {
                until: now + SignedDuration::from_hours(24),
            },
            Self::Never => Hours::Shut { until: None },
            Self::Daily(from) => {
                let into = (now.as_second() - from).rem_euclid(DAY);
                let at = |second| Timestamp::from_second(now.as_second() + second).unwrap();
                if into < LONG {
                    Hours::Open {
                        until: at(LONG - into),
                    }
                } else {
                    Hours::Shut {
                        until: Some(at(DAY - into)),
                    }
                }
            }
        }
    }
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub member: Member,
    pub window: Window,
    /// The upgrade that is under way: its end, and what comes of it.
    ends: Option<(Timestamp, Fate)>,
    /// When what runs stops serving.
    breaks: Option<Timestamp>,
    /// How long it takes.
    pub long: SignedDuration,
}

/// Everything.
pub struct World {
    pub now: Timestamp,
    pub channel: ReleaseChannel,
    pub releases: BTreeMap<String, Arc<Release>>,
    pub approvals: Vec<ReleaseApproval>,
    pub tenants: Vec<Tenant>,
    pub events: Vec<Event>,
    /// What a release does to a tenant, by their names.
    pub fate: Box<dyn Fn(&str, &str) -> Fate>,
    /// Every tenant that has begun with a release.
    pub touched: BTreeMap<String, BTreeSet<String>>,
    /// Checked at every write.
    pub writes: usize,
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + seconds).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub fn release(version: &str) -> Release {
    typed(json!({
        "apiVersion": "freehold.dev/v1alpha1", "kind": "Release", "metadata": {"name": format!("board-{version}")},
        "spec": {
            "product": "board", "version": version,
            "source": {"commit": "0".repeat(40), "tag": format!("v{version}"), "author": "author"},
            "components": [{
                "name": "web", "tier": "Web", "image": format!("registry.example/web@sha256:{}", "0".repeat(64)), "args": ["web"],
                "port": 8080,
            }],
        },
    }))
}

impl World {
    /// Rings as they would be written, without tenants.
    pub fn new(rings: &Value) -> Self {
        Self {
            now: at(0),
            channel: typed(json!({
                "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseChannel", "metadata": {"name": "board", "generation": 1},
                "spec": {"product": "board", "rings": rings},
            })),
            releases: BTreeMap::new(),
            approvals: Vec::new(),
            tenants: Vec::new(),
            events: Vec::new(),
            fate: Box::new(|_, _| Fate::Well),
            touched: BTreeMap::new(),
            writes: 0,
        }
    }

    /// So many tenants of an environment, which run a release.
    pub fn with(mut self, many: usize, environment: Environment, runs: &str) -> Self {
        for _ in 0..many {
            let number = self.tenants.len();
            let name = format!("t{number:05}");
            self.tenants.push(Tenant {
                member: Member {
                    uid: format!("uid-{name}"),
                    incarnation: format!("life-{name}"),
                    name,
                    channel: "board".into(),
                    labels: BTreeMap::new(),
                    environment,
                    apart: None,
                    runs: Some(format!("board-{runs}")),
                    down_since: None,
                    under_way: None,
                    came: None,
                    failed: BTreeMap::new(),
                    hours: None,
                    grant: None,
                    tests: BTreeMap::new(),
                },
                window: Window::Always,
                ends: None,
                breaks: None,
                long: SignedDuration::from_mins(5),
            });
        }
        self.see();
        self
    }

    pub fn publish(&mut self, version: &str) {
        let release = release(version);
        self.releases
            .insert(release.metadata.name.clone().unwrap(), Arc::new(release));
    }

    pub fn recall(&mut self, version: &str) {
        let mut release = release(version);
        release.spec.recall = Some(typed(json!({"reason": "a test", "action": "RollBack"})));
        self.releases
            .insert(release.metadata.name.clone().unwrap(), Arc::new(release));
    }

    pub fn approve(&mut self, ring: &str, release: &str, gate: Option<&str>, by: &str, decision: &str) {
        self.approvals.push(typed(json!({
            "apiVersion": "freehold.dev/v1alpha1", "kind": "ReleaseApproval", "metadata": {"name": by},
            "spec": {
                "channel": "board", "ring": ring, "release": release, "gate": gate, "decision": decision, "approver": by,
                "groups": ["release-managers"],
            },
        })));
    }

    pub fn spec(&mut self, change: impl FnOnce(&mut Value)) {
        let mut channel = serde_json::to_value(&self.channel).unwrap();
        change(&mut channel["spec"]);
        self.channel = typed(channel);
    }

    pub fn ring(&self, name: &str) -> RingStatus {
        let status = self.channel.status.clone().unwrap_or_default();
        status.rings.into_iter().find(|ring| ring.name == name).unwrap()
    }

    pub fn grants(&self) -> Vec<Grant> {
        self.channel.status.clone().unwrap_or_default().grants
    }

    pub fn tenant(&mut self, number: usize) -> &mut Tenant {
        &mut self.tenants[number]
    }

    /// How many tenants run a release.
    pub fn run(&self, version: &str) -> usize {
        let release = format!("board-{version}");
        let runs = |tenant: &&Tenant| tenant.member.runs.as_ref() == Some(&release);
        self.tenants.iter().filter(runs).count()
    }

    /// What the engine says now.
    pub fn ask(&self) -> Advance {
        let members: Vec<&Member> = self.tenants.iter().map(|tenant| &tenant.member).collect();
        let approvals: Vec<&ReleaseApproval> = self.approvals.iter().collect();
        advance(&Fleet {
            channel: &self.channel,
            members: &members,
            releases: &self.releases,
            approvals: &approvals,
            now: self.now,
        })
    }

    /// The engine has its say, and it is written; then the tenants do what they do. Gives when something happens next.
    pub fn step(&mut self) -> Option<Timestamp> {
        let mut said = self.ask();
        for again in 0.. {
            if self.channel.status.as_ref() == Some(&said.status) {
                break;
            }
            // What is verified may be followed by another release at once; then it is at rest.
            assert!(again < 3, "it changes its own mind: {:#?}", said.status);
            self.writes += 1;
            self.events.extend(said.events);
            self.channel.status = Some(said.status);
            said = self.ask();
        }
        let next = self.act();
        [said.wake, next].into_iter().flatten().min()
    }

    /// One step, and the clock jumps when that changed nothing. Gives whether anything happens before an instant.
    pub fn go(&mut self, end: Timestamp) -> bool {
        let before = (self.channel.status.clone(), self.members());
        let next = self.step();
        let changed = before != (self.channel.status.clone(), self.members());
        let next = next.filter(|next| *next <= end);
        if !changed && let Some(next) = next {
            self.now = next;
        }
        self.see();
        changed || next.is_some()
    }

    /// Steps on until an instant, or until nothing happens any more.
    pub fn until(&mut self, end: Timestamp) {
        while self.go(end) {}
        self.now = self.now.max(end);
        self.see();
    }

    fn members(&self) -> Vec<Member> {
        self.tenants.iter().map(|tenant| tenant.member.clone()).collect()
    }

    /// Each tenant's plan sees the time.
    pub fn see(&mut self) {
        for tenant in &mut self.tenants {
            tenant.member.hours = Some(tenant.window.hours(self.now));
        }
    }

    /// Each tenant's plan sees its grant, and carries on what it has begun.
    fn act(&mut self) -> Option<Timestamp> {
        let grants = self.grants();
        let now = self.now;
        let mut next: Option<Timestamp> = None;
        let mut soon = |when: Option<Timestamp>| {
            next = [next, when.filter(|when| *when > now)]
                .into_iter()
                .flatten()
                .min()
        };
        for tenant in &mut self.tenants {
            let member = &mut tenant.member;
            let grant = grants
                .iter()
                .find(|grant| grant.uid == member.uid && !grant.withdrawn);
            member.grant = grant.map(|grant| (grant.at.0, grant.release.clone()));
            if let Some((ends, fate)) = tenant.ends
                && ends <= now
                && let Some(way) = member.under_way.take()
            {
                tenant.ends = None;
                if fate == Fate::Fails {
                    member.failed.insert(way.to, "Smoke: it did not answer".into());
                } else {
                    member.runs = Some(way.to.clone());
                    member.down_since = None;
                    tenant.breaks = (fate == Fate::Breaks).then(|| now + SignedDuration::from_mins(10));
                    member.came = Some(way);
                }
            }
            if tenant.breaks.is_some_and(|breaks| breaks <= now) {
                tenant.breaks = None;
                member.down_since = Some(now);
            }
            let hours = tenant.window.hours(now);
            let is_open = matches!(hours, Hours::Open { .. });
            if let Some(grant) = grant
                && member.under_way.is_none()
                && member.apart.is_none()
                && member.runs.as_ref() != Some(&grant.release)
                && !member.failed.contains_key(&grant.release)
                && (is_open || grant.kind != GrantKind::Wave)
            {
                let from = member.runs.clone().unwrap_or_default();
                self.touched
                    .entry(grant.release.clone())
                    .or_default()
                    .insert(member.name.clone());
                let fate = match grant.kind {
                    GrantKind::RollBack => Fate::Well,
                    _ => (self.fate)(&member.name, &grant.release),
                };
                member.under_way = Some(Way {
                    from,
                    to: grant.release.clone(),
                });
                tenant.ends = Some((now + tenant.long, fate));
            }
            soon(tenant.ends.map(|(ends, _)| ends));
            soon(tenant.breaks);
            let edge = match hours {
                Hours::Open { until } => Some(until),
                Hours::Shut { until } => until,
            };
            soon(edge.filter(|_| tenant.window != Window::Always));
        }
        next
    }

    /// A gate's test has ended.
    pub fn tested(&mut self, name: &str, gate: &str, release: &str, attempt: i32, tested: Tested) {
        let test = Test {
            gate: gate.into(),
            release: release.into(),
            attempt,
        };
        let tenant = self.tenants.iter_mut().find(|tenant| tenant.member.name == name);
        tenant.unwrap().member.tests.insert(test, tested);
    }

    pub fn sleep(&mut self, number: usize) {
        self.tenant(number).member.apart = Some(Apart::Asleep);
    }

    pub fn phase(&self, ring: &str) -> RingPhase {
        self.ring(ring).phase
    }
}
