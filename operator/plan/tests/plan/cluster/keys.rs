//! What the key service and the shell do about keys.

use super::*;

impl Cluster {
    /// What the key service and the shell do with an action about keys.
    pub(super) fn key(&mut self, action: &Action) {
        let now = self.given.now;
        let keys = &mut self.minted.keys;
        let current = keys.tenant.present().map(|key| key.last);
        match action {
            Action::MakeTenantKey if current.is_none() => {
                keys.tenant = Slot::Present(TenantKey {
                    versions: [(1, now)].into(),
                    last: 1,
                    ..TenantKey::default()
                });
            }
            Action::MakeDataKey { volume } => {
                let made = DataKey {
                    version: current.expect("a data key without a tenant key"),
                    created: now,
                };
                let there = keys.data.insert(volume.clone(), Slot::Present(made));
                assert!(there.is_none(), "a key of {volume} was replaced");
            }
            Action::RotateTenantKey { from } if current == Some(*from) => {
                if let Slot::Present(key) = &mut keys.tenant {
                    key.last += 1;
                    key.versions.insert(key.last, now);
                }
            }
            Action::RewrapDataKeys { volumes } => {
                for volume in volumes {
                    if let Some(Slot::Present(key)) = keys.data.get_mut(volume) {
                        key.version = current.unwrap();
                    }
                }
            }
            Action::DestroyVersions { versions } => {
                for version in versions {
                    let by = |slot: &Slot<DataKey>| slot.present().is_some_and(|key| key.version == *version);
                    assert!(
                        !keys.data.values().any(by),
                        "version {version} wraps a data key still"
                    );
                    if let Slot::Present(key) = &mut keys.tenant {
                        key.versions.remove(version);
                    }
                }
            }
            Action::ForgetDataKey { volume } => {
                let is_there =
                    |body: &Value| format!("pvc-{}", body["metadata"]["uid"].as_str().unwrap()) == *volume;
                assert!(
                    !self.objects.values().any(is_there),
                    "the key of a volume that is there"
                );
                if self.postgres.retains {
                    keys.kept.insert(volume.clone());
                    return;
                }
                keys.data.remove(volume);
                keys.gone.insert(volume.clone());
            }
            Action::ForgetKeys => *keys = Keys::default(),
            Action::SwitchOver { to, .. } => self.postgres.switch_over(to),
            Action::RetireInstance { instance, .. } => self.postgres.mark(instance),
            _ => {}
        }
    }

    /// What the shell looks up right before it lets the key service destroy a tenant key, and what comes of it.
    pub(super) fn destroy_keys(&mut self, operation: &str) {
        let running = &self.operations[operation].status;
        assert_eq!(
            running.step.as_deref(),
            Some("Destroy"),
            "a destruction that is not on record"
        );
        let mut records = self.objects.iter();
        let record = records
            .find(|(id, body)| id.kind == Kind::DestructionRecord && body["spec"]["operation"] == operation);
        let (_, record) = record.expect("a destruction without a record");
        let spec = &self.given.tenant.spec;
        let asked = spec.termination.as_ref().is_some_and(|asked| asked.destroy_keys);
        let keys = &mut self.minted.keys;
        let Slot::Present(key) = &mut keys.tenant else {
            return;
        };
        if !key.versions.is_empty() {
            assert_eq!(
                record["spec"]["versions"].as_array().unwrap().len(),
                key.versions.len()
            );
            let mut databases = self.objects.iter().filter(|(id, _)| id.kind == Kind::Cluster);
            assert!(
                databases.all(|(_, body)| body["status"]["readyInstances"] == 0),
                "a database runs"
            );
            if !asked || spec.deletion_protection {
                keys.held = Some("it is not asked for any more".into());
                return;
            }
            if std::mem::take(&mut self.late) {
                self.under_way = true;
                return;
            }
            key.versions.clear();
            key.destroyed_at = Some(self.given.now);
        }
        if std::mem::take(&mut self.cut_off) {
            return;
        }
        key.evidence = Some("removed".into());
        keys.data.clear();
        keys.held = None;
    }

    /// The key service hears a call that was late.
    pub fn lands(&mut self) {
        let now = self.given.now;
        if std::mem::take(&mut self.under_way)
            && let Slot::Present(key) = &mut self.minted.keys.tenant
            && !key.versions.is_empty()
        {
            key.versions.clear();
            key.destroyed_at = Some(now);
        }
    }

    /// What is known of keys, for tests that take some away.
    pub fn keys(&mut self) -> &mut Keys {
        &mut self.minted.keys
    }

    pub(super) fn key_is_whole(&self) -> bool {
        let key = self.minted.keys.tenant.present();
        key.is_some_and(|key| !key.versions.is_empty())
    }
}
