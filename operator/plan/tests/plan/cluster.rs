//! A cluster in memory: creates that conflict, applies onto a uid, foreground deletes, and the controllers of others as
//! pure ticks. Time is a number that the test moves.

mod certificates;
mod controllers;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use freehold_crds::DeletionPolicy;
use freehold_plan::{
    Action, DataKey, Finalizer, Id, Keys, Kind, Leaf, Minted, Neighbour, Object, Operation, Plan, Record,
    Seen, Slot, Stranger, TenantKey, Wave, Write, is_takeable,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::given::Given;
use crate::postgres::Postgres;
use crate::properties::written_twice;

/// What is in the cluster, and how far its controllers are.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub given: Given,
    pub(crate) objects: BTreeMap<Id, Value>,
    pub(crate) minted: Minted,
    version: u64,
    pub(crate) serial: u64,
    pub postgres: Postgres,
    pub gone: bool,
    /// Every effect that was carried out, in words.
    pub log: Vec<String>,
    /// Migrations end badly.
    pub broken_migration: bool,
    /// Images can't be pulled.
    pub missing_image: bool,
    /// Smoke tests end badly.
    pub broken_smoke: bool,
    /// How a gate's test ends, by the Job controller's reason; it runs on when there is none.
    pub gate: Option<&'static str>,
    /// No pod of the product is available.
    pub dead: bool,
    /// A version whose pods never get ready.
    pub unready: Option<String>,
    /// What an unrestricted pod, and what a tier's pod reaches.
    pub network: Network,
    /// When what cert-manager issues ends to be valid; it issues nothing when there is none.
    pub issues_until: Option<Timestamp>,
    /// Claims of other tenants on hostnames, by the name of the claim.
    pub others: BTreeMap<String, Value>,
    operations: BTreeMap<String, Operation>,
    /// The next destruction of keys is cut off when the tenant key is gone and the wrapped data keys are not.
    pub cut_off: bool,
    /// The next destruction of keys has no answer, and is heard when it `lands`.
    pub late: bool,
    under_way: bool,
    /// The roots that the pods have read: what the Secrets held when the kubelet last looked.
    pub read: BTreeSet<String>,
    /// Which root has signed what they show.
    pub shown: Option<String>,
    /// The gateway can't be connected to.
    pub far_gateway: bool,
    /// Pods beside that one that can't tell what they trust.
    pub silent_pods: usize,
    /// How many certificates were made.
    issued: u64,
}

/// What packets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Enforced,
    /// Policies are ignored.
    Open,
    /// Nothing gets anywhere.
    Dead,
    /// Pods never end.
    Stuck,
}

impl Cluster {
    pub fn new(given: Given) -> Self {
        Self {
            given,
            objects: BTreeMap::new(),
            minted: Minted::default(),
            version: 10,
            serial: 0,
            postgres: Postgres::default(),
            gone: false,
            log: Vec::new(),
            broken_migration: false,
            missing_image: false,
            broken_smoke: false,
            gate: None,
            dead: false,
            unready: None,
            network: Network::Enforced,
            issues_until: None,
            others: BTreeMap::new(),
            operations: BTreeMap::new(),
            cut_off: false,
            late: false,
            under_way: false,
            read: BTreeSet::new(),
            shown: None,
            far_gateway: false,
            silent_pods: 0,
            issued: 0,
        }
    }

    /// The Tenant is another now, of the same name: what is in the cluster stays.
    pub fn succeed(&mut self, given: Given) {
        self.given = given;
        self.gone = false;
    }

    /// Somebody deletes the tenant.
    pub fn delete(&mut self) {
        let now = self.given.now.to_string();
        self.given.tenant.metadata.deletion_timestamp = Some(crate::given::typed(now.into()));
    }

    /// Protection is switched off, and the delay passes.
    pub fn release(&mut self, policy: DeletionPolicy) {
        self.given.tenant.spec.deletion_protection = false;
        self.given.tenant.spec.deletion_policy = policy;
        self.settle();
        self.given.now += SignedDuration::from_hours(1);
        self.settle();
    }

    /// Somebody deletes a record, the n-th by name.
    pub fn lose_operation(&mut self, n: usize) {
        let name = self.operations.keys().nth(n).cloned().unwrap();
        self.operations.remove(&name);
    }

    /// Everything is as an operator has made it that noted no digests of releases.
    pub fn forget_digests(&mut self) {
        for (id, body) in &mut self.objects {
            if id.kind == Kind::Deployment {
                let annotations = body["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.remove(freehold_plan::names::RELEASE_DIGEST);
            }
        }
        let upgrades = self.operations.values_mut();
        for upgrade in upgrades.filter_map(|operation| operation.spec.upgrade.as_mut()) {
            upgrade.from_digest = None;
            upgrade.to_digest = None;
        }
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    pub fn body(&self, kind: Kind, name: &str) -> Option<&Value> {
        let mut objects = self.objects.iter();
        objects
            .find(|(id, _)| id.kind == kind && id.name == name)
            .map(|(_, body)| body)
    }

    /// What the watches would have brought.
    pub fn observe(&mut self) {
        let seen = |(id, body): (&Id, &Value)| (id.clone(), Seen::reduce(id.kind, body.clone()).unwrap());
        self.given.observed.objects = self.objects.iter().map(seen).collect();
        self.given.observed.minted = self.minted.clone();
        self.given.observed.operations = self.operations.clone();
        self.given.observed.neighbour = Some(Neighbour {
            namespace: "tenant-globex".into(),
            address: "10.88.1.7".into(),
        });
        let now = self.given.now;
        self.given
            .observed
            .strangers
            .retain(|_, stranger| stranger.look_again > now);
    }

    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.objects.keys()
    }

    pub fn plan(&mut self) -> Plan {
        self.observe();
        let plan = freehold_plan::plan(&self.given.input());
        assert_eq!(written_twice(&plan), Vec::<String>::new(), "two writers");
        plan
    }

    /// One pass of the shell. Stops after `crash_after` effects, as a killed process would. Gives how many there were.
    pub fn pass(&mut self, crash_after: usize) -> usize {
        let plan = self.plan();
        let mut budget = Budget {
            left: crash_after,
            spent: 0,
        };
        self.carry_out(&plan, &mut budget);
        budget.spent
    }

    fn carry_out(&mut self, plan: &Plan, budget: &mut Budget) {
        if plan.finalizer == Finalizer::Add && budget.spend() {
            self.given.tenant.metadata.finalizers = Some(vec![freehold_plan::names::FINALIZER.into()]);
            self.log.push("finalizer added".into());
        }
        for record in &plan.records {
            if let Record::Destruction { only_if_whole, .. } = record
                && *only_if_whole
                && !self.key_is_whole()
            {
                return;
            }
            if budget.spend() {
                self.record(record);
            }
        }
        let observed = self.given.observed.clone();
        let writes = plan.writes(&observed);
        for wave in Wave::ALL {
            if wave == Wave::Exposure {
                for action in plan.actions.iter().filter(|_| budget.spend()).collect::<Vec<_>>() {
                    self.mint(action);
                }
            }
            for write in &writes {
                let (Write::Create(object) | Write::Apply(object, _)) = write;
                if object.id.kind.row().wave == wave && budget.spend() && !self.write(object) {
                    return;
                }
            }
        }
        for id in &plan.prune {
            if budget.spend() {
                self.log.push(format!("delete {id}"));
                if let Some(body) = self.objects.get_mut(id) {
                    body["metadata"]["deletionTimestamp"] = "now".into();
                }
            }
        }
        for forgotten in &plan.forget {
            if budget.spend() {
                let gone = self.operations.remove(&forgotten.name).unwrap();
                assert_eq!(gone.resource_version, forgotten.resource_version);
                assert!(gone.status.phase.is_over(), "{gone:?}");
                self.log.push(format!("forget {:?}", gone.spec.r#type));
            }
        }
        if plan.finalizer == Finalizer::Remove && budget.spend() {
            self.log.push("finalizer removed".into());
            self.given.tenant.metadata.finalizers = None;
            self.gone = true;
        }
        if self.given.tenant.status.as_ref() != Some(&plan.status) && budget.spend() {
            self.given.tenant.status = Some(plan.status.clone());
        }
    }

    fn record(&mut self, record: &Record) {
        self.version += 1;
        let resource_version = self.version.to_string();
        match record {
            Record::Create { name, spec } => {
                let policy = spec.deletion.as_ref().map(|deletion| deletion.policy);
                self.log.push(format!("announce {:?} {policy:?}", spec.r#type));
                let operation = Operation {
                    resource_version,
                    created: self.given.now,
                    spec: spec.clone(),
                    status: Default::default(),
                };
                self.operations.entry(name.clone()).or_insert(operation);
            }
            Record::Advance {
                name,
                resource_version: seen,
                status,
            } => {
                let operation = self.operations.get_mut(name).unwrap();
                assert_eq!(&operation.resource_version, seen, "a step onto another version");
                let step = status.step.as_deref().unwrap_or("");
                self.log.push(format!("step {:?} {step}", status.phase));
                operation.status = status.clone();
                operation.resource_version = resource_version;
            }
            Record::Destruction {
                name,
                resource_version: seen,
                only_if_whole: _,
                status,
            } => {
                let mut objects = self.objects.iter_mut();
                let (_, body) = objects.find(|(id, _)| id.name == *name).unwrap();
                assert_eq!(
                    &body["metadata"]["resourceVersion"], seen,
                    "an account of another version"
                );
                self.log.push(format!("account {:?}", status.phase));
                body["status"] = serde_json::to_value(status).unwrap();
                body["metadata"]["resourceVersion"] = resource_version.into();
            }
        }
    }

    /// Whether another's claim stands where ours should.
    fn is_contested(&mut self, object: &Object) -> bool {
        let Some(other) = self.others.get(&object.id.name) else {
            return false;
        };
        let seen = Seen::reduce(Kind::HostnameClaim, other.clone()).unwrap();
        let tenant = self.given.tenant.metadata.name.clone().unwrap();
        let hold = self.given.config.hostname_hold;
        if is_takeable(&seen.facts, &tenant, hold, self.given.now) {
            let other = self.others.remove(&object.id.name).unwrap();
            self.objects.insert(object.id.clone(), other);
            return true;
        }
        let look_again = self.given.now + SignedDuration::from_secs(30);
        self.given
            .observed
            .strangers
            .insert(object.id.clone(), Stranger { look_again });
        true
    }

    /// Gives whether the pass goes on.
    fn write(&mut self, object: &Object) -> bool {
        if object.id.kind == Kind::HostnameClaim && self.is_contested(object) {
            return false;
        }
        let is_record = object.id.kind == Kind::DestructionRecord;
        assert!(
            !is_record || !self.objects.contains_key(&object.id),
            "a record is immutable"
        );
        self.version += 1;
        let mut body = object.body.clone();
        match self.objects.get(&object.id) {
            Some(there) => {
                self.log.push(format!("apply {}", object.id));
                body["metadata"]["uid"] = there["metadata"]["uid"].clone();
                body["status"] = there["status"].clone();
                let generation = there["metadata"]["generation"].as_i64().unwrap_or(1);
                body["metadata"]["generation"] = (generation + 1).into();
            }
            None => {
                self.log.push(format!("create {}", object.id));
                self.serial += 1;
                body["metadata"]["uid"] = format!("uid-{}", self.serial).into();
                body["metadata"]["generation"] = 1.into();
            }
        }
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(object.id.clone(), body);
        true
    }

    fn mint(&mut self, action: &Action) {
        self.log.push(format!("{action:?}"));
        match action {
            Action::MintOwner { .. } => self.minted.owner = Slot::Present(()),
            Action::DestroyKeys { operation } => self.destroy_keys(operation),
            other if self.certify(other) => {}
            about_keys => self.key(about_keys),
        }
    }

    /// Somebody deletes an object by hand.
    pub fn lose(&mut self, id: &Id) {
        self.objects.remove(id);
    }

    /// Passes and ticks until nothing happens any more; gives the number of rounds.
    pub fn settle(&mut self) -> usize {
        for round in 0..50 {
            let effects = if self.gone { 0 } else { self.pass(usize::MAX) };
            let changed = self.tick();
            if effects == 0 && !changed {
                return round;
            }
        }
        panic!("no rest after 50 rounds:\n{}", self.log.join("\n"));
    }

    /// Settles, and again at each wake-up of the next quarter of an hour: an upgrade is watched for a while.
    pub fn settle_upgrade(&mut self) {
        self.settle();
        let end = self.given.now + SignedDuration::from_mins(15);
        self.live_until(end, |_| {});
    }

    /// Sleeps from wake-up to wake-up, and settles at each, as long as there is one before an instant.
    pub fn live_until(&mut self, end: Timestamp, mut look: impl FnMut(&mut Self)) {
        while let Some(wake) = self.plan().wake.filter(|wake| *wake < end) {
            self.sleep_until(wake);
            self.settle();
            look(self);
        }
    }

    pub fn sleep_until(&mut self, then: Timestamp) {
        self.given.now = then;
    }
}

struct Budget {
    left: usize,
    spent: usize,
}

impl Budget {
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.spent += 1;
        true
    }
}
