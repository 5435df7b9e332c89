//! A channel with tenants that do what their plans would do, on a clock that jumps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freehold_crds::{
    Environment, Grant, GrantKind, Release, ReleaseApproval, ReleaseChannel, RingPhase, RingStatus,
};
use freehold_plan::fleet::member::{Apart, Member, Test, Tested};
use freehold_plan::fleet::{Advance, Fleet, advance};
use freehold_plan::{Event, Hours, hours};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use crate::tenant::{Fate, Tenant, Window};

/// When every world begins: 2027-03-26T08:00:00Z, the Friday before Europe's clocks change.
pub const BEGIN: i64 = 1_806_048_000;

/// What a release does to a tenant, by their names.
type Fates = Box<dyn Fn(&str, &str) -> Fate>;

/// Looks on after a write: at everything, and at the grants as they were before it.
type Witness = Box<dyn FnMut(&World, &[Grant])>;

/// Everything.
pub struct World {
    pub now: Timestamp,
    pub channel: ReleaseChannel,
    pub releases: BTreeMap<String, Arc<Release>>,
    pub approvals: Vec<ReleaseApproval>,
    pub tenants: Vec<Tenant>,
    /// Windows as manifests have them.
    pub rules: Vec<freehold_crds::Window>,
    pub events: Vec<Event>,
    /// What a release does to a tenant, by their names.
    pub fate: Fates,
    /// Every tenant that has begun with a release.
    pub touched: BTreeMap<String, BTreeSet<String>>,
    pub writes: usize,
    /// Whoever decides is killed before and after writes, writes what was decided a step ago, and sees tenants as they were a step ago; tenants
    /// hear of grants a step late: when there is a seed.
    pub chaos: Option<u64>,
    /// Is called after every single write.
    pub witness: Option<Witness>,
    /// What was decided on so many writes, and is not written yet.
    slow: Option<(usize, Advance)>,
    /// The grants as they were before the last write.
    before: Vec<Grant>,
    /// Instants at which tenants do something lie on a grid of so many seconds.
    pub grid: i64,
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
            rules: Vec::new(),
            events: Vec::new(),
            fate: Box::new(|_, _| Fate::Well),
            touched: BTreeMap::new(),
            writes: 0,
            chaos: None,
            witness: None,
            slow: None,
            before: Vec::new(),
            grid: 1,
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
                    digest: None,
                    down_since: None,
                    unfit: false,
                    under_way: None,
                    stuck: None,
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
                earlier: None,
                late: false,
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

    /// One ring whose tenants run 1.0.0, which is verified there.
    pub fn one(tenants: usize, ring: &Value) -> Self {
        let mut world = Self::new(&json!([ring])).with(tenants, Environment::Production, "1.0.0");
        world.publish("1.0.0");
        world.until(at(60));
        world
    }

    /// Nothing is written until then.
    pub fn rest(&mut self, end: i64) {
        let writes = self.writes;
        self.until(at(end));
        assert_eq!(self.writes, writes, "at rest nothing is written");
    }

    /// How many tenants run a release.
    pub fn run(&self, version: &str) -> usize {
        let release = format!("board-{version}");
        let runs = |tenant: &&Tenant| tenant.member.runs.as_ref() == Some(&release);
        self.tenants.iter().filter(runs).count()
    }

    /// What the engine says now, from what is stored and what it sees: it has nothing else.
    pub fn ask(&self) -> Advance {
        let members: Vec<&Member> = self.tenants.iter().map(Tenant::seen).collect();
        let approvals: Vec<&ReleaseApproval> = self.approvals.iter().collect();
        advance(&Fleet {
            channel: &self.channel,
            members: &members,
            releases: &self.releases,
            approvals: &approvals,
            now: self.now,
        })
    }

    /// Whether something happens that happens once in so many times.
    fn once_in(&mut self, many: u64) -> bool {
        // Xorshift (Marsaglia 2003): the same for the same seed.
        self.chaos.as_mut().is_some_and(|state| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state % many == 0
        })
    }

    /// Writes a status that was decided on so many writes: onto another version than that it is refused.
    fn write(&mut self, decided_on: usize, said: Advance) {
        if decided_on != self.writes || self.channel.status.as_ref() == Some(&said.status) {
            return;
        }
        self.writes += 1;
        self.before = self.grants();
        self.events.extend(said.events);
        self.channel.status = Some(said.status);
        if let Some(mut witness) = self.witness.take() {
            witness(self, &self.before);
            self.witness = Some(witness);
        }
    }

    /// The engine has its say, and it is written; then the tenants do what they do. Gives when something happens next, and whether anything has.
    pub fn step(&mut self) -> (Option<Timestamp>, bool) {
        let writes = self.writes;
        if let Some((decided_on, said)) = self.slow.take() {
            self.write(decided_on, said);
        }
        let mut disturbed = false;
        let mut again = 0;
        let wake = loop {
            let said = self.ask();
            if self.channel.status.as_ref() == Some(&said.status) {
                break said.wake;
            }
            // What is verified may be followed by another release at once; then it is at rest.
            assert!(again < 3, "it changes its own mind: {:#?}", said.status);
            again += 1;
            if self.once_in(6) {
                // Killed before the write: what was decided is lost, and the world goes on.
                disturbed = true;
                break said.wake;
            }
            if self.once_in(6) {
                // It sleeps before the write, and the world goes on.
                disturbed = true;
                self.slow = Some((self.writes, said));
                break None;
            }
            self.write(self.writes, said);
            if self.once_in(4) {
                // Killed after it: the next one knows what is stored, and has yet to hear what the tenants did last.
                for tenant in &mut self.tenants {
                    tenant.late = tenant.earlier.is_some();
                }
            }
        };
        let (next, acted) = self.act();
        let next = [wake, next].into_iter().flatten().min();
        (next, disturbed || self.writes != writes || acted)
    }

    /// One step, and the clock jumps when that changed nothing. Gives whether anything happens before an instant.
    pub fn go(&mut self, end: Timestamp) -> bool {
        let (next, changed) = self.step();
        let next = next.filter(|next| *next <= end);
        if !changed && let Some(next) = next {
            self.now = next;
        }
        self.see();
        changed || next.is_some()
    }

    /// Steps on until an instant, or until nothing happens any more.
    pub fn until(&mut self, end: Timestamp) {
        self.see();
        while self.go(end) {}
        self.now = self.now.max(end);
        self.see();
    }

    /// Each tenant's plan sees the time, and reads its rule as the product's plan does.
    pub fn see(&mut self) {
        let read = |rule| hours(std::slice::from_ref(rule), self.now).unwrap();
        let rules: Vec<Hours> = self.rules.iter().map(read).collect();
        for tenant in &mut self.tenants {
            tenant.member.hours = Some(tenant.window.hours(self.now, &rules));
        }
    }

    /// Each tenant's plan sees its grant, and carries on what it has begun.
    fn act(&mut self) -> (Option<Timestamp>, bool) {
        let by_uid = |grants: Vec<Grant>| -> BTreeMap<String, Grant> {
            grants
                .into_iter()
                .map(|grant| (grant.uid.clone(), grant))
                .collect()
        };
        let (grants, before) = (by_uid(self.grants()), by_uid(std::mem::take(&mut self.before)));
        self.before = self.grants();
        let news = grants != before;
        let now = self.now;
        let mut next: Option<Timestamp> = None;
        let mut changed = false;
        for place in 0..self.tenants.len() {
            let late = news && self.once_in(4);
            let grants = if late { &before } else { &grants };
            let grant = grants
                .get(&self.tenants[place].member.uid)
                .filter(|grant| grant.withdrawn.is_none());
            self.tenants[place].late = false;
            self.tenants[place].earlier = None;
            if self.chaos.is_some() && self.tenants[place].moves(grant, now) {
                let unseen = self.once_in(4);
                let tenant = &mut self.tenants[place];
                tenant.earlier = Some(tenant.member.clone());
                tenant.late = unseen;
            }
            let tenant = &mut self.tenants[place];
            let told = |member: &Member| {
                (
                    member.grant.clone(),
                    member.under_way.clone(),
                    member.stuck.clone(),
                )
            };
            let was = told(&tenant.member);
            tenant.member.grant = grant.map(|grant| (grant.at.0, grant.release.clone()));
            tenant.carry_on(now);
            if let Some(grant) = grant.filter(|grant| tenant.may_begin(grant)) {
                let touched = self.touched.entry(grant.release.clone()).or_default();
                touched.insert(tenant.member.name.clone());
                let fate = match grant.kind {
                    GrantKind::RollBack => Fate::Well,
                    _ => (self.fate)(&tenant.member.name, &grant.release),
                };
                tenant.begin(grant, now, fate, self.grid);
            }
            changed |= was != told(&tenant.member) || late || tenant.earlier.is_some();
            let soon = tenant.next(now);
            next = [next, soon].into_iter().flatten().min();
        }
        (next, changed)
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
