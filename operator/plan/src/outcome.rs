//! What a plan says: objects, ends, actions, and the report.
//!
//! Invariant: no secret is ever in here; key material is minted by the shell from an `Action` that only names it.

use std::collections::BTreeSet;

use freehold_crds::{
    Condition, DestructionRecordStatus, TenantOperationSpec, TenantOperationStatus, TenantStatus,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::fleet::member::Member;
use crate::input::Observed;
use crate::leaf::Leaf;
use crate::object::{Id, Object};

/// What is to be done, and what is to be reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Wanted, in the order of their waves.
    pub objects: Vec<Object>,
    /// To be deleted.
    pub prune: Vec<Id>,
    /// Records that are no longer kept: last, and nothing waits for it.
    pub forget: Vec<Forgotten>,
    /// To be done by the shell with randomness or with keys.
    pub actions: Vec<Action>,
    /// Records to be written before anything else.
    pub records: Vec<Record>,
    pub conditions: Vec<Condition>,
    pub events: Vec<Event>,
    pub finalizer: Finalizer,
    /// The instant at which this plan changes its mind; events may change it earlier.
    pub wake: Option<Timestamp>,
    /// What is known of the keys is to be read again before long: somebody has to bring something back, and no event tells of that.
    pub doubts: bool,
    pub status: TenantStatus,
    /// What its channel is told of it, if it names one.
    pub member: Option<Member>,
}

/// A TenantOperation that ended long ago, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub name: String,
    pub resource_version: String,
}

/// Something that is no object: it needs randomness, a key, or CloudNativePG's ear. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Make the tenant's certificate authority, for these domains and no other.
    #[serde(rename_all = "camelCase")]
    MintAuthority {
        permitted: Vec<String>,
        lifetime_seconds: u64,
    },
    /// Make the authority's certificate anew for other domains, with the same key and the same end; that of the next one too.
    #[serde(rename_all = "camelCase")]
    ReissueAuthority { permitted: Vec<String> },
    /// Make the authority that issues next, beside the one that does, if there is none.
    #[serde(rename_all = "camelCase")]
    MintNextAuthority {
        permitted: Vec<String>,
        lifetime_seconds: u64,
    },
    /// Forget the authority that would issue next: its key lay beside one that was compromised.
    DropNextAuthority,
    /// Have the next authority issue, if there is one, and drop the key of the one before. That one's certificate is trusted
    /// further, or not.
    #[serde(rename_all = "camelCase")]
    PromoteAuthority { keep_previous: bool },
    /// Trust the authority before no more.
    RetireAuthority,
    /// Connect to every pod that takes connections, and see what it trusts and shows.
    #[serde(rename_all = "camelCase")]
    LookAtEnds {
        namespace: String,
        services: Vec<EndService>,
        gateway: Option<EndGateway>,
    },
    /// Make a certificate of the authority that issues next, for the pod that shows it to the gateway.
    #[serde(rename_all = "camelCase")]
    MintProof {
        namespace: String,
        dns_name: String,
        lifetime_seconds: u64,
    },
    /// Put what is to be trusted now beside a certificate that stays.
    #[serde(rename_all = "camelCase")]
    ShareRoots { leaf: Leaf, namespace: String },
    /// Make a certificate, signed by the authority.
    #[serde(rename_all = "camelCase")]
    MintCertificate {
        leaf: Leaf,
        namespace: String,
        dns_names: Vec<String>,
        lifetime_seconds: u64,
    },
    /// Make the token with which the account owner signs in for the first time.
    #[serde(rename_all = "camelCase")]
    MintOwner { namespace: String },
    /// Delete the authority's Secret: the tenant ends, and its data with it.
    ForgetAuthority,
    /// Make the tenant key at its provider. One that is there stays.
    MakeTenantKey,
    /// Make a data key for a volume, and keep it wrapped.
    #[serde(rename_all = "camelCase")]
    MakeDataKey { volume: String },
    /// Make the tenant key's next version, if this is the current one.
    #[serde(rename_all = "camelCase")]
    RotateTenantKey { from: u32 },
    /// Wrap data keys by the tenant key's current version.
    #[serde(rename_all = "camelCase")]
    RewrapDataKeys { volumes: Vec<String> },
    /// Destroy versions of the tenant key that wrap nothing any more.
    #[serde(rename_all = "camelCase")]
    DestroyVersions { versions: Vec<u32> },
    /// Look whether a volume is gone, and delete its wrapped key then, if it has one.
    #[serde(rename_all = "camelCase")]
    ForgetDataKey { volume: String },
    /// Delete every wrapped data key and destroy the tenant key: the tenant ends, and its data with it.
    ForgetKeys,
    /// Have the database's primary be another instance, if nothing else is under way there.
    #[serde(rename_all = "camelCase")]
    SwitchOver { namespace: String, to: String },
    /// Have CloudNativePG remove an instance with its volumes, if they are these, it is not the primary, and all others are ready.
    #[serde(rename_all = "camelCase")]
    RetireInstance {
        namespace: String,
        instance: String,
        volumes: Vec<String>,
    },
    /// Destroy the tenant key and delete every wrapped data key, as this TenantOperation says. Who carries it out looks up
    /// right before whether that is so still, and that no pod is left.
    #[serde(rename_all = "camelCase")]
    DestroyKeys { operation: String },
}

/// Where the gateway is reached, and what it is asked for: what only a server answers that the next authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndGateway {
    pub address: String,
    pub port: u16,
    pub hostname: String,
    pub path: String,
}

/// The pods behind one name that take connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndService {
    /// The selector of its pods, `KEY=VALUE`.
    pub selector: String,
    /// The name that their certificate bears.
    pub host: String,
    pub port: u16,
    /// Whether TLS begins after a word of PostgreSQL's protocol.
    pub is_database: bool,
}

/// A write of a TenantOperation, or of what became of one.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a plan has one or two of them")]
pub enum Record {
    /// A create; one of that name that is there already is this one.
    Create { name: String, spec: TenantOperationSpec },
    /// The status as a whole, only onto this resource version: a leader that slept meanwhile is refused.
    Advance {
        name: String,
        resource_version: String,
        status: TenantOperationStatus,
    },
    /// What became of the keys of a DestructionRecord, only onto this resource version.
    Destruction {
        name: String,
        resource_version: String,
        /// Who writes it asks the key service right before whether a version of the tenant key is left, and writes nothing
        /// otherwise.
        only_if_whole: bool,
        status: DestructionRecordStatus,
    },
}

/// What becomes of the finalizer on the tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Finalizer {
    /// As it is.
    #[default]
    Keep,
    /// Before anything is created.
    Add,
    /// After everything is gone, or kept as it was asked for.
    Remove,
}

/// A transition that people should see in `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// One write of the shell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write<'a> {
    /// Nothing of that name was seen: a create, so that something planted there is a conflict.
    Create(&'a Object),
    /// It differs from what is wanted: server-side apply onto this uid.
    Apply(&'a Object, &'a str),
}

impl Plan {
    /// What of the wanted objects has to be written; none when all is as it should be.
    pub fn writes<'a>(&'a self, observed: &'a Observed) -> Vec<Write<'a>> {
        let write = |object: &'a Object| match observed.objects.get(&object.id) {
            None => Some(Write::Create(object)),
            Some(seen) if seen.ending || object.is_settled(&seen.live) => None,
            Some(seen) => Some(Write::Apply(object, &seen.uid)),
        };
        self.objects.iter().filter_map(write).collect()
    }
}

/// What one concern has to say.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub objects: Vec<Object>,
    /// Already there, and to be left as they are.
    pub keep: BTreeSet<Id>,
    pub actions: Vec<Action>,
    pub records: Vec<Record>,
    pub findings: Vec<Finding>,
    pub waits: Vec<Wait>,
    /// Waited for without harm to what runs: told as the others are, and the tenant is Ready all the same.
    pub asides: Vec<Wait>,
    pub wake: Option<Timestamp>,
    /// As in `Plan`.
    pub doubts: bool,
}

impl Outcome {
    pub fn of(objects: Vec<Object>) -> Self {
        Self {
            objects,
            ..Self::default()
        }
    }

    pub fn add(&mut self, other: Self) {
        let Self {
            objects,
            keep,
            actions,
            records,
            findings,
            waits,
            asides,
            wake,
            doubts,
        } = other;
        self.objects.extend(objects);
        self.keep.extend(keep);
        self.actions.extend(actions);
        self.records.extend(records);
        self.findings.extend(findings);
        self.waits.extend(waits);
        self.asides.extend(asides);
        self.wake_at(wake);
        self.doubts |= doubts;
    }

    /// Changes its mind at this instant, if at none before it.
    pub fn wake_at(&mut self, wake: Option<Timestamp>) {
        self.wake = [self.wake, wake].into_iter().flatten().min();
    }
}

/// The reason while what is wanted is not yet what was seen.
pub const APPLYING: &str = "Applying";

/// A condition of one concern, before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub topic: &'static str,
    pub truth: Option<bool>,
    pub reason: &'static str,
    pub message: String,
    /// Whether the tenant is not Ready without it.
    pub counts: bool,
}

impl Finding {
    pub fn new(topic: &'static str, truth: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            topic,
            truth: Some(truth),
            reason,
            message: message.into(),
            counts: true,
        }
    }

    /// One that says something beside the point: the tenant is Ready whatever it is.
    pub fn aside(
        topic: &'static str,
        truth: Option<bool>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            truth,
            counts: false,
            ..Self::new(topic, true, reason, message)
        }
    }
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: &'static str,
    pub message: String,
    pub unblocked_by: String,
    /// Nothing goes on until somebody does something.
    pub stalls: bool,
}
