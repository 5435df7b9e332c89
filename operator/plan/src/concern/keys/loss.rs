//! Data keys that were lost, and what brings them back.
//!
//! In: the tenant key, what is known of the data keys, the volumes. Out: a wait that stalls. Invariant: each data key that can't
//! be used is told, also when its volume's claim is gone: a rotation can't end without it.

use std::collections::BTreeMap;

use super::{Log, Volume, stalling};
use crate::concern::Scene;
use crate::input::{DataKey, Slot, TenantKey};
use crate::outcome::Wait;

/// The first that is told.
pub fn of_data_keys(
    scene: &Scene<'_>,
    key: &TenantKey,
    volumes: &BTreeMap<&str, Volume<'_>>,
    log: &Log,
) -> Option<Wait> {
    let data = &scene.input.observed.minted.keys.data;
    let mut unusable = data.iter().filter_map(|(volume, slot)| {
        let there = volumes.get(volume.as_str());
        unusable(scene, key, (volume, there), slot)
    });
    let mut ours = volumes.iter().filter(|(_, volume)| volume.is_ours());
    unusable.next().or_else(|| {
        let (volume, Volume { claim, .. }) =
            ours.find(|(volume, _)| !data.contains_key(**volume) && log.volumes.contains(**volume))?;
        let message = format!("the Secret with the key of volume {volume} ({claim}) is gone");
        let unblocked_by = "put back the Secret that was there; no new key is made in its place";
        Some(stalling("VolumeKeyLost", message, unblocked_by))
    })
}

fn unusable(
    scene: &Scene<'_>,
    key: &TenantKey,
    (volume, there): (&str, Option<&Volume<'_>>),
    slot: &Slot<DataKey>,
) -> Option<Wait> {
    let claim = there.map_or("whose claim is gone", |volume| volume.claim);
    let (reason, message, remedy) = match slot {
        Slot::Present(data) if key.versions.contains_key(&data.version) => return None,
        Slot::Present(data) => (
            "KeyVersionLost",
            format!(
                "the key of volume {volume} ({claim}) is wrapped by version {} of the tenant key, which is gone",
                data.version
            ),
            "restore a state of the key service that has that version",
        ),
        _ => (
            "VolumeKeyBroken",
            format!(
                "the Secret {}/{volume} with the key of volume {volume} ({claim}) can't be read, or is another's",
                scene.input.config.keys_namespace
            ),
            "put back the Secret that was there",
        ),
    };
    let rest = match there {
        Some(_) => "no new key is made in its place".to_owned(),
        None => format!(
            "or, if nobody needs its data, delete the PersistentVolume {volume}: the Secret goes with it"
        ),
    };
    Some(stalling(reason, message, &format!("{remedy}; {rest}")))
}
