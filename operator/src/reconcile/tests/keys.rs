//! Keys of a tenant's own, by the real key service: made, wrapped anew, never replaced, forgotten.

use freehold_keys::client::{Client as Keys, Settings, Source};
use freehold_keys::local::{Local, Memory, Secrets, Vault};
use freehold_keys::server::{Callers, Reviewer, Service};
use freehold_keys::tls::{Identity, Keeper};
use freehold_keys::{Context as About, KeyName, Purpose, Wrapped};
use freehold_plan::{KeyService, StorageClass};
use tokio::net::TcpListener;

use super::*;

const VOLUME: &str = "/api/v1/namespaces/tenant-acme/persistentvolumeclaims/db-1";
const OPERATOR: &str = "operator";
const DRIVER: &str = "driver";

/// A key service, with the operator as its caller and a driver.
pub async fn service() -> (Keys, Keys) {
    service_over(Memory::default()).await
}

async fn service_over(vault: impl Vault) -> (Keys, Keys) {
    let double = ApiDouble::default();
    let keeper = Keeper::new(double.client(), "freehold-keys", vec!["localhost".into()]);
    let leaf = keeper.look(Timestamp::now()).await.unwrap();
    let identity = Arc::new(Identity::new(&leaf).unwrap());
    let callers = Callers::new(OPERATOR.into(), [DRIVER.to_owned()].into()).unwrap();
    let provider = Arc::new(Local::new(vault));
    let service = Service::new(provider, callers, Reviewer::new(double.client()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(service.serve(listener, identity, std::future::pending()));
    let map = double.object("/api/v1/namespaces/freehold-keys/configmaps/freehold-keys-ca");
    let pem = map.unwrap()["data"]["ca.crt"].as_str().unwrap().to_owned();
    let caller = |token: &str| {
        let endpoint = format!("https://localhost:{port}");
        Keys::new(Settings::new(
            &endpoint,
            Source::Text(pem.clone()),
            Source::Text(token.into()),
        ))
        .unwrap()
    };
    (caller(OPERATOR), caller(DRIVER))
}

/// What plans are told where volumes are encrypted by Freehold's own driver.
pub fn encrypting(config: Config) -> Config {
    let parameters = [
        ("csi.storage.k8s.io/node-stage-secret-name", "${pv.name}"),
        ("csi.storage.k8s.io/node-stage-secret-namespace", "freehold-keys"),
    ];
    let class = StorageClass {
        provisioner: "csi.freehold.dev".into(),
        parameters: parameters.map(|(key, value)| (key.into(), value.into())).into(),
        is_default: true,
    };
    Config {
        key_service: Some(KeyService {
            provider: Some("local".into()),
            ..KeyService::default()
        }),
        storage_classes: Some([("encrypted".into(), class)].into()),
        ..config
    }
}

/// One that nobody listens at.
pub fn gone() -> Keys {
    let settings = Settings::new(
        "https://localhost:1",
        Source::Text(String::new()),
        Source::Text(OPERATOR.into()),
    );
    Keys::new(settings).unwrap()
}

impl Shell {
    /// One whose volumes are encrypted, the service's operator and its driver.
    async fn encrypted() -> (Self, Keys, Keys) {
        let (operator, driver) = service().await;
        let shell = Self::with(encrypting(Config::default())).asking(operator.clone());
        (shell, operator, driver)
    }

    /// CloudNativePG makes a volume.
    pub fn volume(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap();
        let claim = json!({
            "metadata": {
                "name": name, "namespace": "tenant-acme", "labels": {"freehold.dev/tenant": "acme"},
            },
            "spec": {"storageClassName": "encrypted"},
        });
        self.double.plant(path, claim);
        let claim = self.double.object(path).unwrap();
        let seen: kube::api::DynamicObject = serde_json::from_value(claim.clone()).unwrap();
        let (tenant, id, seen) = crate::watch::reduce(Kind::Volume, seen).unwrap();
        self.context.store.put_watched(&tenant, id, seen);
        format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap())
    }

    /// It is gone.
    pub fn no_volume(&self, path: &str) {
        let claim: kube::api::DynamicObject =
            serde_json::from_value(self.double.object(path).unwrap()).unwrap();
        let (tenant, id, seen) = crate::watch::reduce(Kind::Volume, claim).unwrap();
        self.double.raze(path);
        self.context.store.remove(&tenant, &id, &seen.resource_version);
    }

    fn condition(&self, kind: &str) -> String {
        let status = self.tenant().status.clone().unwrap();
        let found = status.conditions.iter().find(|found| found.type_ == kind);
        found.map_or_else(String::new, |found| format!("{} {}", found.status, found.reason))
    }

    /// Half a minute passes: what is believed for longer is believed still.
    fn half_a_minute_passes(&self) {
        let then = Timestamp::now() + jiff::SignedDuration::from_secs(30);
        let trust = self.context.store.trust("acme");
        if trust.is_some_and(|trust| trust.until <= then) {
            self.context.store.distrust("acme");
        }
    }

    fn wrapped(&self, volume: &str) -> (Wrapped, String) {
        let secret = self.double.object(&secret(volume)).unwrap();
        let text = |key: &str| {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(secret["data"][key].as_str().unwrap())
                .unwrap();
            String::from_utf8(bytes).unwrap()
        };
        use base64::Engine;
        let wrapped = Wrapped {
            version: text("version").parse().unwrap(),
            bytes: base64::engine::general_purpose::STANDARD
                .decode(text("wrapped"))
                .unwrap(),
        };
        assert_eq!(text("tenantKey"), text("incarnation"));
        (wrapped, text("incarnation"))
    }
}

fn secret(volume: &str) -> String {
    format!("/api/v1/namespaces/freehold-keys/secrets/{volume}")
}

/// The plain key, as the driver gets it.
async fn opened(driver: &Keys, volume: &str, (wrapped, life): &(Wrapped, String)) -> Vec<u8> {
    let about = About::new(life, Purpose::Volume, volume).unwrap();
    let name = KeyName::of_incarnation(life).unwrap();
    let plain = driver.unwrap(&name, &about, wrapped).await.unwrap();
    plain.as_bytes().to_vec()
}

#[tokio::test]
async fn a_volume_s_key_is_made_once_kept_wrapped_and_opens_for_the_driver_only() {
    let (shell, operator, driver) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;

    assert_eq!(shell.condition("KeysCurrent"), "True Current");
    assert_eq!(shell.condition("Ready"), "True Ready");
    let kept = shell.wrapped(&volume);
    let plain = opened(&driver, &volume, &kept).await;
    assert_eq!(plain.len(), 64);
    let name = KeyName::of_incarnation(&kept.1).unwrap();
    let about = About::new(&kept.1, Purpose::Volume, &volume).unwrap();
    operator.unwrap(&name, &about, &kept.0).await.unwrap_err();
    let other = About::new(&kept.1, Purpose::Volume, "pvc-other").unwrap();
    driver.unwrap(&name, &other, &kept.0).await.unwrap_err();
    // At rest nothing is asked; a process that has seen nothing yet makes no other key.
    assert_eq!(shell.pass().await, []);
    let another = shell.another().asking(operator);
    another.watches();
    another.settle("acme").await;
    assert_eq!(another.wrapped(&volume), kept);
}

#[tokio::test]
async fn a_rotation_wraps_the_same_key_anew_and_destroys_the_old_version() {
    let (shell, operator, driver) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let before = shell.wrapped(&volume);
    let plain = opened(&driver, &volume, &before).await;
    shell.asks("acme", |spec| spec["keys"]["rotateTenantKey"] = "now".into());
    shell.settle("acme").await;
    shell.settle("acme").await;
    let after = shell.wrapped(&volume);
    assert_eq!((before.0.version, after.0.version), (1, 2));
    assert_eq!(opened(&driver, &volume, &after).await, plain);
    let name = KeyName::of_incarnation(&after.1).unwrap();
    let about = About::new(&after.1, Purpose::Volume, &volume).unwrap();
    driver.unwrap(&name, &about, &before.0).await.unwrap_err();
    let versions = operator.versions(&name).await.unwrap();
    assert_eq!(versions.len(), 2);
    let status = shell.tenant().status.clone().unwrap().keys.unwrap();
    let key = status.tenant_key.unwrap();
    assert_eq!((key.version, key.acknowledged.as_deref()), (2, Some("now")));
    assert_eq!(key.versions.len(), 1);
    assert_eq!(shell.condition("Ready"), "True Ready");
    let mut paths = shell.double.paths().into_iter();
    let record = paths.find(|path| path.contains("/tenantoperations/acme-tenant-key-"));
    let record = shell.double.object(&record.unwrap()).unwrap();
    let evidence = record["status"]["evidence"].as_array().unwrap();
    let last = evidence.last().unwrap()["message"].as_str().unwrap();
    assert!(
        last.starts_with("no version before 2 is left: version 1 was destroyed at "),
        "{last}"
    );
    assert!(
        last.contains("backups of it hold them until they expire"),
        "{last}"
    );
}

#[tokio::test]
async fn a_wrapped_key_that_does_not_open_is_told_when_it_is_to_be_wrapped_anew() {
    use base64::Engine;
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let kept = shell.double.object(&secret(&volume)).unwrap();
    let mut changed = kept.clone();
    // Whole by its form, and of the same tenant.
    let mut bytes = shell.wrapped(&volume).0.bytes;
    bytes[20] ^= 1;
    changed["data"]["wrapped"] = base64::engine::general_purpose::STANDARD
        .encode(base64::engine::general_purpose::STANDARD.encode(bytes))
        .into();
    shell.double.plant(&secret(&volume), changed.clone());
    shell.context.store.distrust("acme");
    shell.asks("acme", |spec| spec["keys"]["rotateTenantKey"] = "now".into());
    for _ in 0..3 {
        shell.settle("acme").await;
        assert_eq!(shell.condition("KeysCurrent"), "False VolumeKeyBroken");
        assert_eq!(shell.condition("Serving"), "True Serving");
        // Looked at again, it is as it was when it was tried.
        shell.half_a_minute_passes();
    }
    shell.double.plant(&secret(&volume), kept);
    shell.half_a_minute_passes();
    shell.settle("acme").await;
    shell.settle("acme").await;
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
    assert_eq!(shell.wrapped(&volume).0.version, 2);
}

#[tokio::test]
async fn a_secret_that_somebody_deletes_is_not_made_anew_and_put_back_it_counts_again() {
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let kept = shell.double.object(&secret(&volume)).unwrap();
    shell.double.raze(&secret(&volume));
    shell.context.store.distrust("acme");
    shell.settle("acme").await;
    assert!(shell.double.object(&secret(&volume)).is_none());
    assert_eq!(shell.condition("KeysCurrent"), "False VolumeKeyLost");
    assert_eq!(shell.condition("Serving"), "True Serving");
    shell.double.plant(&secret(&volume), kept);
    shell.half_a_minute_passes();
    shell.settle("acme").await;
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
}

#[tokio::test]
async fn whatever_was_lost_of_the_keys_counts_again_soon_after_it_is_restored() {
    let text = |text: &str| {
        use base64::Engine;
        Value::from(base64::engine::general_purpose::STANDARD.encode(text))
    };
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let kept = shell.double.object(&secret(&volume)).unwrap();
    let harms = [
        ("version", "9", "False ProviderRolledBack"),
        ("version", "0", "False KeyVersionLost"),
        ("wrapped", "%", "False VolumeKeyBroken"),
    ];
    for (key, value, reason) in harms {
        let mut harmed = kept.clone();
        harmed["data"][key] = text(value);
        shell.double.plant(&secret(&volume), harmed);
        shell.context.store.distrust("acme");
        shell.settle("acme").await;
        assert_eq!(shell.condition("KeysCurrent"), reason);
        shell.double.plant(&secret(&volume), kept.clone());
        shell.half_a_minute_passes();
        shell.settle("acme").await;
        assert_eq!(shell.condition("KeysCurrent"), "True Current", "after {reason}");
    }
    // At rest it is believed for long, and nothing is asked.
    shell.half_a_minute_passes();
    assert_eq!(shell.pass().await, []);
}

#[tokio::test]
async fn a_tenant_key_that_its_provider_lost_counts_again_soon_after_it_is_restored() {
    let shell = Shell::with(encrypting(Config::default()));
    let vault = Secrets::new(shell.double.client(), "freehold-keys");
    let shell = shell.asking(service_over(vault).await.0);
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
    let path = secret(&format!("tenant-key-{}", UIDS[0].1));
    let kept = [&path, &secret(&volume)].map(|path| (path.clone(), shell.double.object(path).unwrap()));
    for all in [false, true] {
        for (path, _) in kept.iter().take(if all { 2 } else { 1 }) {
            shell.double.raze(path);
        }
        shell.context.store.distrust("acme");
        shell.settle("acme").await;
        assert_eq!(shell.condition("KeysCurrent"), "False TenantKeyLost");
        for (path, object) in &kept {
            shell.double.plant(path, object.clone());
        }
        shell.half_a_minute_passes();
        shell.settle("acme").await;
        assert_eq!(shell.condition("KeysCurrent"), "True Current", "all: {all}");
    }
}

#[tokio::test]
async fn a_provider_that_is_rolled_back_unnoticed_in_a_rotation_rotates_again() {
    let shell = Shell::with(encrypting(Config::default()));
    let vault = Secrets::new(shell.double.client(), "freehold-keys");
    let shell = shell.asking(service_over(vault).await.0);
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let path = secret(&format!("tenant-key-{}", UIDS[0].1));
    let before = shell.double.object(&path).unwrap();
    shell.asks("acme", |spec| spec["keys"]["rotateTenantKey"] = "now".into());
    while shell.paths_of("tenantoperations").is_empty() || shell.operation()["status"]["step"] != "Rewrap" {
        shell.pass().await;
    }
    let mut older = shell.double.object(&path).unwrap();
    older["data"] = before["data"].clone();
    shell.double.plant(&path, older);
    shell.settle("acme").await;
    shell.settle("acme").await;
    assert_eq!(shell.wrapped(&volume).0.version, 2);
    let status = shell.tenant().status.clone().unwrap().keys.unwrap();
    let key = status.tenant_key.unwrap();
    assert_eq!((key.version, key.acknowledged.as_deref()), (2, Some("now")));
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
}

#[tokio::test]
async fn a_wrapped_key_that_was_copied_from_another_tenant_is_none() {
    use base64::Engine;
    let text = |text: &str| Value::from(base64::engine::general_purpose::STANDARD.encode(text));
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let kept = shell.double.object(&secret(&volume)).unwrap();
    for key in ["incarnation", "tenantKey"] {
        for version in ["1", "9"] {
            let mut copied = kept.clone();
            copied["data"][key] = text(UIDS[1].1);
            copied["data"]["version"] = text(version);
            shell.double.plant(&secret(&volume), copied);
            shell.context.store.distrust("acme");
            shell.settle("acme").await;
            assert_eq!(
                shell.condition("KeysCurrent"),
                "False VolumeKeyBroken",
                "{key} of another, version {version}"
            );
        }
    }
}

#[tokio::test]
async fn a_broken_key_whose_claim_is_gone_is_forgotten_with_its_volume() {
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let persistent = format!("/api/v1/persistentvolumes/{volume}");
    shell
        .double
        .plant(&persistent, json!({"metadata": {"name": volume}, "spec": {}}));
    shell.no_volume(VOLUME);
    let mut broken = shell.double.object(&secret(&volume)).unwrap();
    broken["data"]["wrapped"] = "JQ==".into();
    shell.double.plant(&secret(&volume), broken);
    shell.context.store.distrust("acme");
    shell.settle("acme").await;
    assert!(shell.double.object(&secret(&volume)).is_some());
    let blockers = shell.blockers();
    assert!(
        blockers[0].starts_with("VolumeKeyBroken")
            && blockers[0].contains(&format!("freehold-keys/{volume}")),
        "{blockers:?}"
    );
    assert_eq!(shell.pass().await, [], "nor is it asked for again and again");
    shell.double.raze(&persistent);
    shell.half_a_minute_passes();
    shell.settle("acme").await;
    assert!(shell.double.object(&secret(&volume)).is_none());
    assert_eq!(shell.blockers(), [] as [&str; 0]);
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
}

#[tokio::test]
async fn a_key_outlives_its_claim_while_its_volume_is_there() {
    let (shell, _, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    let volume = shell.volume(VOLUME);
    shell.settle("acme").await;
    let persistent = format!("/api/v1/persistentvolumes/{volume}");
    shell
        .double
        .plant(&persistent, json!({"metadata": {"name": volume}, "spec": {}}));
    shell.no_volume(VOLUME);
    shell.settle("acme").await;
    assert!(shell.double.object(&secret(&volume)).is_some());
    assert_eq!(shell.pass().await, [], "nor is it asked for again and again");
    shell.double.raze(&persistent);
    shell.context.store.distrust("acme");
    shell.settle("acme").await;
    assert!(shell.double.object(&secret(&volume)).is_none());
}

#[tokio::test]
async fn without_the_key_service_everything_else_is_made_all_the_same() {
    let (shell, _, _) = Shell::encrypted().await;
    let shell = shell.asking(gone());
    // The service's part of a pass fails, and nothing else.
    for _ in 0..6 {
        let _ = reconcile(shell.tenant(), shell.context.clone()).await;
        shell.controllers();
    }
    shell.volume(VOLUME);
    let _ = reconcile(shell.tenant(), shell.context.clone()).await;
    assert_eq!(shell.condition("Serving"), "True Serving");
    assert!(shell.double.object(EDGE).is_some());
    assert_eq!(shell.condition("KeysCurrent"), "False Unread");
}

/// What was known of the tenant key is shown still, and nothing is decided by it: nobody can say what became of it.
#[tokio::test]
async fn what_was_known_of_the_tenant_key_counts_as_unread_when_the_key_service_can_t_be_asked() {
    let (shell, operator, _) = Shell::encrypted().await;
    shell.settle("acme").await;
    shell.volume(VOLUME);
    shell.settle("acme").await;
    let shell = shell.asking(gone());
    shell.context.store.distrust("acme");
    shell.asks("acme", |spec| spec["keys"]["rotateTenantKey"] = "now".into());
    for _ in 0..3 {
        // Who believes what was known would ask the service for a version, and fail.
        let _ = reconcile(shell.tenant(), shell.context.clone()).await;
    }
    let known = shell.context.store.observed("acme", Timestamp::now()).minted.keys;
    assert!(known.unread);
    assert!(known.tenant.present().is_some());
    assert_eq!(shell.paths_of("tenantoperations"), [] as [&str; 0]);
    assert_eq!(shell.condition("KeysCurrent"), "False Unread");
    // It is read again before long, though nothing tells of its return.
    let trust = shell.context.store.trust("acme").unwrap();
    assert!(trust.until.duration_since(Timestamp::now()) <= jiff::SignedDuration::from_secs(30));
    let shell = shell.asking(operator);
    shell.context.store.distrust("acme");
    shell.settle("acme").await;
    shell.settle("acme").await;
    assert_eq!(shell.condition("KeysCurrent"), "True Current");
}
