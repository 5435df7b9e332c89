//! The succession of the tenant's authority: a new one is trusted by everybody before it issues anything, and the old one until
//! nobody shows a certificate of it any more.
//!
//! In: the authorities that are there, the roots beside each certificate, what the pods were found to trust and to show, the
//! operations of this life. Out: records and actions. Invariants: each step stands in the TenantOperation before its effect;
//! nothing is issued by an authority that isn't in every bundle, unless the one before was compromised; while it is about to be
//! replaced the old one issues nothing, so that when its last certificate ends is known; one that is over itself is replaced without an
//! overlap, for nobody trusts it any more; other operations run beside it.

use std::collections::BTreeSet;

use freehold_crds::{
    AuthorityOperation, AuthorityStatus, OperationType, Phase, RotationReason, TenantOperationSpec, Tier,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{proof, uid};
use crate::clock::{slot, soon, stamp};
use crate::concern::Scene;
use crate::input::{Certificate, End, Ends, Input, Minted, Operation};
use crate::leaf::Leaf;
use crate::model::incarnation;
use crate::names::{CLUSTER_LABEL, COMPONENT, DATABASE, DATABASE_PRIMARY, POSTGRESQL, service_host};
use crate::operation::{self, Step as _, advance, cancel, free_name, of_type};
use crate::outcome::{Action, EndGateway, EndService, Finding, Outcome, Record, Wait};

const TOPIC: &str = "AuthorityCurrent";
/// How long a gateway that has an address is tried, before it counts as one that can't be reached from here.
const GATEWAY_AWAITED: SignedDuration = SignedDuration::from_hours(1);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The new authority is made, and its root put into every bundle.
    Publish,
    /// The overlap passes, and everybody is seen to trust it.
    Prove,
    /// It issues every certificate anew.
    Issue,
    /// The last certificate of the old one ends, and nobody is seen to show one.
    Drain,
    /// The old root is taken out of every bundle.
    Retire,
}

impl operation::Step for Step {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Publish, "Publish"),
        (Self::Prove, "Prove"),
        (Self::Issue, "Issue"),
        (Self::Drain, "Drain"),
        (Self::Retire, "Retire"),
    ];
}

/// The succession that is under way.
pub fn under_way<'a>(input: &'a Input<'_>) -> Option<(&'a str, &'a Operation)> {
    successions(input).find(|(_, operation)| !operation.status.phase.is_over())
}

fn successions<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Operation)> {
    of_type(input, OperationType::AuthorityRotation)
}

fn is_revocation(operation: &Operation) -> bool {
    let spec = operation.spec.authority.as_ref();
    spec.is_some_and(|spec| spec.reason == RotationReason::Compromised)
}

/// Whether nothing may be issued now: the next authority is about to take over.
pub fn is_changing_hands(scene: &Scene<'_>) -> bool {
    let step = under_way(scene.input).and_then(|(_, operation)| Step::of(operation));
    step == Some(Step::Issue) && scene.input.observed.minted.succession.next.is_some()
}

/// Whether the present authority has ended: what it would issue is refused by everybody, and so is what it has issued.
pub fn is_over(scene: &Scene<'_>) -> bool {
    let authority = scene.input.observed.minted.authority.present();
    authority.is_some_and(|authority| authority.not_after <= scene.input.now)
}

/// Whether what was issued before is not to be trusted a moment longer.
pub fn is_revoked(scene: &Scene<'_>) -> bool {
    under_way(scene.input).is_some_and(|(_, operation)| is_revocation(operation))
}

/// The same, or that is asked for.
pub fn is_compromised(scene: &Scene<'_>) -> bool {
    is_revoked(scene) || asked(scene, RotationReason::Compromised).is_some()
}

/// The word for one kind of succession, if there is one.
fn wish<'a>(scene: &Scene<'a>, reason: RotationReason) -> Option<&'a str> {
    let own = scene.model.tenant.spec.certificates.as_ref()?;
    match reason {
        RotationReason::Compromised => own.revoke_authority.as_deref(),
        RotationReason::Requested => own.rotate_authority.as_deref(),
        RotationReason::Cryptoperiod => None,
    }
}

/// The successions that a word has brought.
fn brought<'a>(
    scene: &Scene<'a>,
    reason: RotationReason,
    word: &'a str,
) -> impl Iterator<Item = &'a Operation> {
    let of_word = move |operation: &&Operation| {
        let spec = operation.spec.authority.as_ref();
        spec.is_some_and(|spec| spec.reason == reason) && operation.token() == Some(word)
    };
    successions(scene.input)
        .map(|(_, operation)| operation)
        .filter(of_word)
}

/// A word that asks for one and was not heard yet.
fn asked<'a>(scene: &Scene<'a>, reason: RotationReason) -> Option<&'a str> {
    let word = wish(scene, reason)?;
    // One that was given up gave way to a revocation, which replaces the authority too.
    brought(scene, reason, word).next().is_none().then_some(word)
}

fn acknowledged(scene: &Scene<'_>, reason: RotationReason) -> Option<String> {
    let word = wish(scene, reason)?;
    let mut past = brought(scene, reason, word);
    past.any(|past| past.status.phase == Phase::Succeeded)
        .then(|| word.to_owned())
}

/// When the authority is replaced: at the latest when two thirds of its life are over.
fn due(input: &Input<'_>, authority: &Certificate) -> Timestamp {
    let life = authority.not_after.duration_since(authority.not_before).as_secs();
    let latest = authority
        .not_before
        .checked_add(SignedDuration::from_secs(life * 2 / 3));
    latest.map_or(authority.not_after, |latest| {
        slot(&[uid(input), TOPIC], latest, life / 10)
    })
}

/// For the status.
pub fn status(scene: &Scene<'_>) -> Option<AuthorityStatus> {
    let minted = &scene.input.observed.minted;
    let authority = minted.authority.present()?;
    let fingerprint = |other: &Option<Certificate>| other.as_ref().map(|other| other.fingerprint.clone());
    Some(AuthorityStatus {
        fingerprint: authority.fingerprint.clone(),
        not_after: Time(authority.not_after),
        rotate_at: Time(due(scene.input, authority)),
        next: fingerprint(&minted.succession.next),
        previous: fingerprint(&minted.succession.previous),
        acknowledged: acknowledged(scene, RotationReason::Requested),
        revocation_acknowledged: acknowledged(scene, RotationReason::Compromised),
    })
}

/// `is_published`: every bundle holds what is to be trusted now. `is_issued`: every certificate is the present authority's.
pub struct State {
    pub permitted: Vec<String>,
    pub is_published: bool,
    pub is_issued: bool,
}

pub fn plan(scene: &Scene<'_>, authority: &Certificate, state: &State, outcome: &mut Outcome) {
    let now = scene.input.now;
    if let Some(operation) = under_way(scene.input) {
        if asked(scene, RotationReason::Compromised).is_some() && !is_revocation(operation.1) {
            let why = "the authority was compromised: it is replaced at once, by another operation";
            outcome.records.push(cancel(operation, now, Some(why)));
        } else {
            carry_on(scene, state, operation, outcome);
        }
        if !outcome.records.is_empty() {
            outcome.wake_at(soon(now));
        }
        outcome.findings.push(Finding::aside(
            TOPIC,
            Some(false),
            "Rotating",
            told(scene.input, operation),
        ));
        return;
    }
    let due = due(scene.input, authority);
    let wished = [RotationReason::Compromised, RotationReason::Requested]
        .into_iter()
        .find_map(|reason| Some((reason, Some(asked(scene, reason)?))));
    let (reason, word) = match wished {
        Some(wished) => wished,
        None if due <= now => (RotationReason::Cryptoperiod, None),
        None => {
            outcome.wake_at(Some(due));
            let message = format!(
                "the authority ends at {}, and is replaced at {due}",
                authority.not_after
            );
            let finding = Finding::aside(TOPIC, Some(true), "Current", message);
            return outcome.findings.push(finding);
        }
    };
    outcome.findings.push(Finding::aside(
        TOPIC,
        Some(false),
        "Rotating",
        "a new authority is due or asked for",
    ));
    outcome.wake_at(soon(now));
    outcome.records.push(Record::Create {
        name: free_name(scene.input, "authority"),
        spec: TenantOperationSpec {
            tenant: scene.model.name.to_owned(),
            tenant_uid: scene.model.uid.to_owned(),
            incarnation: incarnation(scene.input),
            r#type: OperationType::AuthorityRotation,
            deletion: None,
            rotation: None,
            reencryption: None,
            upgrade: None,
            authority: Some(AuthorityOperation {
                from: authority.fingerprint.clone(),
                reason,
                token: word.map(str::to_owned),
            }),
        },
    });
}

/// A tenant that ends has no authority to replace.
pub fn give_up(input: &Input<'_>) -> Option<Record> {
    let why = "the tenant is being taken down";
    under_way(input).map(|operation| cancel(operation, input.now, Some(why)))
}

fn carry_on(scene: &Scene<'_>, state: &State, operation: (&str, &Operation), outcome: &mut Outcome) {
    let now = scene.input.now;
    let revoked = is_revocation(operation.1);
    if revoked {
        outcome.waits.push(interruption());
    }
    let Some(step) = Step::of(operation.1).filter(|_| operation.1.status.phase == Phase::Running) else {
        if revoked && scene.input.observed.minted.succession.next.is_some() {
            return outcome.actions.push(Action::DropNextAuthority);
        }
        let record = advance(operation, now, None, Some(Step::Publish.as_str()));
        return outcome.records.push(record);
    };
    let minted = &scene.input.observed.minted;
    let void = match (revoked, is_over(scene)) {
        (true, _) => Some("was compromised"),
        (false, true) => Some("has ended"),
        (false, false) => None,
    };
    if matches!(step, Step::Publish | Step::Prove) && void.is_none() && minted.succession.next.is_some() {
        let (objects, mint) = proof::stage(scene);
        outcome.objects.extend(objects);
        outcome.actions.extend(mint);
    }
    let hold = operation.1.status.hold_until.as_ref().map(|until| until.0);
    let done = match step {
        Step::Publish => publish(scene, state, void.is_some(), outcome),
        Step::Prove => match void {
            Some(what) => Some(format!("skipped: the authority before {what}")),
            None => proven(scene, hold, outcome, &Proof::Trusts(next(minted))),
        },
        Step::Issue if minted.succession.next.is_some() => {
            let keep_previous = !revoked;
            outcome.actions.push(Action::PromoteAuthority { keep_previous });
            None
        }
        Step::Issue => state
            .is_issued
            .then(|| "every certificate is issued by the new authority".to_owned()),
        Step::Drain => {
            let present = minted.authority.present();
            let present = present.map_or("", |authority| &authority.fingerprint);
            proven(scene, hold, outcome, &Proof::Shows(present))
        }
        Step::Retire if minted.succession.previous.is_some() => {
            outcome.actions.push(Action::RetireAuthority);
            None
        }
        Step::Retire => state
            .is_published
            .then(|| "no bundle holds the old root any more".to_owned()),
    };
    let Some(done) = done else {
        return;
    };
    let next = step.next();
    let over = Some((step.as_str(), done));
    let mut record = advance(operation, now, over, next.map(Step::as_str));
    if let Record::Advance { status, .. } = &mut record {
        status.hold_until = next.and_then(|next| hold_until(scene, next, operation.1));
    }
    outcome.records.push(record);
}

/// How long a step takes at least, once it begins.
fn hold_until(scene: &Scene<'_>, begun: Step, operation: &Operation) -> Option<Time> {
    let now = stamp(scene.input.now);
    let until = match begun {
        Step::Prove if is_revocation(operation) => now,
        Step::Prove => now
            .checked_add(scene.model.authority_overlap)
            .ok()?
            .min(latest_issue(scene))
            .max(now),
        // The old authority issues nothing from here on.
        Step::Issue => {
            let minted = &scene.input.observed.minted;
            let ends = Leaf::ALL
                .into_iter()
                .filter_map(|leaf| Some(minted.leaf(leaf).present()?.not_after));
            ends.max().unwrap_or(now).max(now)
        }
        Step::Drain if is_revocation(operation) => now,
        Step::Drain => operation.status.hold_until.as_ref().map_or(now, |until| until.0),
        Step::Publish | Step::Retire => return None,
    };
    Some(Time(until))
}

/// By when the next authority issues, at the latest: in time before the present one ends, however long the overlap should be.
fn latest_issue(scene: &Scene<'_>) -> Timestamp {
    let Some(authority) = scene.input.observed.minted.authority.present() else {
        return scene.input.now;
    };
    let life = authority.not_after.duration_since(authority.not_before);
    let latest = authority.not_after.checked_sub(life / 10);
    stamp(latest.unwrap_or(authority.not_after))
}

fn next(minted: &Minted) -> &str {
    let next = minted.succession.next.as_ref();
    next.map_or("", |next| &next.fingerprint)
}

fn publish(scene: &Scene<'_>, state: &State, void: bool, outcome: &mut Outcome) -> Option<String> {
    let Some(next) = &scene.input.observed.minted.succession.next else {
        outcome.actions.push(Action::MintNextAuthority {
            permitted: state.permitted.clone(),
            lifetime_seconds: scene.model.authority_lifetime.as_secs(),
        });
        return None;
    };
    let made = format!("{} was made", next.fingerprint);
    match (void, state.is_published) {
        (true, _) => Some(made),
        (false, true) => Some(format!("{made}, and is in every bundle")),
        (false, false) => None,
    }
}

/// What is to be seen of every pod, with the fingerprint of the root in question.
enum Proof<'a> {
    Trusts(&'a str),
    Shows(&'a str),
}

/// Over when the time has passed and every pod was looked at after it. One that can't tell what it trusts had that time.
fn proven(
    scene: &Scene<'_>,
    hold: Option<Timestamp>,
    outcome: &mut Outcome,
    proof: &Proof<'_>,
) -> Option<String> {
    let hold = hold.unwrap_or(scene.input.now);
    if scene.input.now < hold {
        outcome.wake_at(Some(hold));
        return None;
    }
    let gateway = match proof {
        Proof::Trusts(_) => proof::asked(scene),
        Proof::Shows(_) => None,
    };
    let ends = scene.input.observed.minted.ends.as_ref();
    let ends = ends.filter(|ends| ends.looked_at >= hold);
    let lacking = ends.map(|ends| {
        let mut lacking = lacking(ends, proof);
        let awaited = hold.checked_add(GATEWAY_AWAITED).unwrap_or(hold);
        if let Some(gateway) = gateway.as_ref().filter(|_| ends.gateway.is_none())
            && scene.input.now < awaited
        {
            outcome.wake_at(Some(awaited));
            let EndGateway { address, port, .. } = gateway;
            lacking.push(format!(
                "the gateway can't be reached at {address}, port {port}, and is waited for until {awaited}"
            ));
        }
        lacking
    });
    if let (Some(ends), Some([])) = (ends, lacking.as_deref()) {
        let count = ends.pods.len();
        return Some(match proof {
            Proof::Trusts(root) => trusted(ends, root),
            Proof::Shows(root) => {
                format!("{count} pods were asked, and each shows a certificate that {root} has issued")
            }
        });
    }
    outcome.actions.push(look(scene, gateway));
    if let Some(lacking) = lacking {
        let first: Vec<String> = lacking.into_iter().take(3).collect();
        outcome.waits.push(Wait {
            reason: "AuthorityNotTaken",
            message: format!("the new authority waits: {}", first.join("; ")),
            unblocked_by:
                "a kubelet takes up to two minutes to hand a pod new files, which the product must read again; \
                           a pod that never does is to be restarted"
                    .to_owned(),
            stalls: false,
        });
    }
    None
}

/// Who was seen to trust a root, and who can't tell: that nobody refused is no proof of those.
fn trusted(ends: &Ends, root: &str) -> String {
    let told = ends.pods.values().filter(|end| end.trusts.is_some()).count();
    let silent = match ends.pods.len() - told {
        0 => String::new(),
        silent => format!("; {silent} more can't tell, and had the overlap"),
    };
    let gateway = match &ends.gateway {
        Some(_) => "; the gateway trusts it, and passed requests on to a server that it vouches for",
        None => "; the gateway, which can't be asked from here, had the overlap",
    };
    format!("{told} pods were seen to trust {root}{silent}{gateway}")
}

/// Who is not there yet, and why.
fn lacking(ends: &Ends, proof: &Proof<'_>) -> Vec<String> {
    let why = |end: &End| match (&end.trouble, proof) {
        (Some(trouble), _) => Some(trouble.clone()),
        (None, Proof::Trusts(root)) => {
            let trusts = end.trusts.as_ref();
            trusts
                .is_some_and(|trusts| !trusts.contains(*root))
                .then(|| "doesn't trust the new root yet".to_owned())
        }
        (None, Proof::Shows(root)) => (end.shows.as_deref() != Some(*root))
            .then(|| "shows a certificate of the old authority still".to_owned()),
    };
    let gateway = ends.gateway.as_ref().map(|end| ("the gateway", end));
    let pods = ends.pods.iter().map(|(pod, end)| (pod.as_str(), end));
    pods.chain(gateway)
        .filter_map(|(pod, end)| Some(format!("{pod} {}", why(end)?)))
        .collect()
}

/// Every Service of the tenant that speaks TLS.
fn look(scene: &Scene<'_>, gateway: Option<EndGateway>) -> Action {
    let namespace = scene.model.namespace.as_str();
    let parts = scene.model.components.iter();
    let mut services: Vec<EndService> = parts
        .filter(|part| part.component.tier != Tier::Worker)
        .filter_map(|part| {
            Some(EndService {
                selector: format!("{COMPONENT}={}", part.name.as_str()),
                host: service_host(part.name.as_str(), namespace),
                port: part.port?,
                is_database: false,
            })
        })
        .collect();
    services.push(EndService {
        selector: format!("{CLUSTER_LABEL}={DATABASE}"),
        host: service_host(DATABASE_PRIMARY, namespace),
        port: POSTGRESQL,
        is_database: true,
    });
    Action::LookAtEnds {
        namespace: namespace.to_owned(),
        services,
        gateway,
    }
}

fn interruption() -> Wait {
    Wait {
        reason: "AuthorityRevoked",
        message:
            "the authority was compromised and is replaced without an overlap: connections between the tiers fail until every \
                  pod has read its new files, and clients that trust the old ca.crt refuse the gateway"
                .to_owned(),
        unblocked_by:
            "its own end, in some minutes; give clients outside of the cluster the new ca.crt of the ConfigMap ca"
                .to_owned(),
        stalls: false,
    }
}

/// In words, for the condition.
fn told(input: &Input<'_>, (name, operation): (&str, &Operation)) -> String {
    let until = operation
        .status
        .hold_until
        .as_ref()
        .filter(|until| until.0 > input.now)
        .map_or_else(String::new, |until| format!(" until {}", until.0));
    let step = match Step::of(operation) {
        None | Some(Step::Publish) => "its root is being put into every bundle".to_owned(),
        Some(Step::Prove) => format!("its root is trusted beside the old one{until}"),
        Some(Step::Issue) => "it issues every certificate anew".to_owned(),
        Some(Step::Drain) => format!("the old root is trusted further{until}"),
        Some(Step::Retire) => "the old root is taken out of every bundle".to_owned(),
    };
    format!("a new authority takes over: {step} ({name})")
}

/// The fingerprints of what is to be trusted.
pub fn roots(minted: &Minted) -> BTreeSet<&str> {
    minted.trusted().map(|root| root.fingerprint.as_str()).collect()
}
