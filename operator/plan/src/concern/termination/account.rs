//! The account of a destruction: what its DestructionRecord says before it and after it.
//!
//! In: the keys as they are known right before, the operation, what the platform states of backups. Out: the object, and its
//! status. Invariant: nothing of a key is in it but names, numbers and dates.

use std::time::Duration;

use freehold_crds::{
    DestroyedDataKey, DestroyedVersion, DestructionPhase, DestructionRecordSpec, DestructionRecordStatus,
    Elsewhere, Phase, Span,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{Named, Step};
use crate::clock::stamp;
use crate::input::{Input, Operation, Slot, TenantKey};
use crate::kind::Kind;
use crate::model::{incarnation, namespace};
use crate::names::DestructionName;
use crate::object::{Id, Marks, Object};
use crate::operation::Step as _;
use crate::outcome::{Outcome, Record, Wait};
use crate::seen::{Facts, Seen};

/// As many as the schema admits.
const VERSIONS: usize = 64;
const DATA_KEYS: usize = 128;
/// Ten years, for a statement that is out of all bounds.
const KEPT_MAX: Duration = Duration::from_secs(87600 * 3600);

/// When the grace of a destruction is over.
pub fn due(operation: &Operation, grace: Duration) -> Timestamp {
    operation.created.checked_add(grace).unwrap_or(Timestamp::MAX)
}

/// The name of an operation's DestructionRecord.
pub fn name(input: &Input<'_>, (operation, announced): Named<'_>) -> String {
    let tenant = input.tenant.metadata.name.as_deref().unwrap_or_default();
    let created = announced.created.to_string();
    DestructionName::of(tenant, operation, &created)
        .as_str()
        .to_owned()
}

/// When the keys were destroyed: by the provider's clock, or else by the operation.
pub fn destroyed_at(input: &Input<'_>, operation: &Operation) -> Option<Timestamp> {
    let mut evidence = operation.status.evidence.iter();
    let step = evidence.find(|evidence| evidence.step == Step::Destroy.as_str())?;
    let key = input.observed.minted.keys.tenant.present();
    Some(key.and_then(|key| key.destroyed_at).unwrap_or(step.at.0))
}

fn id(input: &Input<'_>, operation: Named<'_>) -> Id {
    Id {
        kind: Kind::DestructionRecord,
        namespace: String::new(),
        name: name(input, operation),
    }
}

fn seen<'a>(input: &'a Input<'_>, operation: Named<'_>) -> Option<&'a Seen> {
    input.observed.objects.get(&id(input, operation))
}

/// The record before the destruction; what it leaves behind when it stands.
pub fn recorded(
    input: &Input<'_>,
    operation: Named<'_>,
    key: &TenantKey,
    grace: Duration,
    outcome: &mut Outcome,
) -> Option<String> {
    let id = id(input, operation);
    if input.observed.objects.contains_key(&id) {
        return Some(format!(
            "DestructionRecord {} says what is about to be destroyed",
            id.name
        ));
    }
    let tenant = input.tenant.metadata.name.as_deref().unwrap_or_default();
    let content = json!({ "spec": spec(input, operation, key, grace) });
    outcome
        .objects
        .push(Object::declare(id, Marks::of(tenant), &content));
    None
}

fn spec(
    input: &Input<'_>,
    (name, operation): Named<'_>,
    key: &TenantKey,
    grace: Duration,
) -> DestructionRecordSpec {
    let life = incarnation(input);
    let service = input.config.key_service.as_ref();
    let provider = service.and_then(|service| service.provider.clone());
    let provider = provider.unwrap_or_else(|| "unknown".to_owned());
    let data = input.observed.minted.keys.data.iter();
    let data_keys = data.filter_map(|(volume, slot)| {
        let key = slot.present()?;
        Some(DestroyedDataKey {
            volume: volume.clone(),
            version: key.version,
        })
    });
    let versions = key.versions.iter().map(|(number, created)| DestroyedVersion {
        number: *number,
        created_at: Time(*created),
    });
    DestructionRecordSpec {
        tenant: input.tenant.metadata.name.clone().unwrap_or_default(),
        tenant_uid: operation.spec.tenant_uid.clone(),
        incarnation: life.clone(),
        namespace: namespace(input.tenant).as_str().to_owned(),
        operation: name.to_owned(),
        elsewhere: elsewhere(&provider, input.config.key_backups_kept_for.as_ref()),
        provider,
        tenant_key: life,
        versions: versions.take(VERSIONS).collect(),
        data_keys: data_keys.take(DATA_KEYS).collect(),
        requested_at: Time(operation.created),
        grace_ended_at: Time(due(operation, grace)),
    }
}

/// What held key material beside the provider itself.
fn elsewhere(provider: &str, kept_for: Option<&Span>) -> Vec<Elsewhere> {
    let stated = if kept_for.is_some() {
        "kept for as long as the platform states (keys.backupsKeptFor of the chart)"
    } else {
        "for how long they are kept, the platform does not state (keys.backupsKeptFor of the chart)"
    };
    let backups = |what: &str, held: &str| Elsewhere {
        what: what.to_owned(),
        kept_for: kept_for.cloned(),
        note: format!("{held}; {stated}"),
    };
    let mut all = match provider {
        "local" => vec![
            backups(
                "backups of etcd",
                "they hold the root key, the tenant key wrapped by it, and the wrapped data keys: one of them opens every \
                 copy of the volumes",
            ),
            Elsewhere {
                what: "etcd's own history".to_owned(),
                kept_for: None,
                note: "it holds what was deleted until it is compacted (by the API server, every 5 minutes) and \
                       defragmented"
                    .to_owned(),
            },
        ],
        "pkcs11" => vec![
            backups("backups of the HSM", "they hold the tenant key"),
            backups(
                "backups of etcd",
                "they hold the wrapped data keys, which a backup of the HSM opens and nothing else",
            ),
        ],
        other => vec![backups(
            "backups of the provider",
            &format!("whatever the provider {other} keeps"),
        )],
    };
    all.push(Elsewhere {
        what: "memory of nodes that had the volumes staged".to_owned(),
        kept_for: None,
        note: "a kernel holds a data key until its volume is unstaged, which the kubelet does after the last pod is gone; before the destruction no pod was left"
            .to_owned(),
    });
    all
}

/// The account of a destruction that happened, until it stands.
pub fn told(input: &Input<'_>, operation: Named<'_>, outcome: &mut Outcome) -> Option<String> {
    let name = name(input, operation);
    let Some(seen) = seen(input, operation) else {
        outcome.waits.push(Wait {
            reason: "DestructionRecordGone",
            message: format!("the DestructionRecord {name} was deleted"),
            unblocked_by: "restore it from a backup of the cluster's objects".to_owned(),
            stalls: true,
        });
        return None;
    };
    if matches!(
        seen.facts,
        Facts::Destruction {
            destroyed_at: Some(_),
            ..
        }
    ) {
        return Some(format!("DestructionRecord {name} says that it was destroyed"));
    }
    let at = destroyed_at(input, operation.1);
    outcome.records.push(Record::Destruction {
        name,
        resource_version: seen.resource_version.clone(),
        only_if_whole: false,
        status: DestructionRecordStatus {
            phase: DestructionPhase::Destroyed,
            destroyed_at: at.map(Time),
            elsewhere_until: at.and_then(|at| until(seen, at)).map(Time),
            evidence: evidence(input, operation.1),
        },
    });
    None
}

/// Until when backups may hold key material, by what the record states itself.
fn until(seen: &Seen, destroyed_at: Timestamp) -> Option<Timestamp> {
    let elsewhere = seen.live["spec"]["elsewhere"].as_array()?;
    let kept = elsewhere.iter().filter_map(|one| {
        let span = Span::from(one["keptFor"].as_str()?);
        let span = span.within(Duration::from_secs(1), KEPT_MAX)?;
        SignedDuration::try_from(span).ok()
    });
    destroyed_at.checked_add(kept.max()?).ok()
}

fn evidence(input: &Input<'_>, operation: &Operation) -> Vec<String> {
    const MAX: usize = 1000;
    let told = operation.status.evidence.iter().map(|evidence| {
        let line = format!("{} {}: {}", evidence.at.0, evidence.step, evidence.message);
        line.chars().take(MAX).collect()
    });
    let mut lines: Vec<String> = told.take(15).collect();
    if let Slot::Present(TenantKey {
        last,
        destroyed_at: Some(at),
        ..
    }) = &input.observed.minted.keys.tenant
    {
        lines.push(format!(
            "{at} the provider lists {last} versions of the tenant key, all of them destroyed"
        ));
    }
    lines
}

/// The record that this life's keys were destroyed, and when: it outlives the operation that did it. Not one that had been
/// called off: what runs by then goes on for as long as it can, for nothing that is stopped could be started again.
pub fn of_the_destroyed<'a>(input: &'a Input<'_>) -> Option<(&'a str, Timestamp)> {
    let mut records = of_this_life(input);
    records.find_map(|(name, seen)| match &seen.facts {
        Facts::Destruction {
            destroyed_at: Some(at),
            ..
        } if !was_called_off(input, seen) => Some((name, *at)),
        _ => None,
    })
}

fn of_this_life<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, &'a Seen)> {
    let life = incarnation(input);
    let objects = input.observed.objects.iter();
    objects
        .filter(move |(_, seen)| match &seen.facts {
            Facts::Destruction { incarnation, .. } => *incarnation == life,
            _ => false,
        })
        .map(|(id, seen)| (id.name.as_str(), seen))
}

fn was_called_off(input: &Input<'_>, seen: &Seen) -> bool {
    let operation = seen.live["spec"]["operation"].as_str().unwrap_or_default();
    let operation = input.observed.operations.get(operation);
    operation.is_some_and(|operation| operation.status.phase == Phase::Cancelled)
}

/// The account of a destruction that was called off, if there is a record. `asked` when the provider may have been asked
/// already: then it is told only if a version is left right before.
pub fn called_off(input: &Input<'_>, operation: Named<'_>, asked: bool) -> Option<Record> {
    let seen = seen(input, operation)?;
    if matches!(seen.facts, Facts::Destruction { cancelled: true, .. }) {
        return None;
    }
    Some(Record::Destruction {
        name: name(input, operation),
        resource_version: seen.resource_version.clone(),
        only_if_whole: asked,
        status: DestructionRecordStatus {
            phase: DestructionPhase::Cancelled,
            evidence: vec!["it was called off, and no destruction had been seen".to_owned()],
            ..DestructionRecordStatus::default()
        },
    })
}

/// The account of one that was called off when the provider may have been asked already.
pub fn unknown(input: &Input<'_>, operation: Named<'_>) -> Option<Record> {
    let seen = seen(input, operation)?;
    let evidence = format!(
        "{} it was called off when the key service may have been asked already: whether the tenant key was destroyed is not \
         known; look again in some minutes",
        stamp(input.now)
    );
    Some(Record::Destruction {
        name: name(input, operation),
        resource_version: seen.resource_version.clone(),
        only_if_whole: false,
        status: DestructionRecordStatus {
            evidence: vec![evidence],
            ..DestructionRecordStatus::default()
        },
    })
}

/// The account of one that was called off, of a key of which the provider says by now that it was destroyed.
pub fn corrected(input: &Input<'_>, key: &TenantKey) -> Option<Record> {
    let at = key.destroyed_at?;
    let told = |seen: &Seen| {
        matches!(
            &seen.facts,
            Facts::Destruction {
                destroyed_at: Some(_),
                ..
            }
        )
    };
    if of_this_life(input).any(|(_, seen)| told(seen)) {
        return None;
    }
    let cancelled = of_this_life(input)
        .filter(|(_, seen)| matches!(seen.facts, Facts::Destruction { cancelled: true, .. }));
    let asked_at = |seen: &Seen| -> Option<Timestamp> {
        let at = seen.live["spec"]["requestedAt"].as_str()?;
        at.parse().ok()
    };
    let (name, seen) = cancelled.max_by_key(|(_, seen)| asked_at(seen))?;
    let evidence = format!(
        "it was called off, and the tenant key was destroyed all the same, by a call that was late or by somebody else: at {at} \
         by the provider, which lists {} versions, all of them destroyed",
        key.last
    );
    Some(Record::Destruction {
        name: name.to_owned(),
        resource_version: seen.resource_version.clone(),
        only_if_whole: false,
        status: DestructionRecordStatus {
            phase: DestructionPhase::Destroyed,
            destroyed_at: Some(Time(at)),
            elsewhere_until: until(seen, at).map(Time),
            evidence: vec![evidence],
        },
    })
}
