//! What can go wrong with an HSM.

use std::fs;
use std::process::{Command, ExitCode, Stdio};

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use freehold_keys::pkcs11::{Pkcs11, Settings};
use freehold_keys::{Context, DataKey, Destroying, KeyError, KeyName, Provider, Purpose, State, Wrapped};

use tokio::runtime::Runtime;

use crate::softhsm::{self, LABEL, PIN};

crate::list!(
    keys_never_leave_the_token,
    a_lost_session_is_opened_again,
    a_token_that_is_gone_is_unavailable_until_it_is_back,
    a_refused_pin_is_not_tried_again,
    a_module_that_is_not_there_is_named,
    two_keys_of_one_version_both_open,
    several_processes_rotate_at_once,
    a_destruction_that_did_not_end_is_ended,
    a_version_that_is_missing_is_corrupt,
    a_label_that_cannot_be_read_is_corrupt,
    a_key_that_can_be_taken_out_is_corrupt,
);

fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn context() -> Context {
    Context::new("5f0c", Purpose::Volume, "pvc-1").unwrap()
}

async fn wrap(key: &KeyName) -> Result<Wrapped, KeyError> {
    let plain = DataKey::new(vec![3; 32]);
    softhsm::provider().wrap(key, &context(), &plain).await
}

async fn opens(key: &KeyName, wrapped: &Wrapped) -> bool {
    let opened = softhsm::provider().unwrap(key, &context(), wrapped).await;
    opened.unwrap().as_bytes() == [3; 32]
}

fn is_unavailable<T: std::fmt::Debug>(answer: Result<T, KeyError>) -> String {
    match answer {
        Err(KeyError::Unavailable(about)) => about,
        other => panic!("{other:?}"),
    }
}

/// A session beside the provider's, which is logged in.
fn session() -> Session {
    let module = softhsm::module();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let named = |slot: &&cryptoki::slot::Slot| module.get_token_info(**slot).unwrap().label() == LABEL;
    let slot = slots.iter().find(named).unwrap();
    module.open_rw_session(*slot).unwrap()
}

fn objects(session: &Session, key: &KeyName) -> Vec<ObjectHandle> {
    let id = Attribute::Id(key.as_str().as_bytes().to_vec());
    session
        .find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY), id])
        .unwrap()
}

/// A key that the provider did not make.
fn plant(session: &Session, key: &KeyName, label: &str, extractable: bool) -> ObjectHandle {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
        Attribute::Id(key.as_str().as_bytes().to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap()
}

async fn keys_never_leave_the_token() {
    let key = key("stays");
    softhsm::provider().create(&key).await.unwrap();
    let session = session();
    let found = objects(&session, &key);
    assert_eq!(found.len(), 1);
    let asked = [
        AttributeType::NeverExtractable,
        AttributeType::AlwaysSensitive,
        AttributeType::Local,
        AttributeType::Private,
        AttributeType::ValueLen,
    ];
    let attributes = session.get_attributes(found[0], &asked).unwrap();
    let expected = [
        Attribute::NeverExtractable(true),
        Attribute::AlwaysSensitive(true),
        Attribute::Local(true),
        Attribute::Private(true),
        Attribute::ValueLen(32.into()),
    ];
    assert_eq!(format!("{attributes:?}"), format!("{expected:?}"));
    let value = session.get_attributes(found[0], &[AttributeType::Value]).unwrap();
    assert!(value.is_empty(), "the token gives the key away");
}

async fn a_lost_session_is_opened_again() {
    let key = key("lost-session");
    softhsm::provider().create(&key).await.unwrap();
    let wrapped = wrap(&key).await.unwrap();
    // What a restart of the HSM is to its client.
    softhsm::module().finalize().unwrap();
    assert!(opens(&key, &wrapped).await);
    // Somebody logs out: the session is there, and sees no key any more.
    session().logout().unwrap();
    assert!(opens(&key, &wrapped).await);
}

async fn a_token_that_is_gone_is_unavailable_until_it_is_back() {
    let key = key("gone-token");
    softhsm::provider().create(&key).await.unwrap();
    let wrapped = wrap(&key).await.unwrap();
    let (tokens, aside) = (softhsm::folder().join("tokens"), softhsm::folder().join("aside"));
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    softhsm::module().finalize().unwrap();
    let about = is_unavailable(softhsm::provider().unwrap(&key, &context(), &wrapped).await);
    assert!(about.contains(LABEL), "{about}");
    is_unavailable(softhsm::provider().create(&key).await);
    is_unavailable(softhsm::provider().health().await);
    fs::remove_dir_all(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    assert!(opens(&key, &wrapped).await);
}

async fn a_refused_pin_is_not_tried_again() {
    let pin = softhsm::folder().join("pin");
    softhsm::provider().health().await.unwrap();
    softhsm::module().finalize().unwrap();
    fs::write(&pin, "wrong-pin").unwrap();
    for _ in 0..3 {
        let about = is_unavailable(softhsm::provider().health().await);
        assert!(about.contains("PIN") && !about.contains("wrong-pin"), "{about}");
    }
    // The PIN of the file becomes the right one, and is still not tried: it was tried once.
    let session = session();
    let changed = session.login(UserType::User, Some(&PIN.into()));
    changed.unwrap();
    session.set_pin(&PIN.into(), &"wrong-pin".into()).unwrap();
    session.logout().unwrap();
    drop(session);
    is_unavailable(softhsm::provider().health().await);
    let session = self::session();
    session.login(UserType::User, Some(&"wrong-pin".into())).unwrap();
    session.set_pin(&"wrong-pin".into(), &PIN.into()).unwrap();
    drop(session);
    fs::write(&pin, format!("{PIN}\r\n")).unwrap();
    softhsm::provider().health().await.unwrap();
    fs::write(&pin, PIN).unwrap();
}

async fn a_module_that_is_not_there_is_named() {
    let settings = Settings {
        module: "/nowhere/module.so".into(),
        ..softhsm::settings()
    };
    let error = Pkcs11::new(settings).unwrap_err();
    assert!(
        matches!(&error, KeyError::Invalid(about) if about.contains("/nowhere/module.so")),
        "{error}"
    );
}

async fn two_keys_of_one_version_both_open() {
    let key = key("twice");
    let made = softhsm::provider().create(&key).await.unwrap();
    let first = wrap(&key).await.unwrap();
    // An older one, so it is the one that wraps from now on.
    let session = session();
    let created = made.created_at.as_second() - 1;
    let label = format!("freehold/v1 version=1 created={created} id=00");
    let planted = plant(&session, &key, &label, false);
    let second = wrap(&key).await.unwrap();
    assert!(opens(&key, &first).await);
    assert!(opens(&key, &second).await);
    assert_eq!(softhsm::provider().versions(&key).await.unwrap().len(), 1);
    session.destroy_object(planted).unwrap();
    let error = softhsm::provider()
        .unwrap(&key, &context(), &second)
        .await
        .unwrap_err();
    assert!(matches!(error, KeyError::Refused(_)), "{error}");
    plant(&session, &key, &label, false);
    softhsm::provider().destroy(&key, Destroying::All).await.unwrap();
    assert!(objects(&session, &key).is_empty());
}

const RACE: &str = "FREEHOLD_RACE_ON";

pub fn asked_to_race() -> Option<KeyName> {
    std::env::var(RACE).ok().map(|name| key(&name))
}

/// In a process of its own: rotates, wraps, and prints what it wrapped.
pub fn race(key: &KeyName) -> ExitCode {
    let wrapped = Runtime::new().unwrap().block_on(async {
        let version = patiently(async || softhsm::provider().rotate(key, 1).await).await;
        assert_eq!(version.number, 2);
        patiently(async || wrap(key).await).await
    });
    assert_eq!(wrapped.version, 2);
    let hex: String = wrapped.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{hex}");
    ExitCode::SUCCESS
}

/// As every caller does. SoftHSM keeps its tokens in files, which other processes see half written now and then.
async fn patiently<T>(act: impl AsyncFn() -> Result<T, KeyError>) -> T {
    for _ in 0..100 {
        match act().await {
            Err(KeyError::Unavailable(_)) => tokio::task::yield_now().await,
            answer => return answer.unwrap(),
        }
    }
    panic!("unavailable a hundred times");
}

async fn several_processes_rotate_at_once() {
    let key = key("race");
    softhsm::provider().create(&key).await.unwrap();
    let racers: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .env(RACE, key.as_str())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut wrapped = Vec::new();
    for racer in racers {
        let output = racer.wait_with_output().unwrap();
        assert!(output.status.success());
        let hex = String::from_utf8(output.stdout).unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        wrapped.push(Wrapped {
            version: 2,
            bytes: (0..hex.trim().len()).step_by(2).map(byte).collect(),
        });
    }
    for wrapped in wrapped {
        assert!(opens(&key, &wrapped).await);
    }
    assert_eq!(softhsm::provider().versions(&key).await.unwrap().len(), 2);
}

async fn a_destruction_that_did_not_end_is_ended() {
    let key = key("half-destroyed");
    let made = softhsm::provider().create(&key).await.unwrap();
    let wrapped = wrap(&key).await.unwrap();
    let session = session();
    let at = made.created_at.as_second();
    let tombstone = format!("freehold/v1 version=1 created={at} id= destroyed={}", at + 1);
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(b"freehold/v1".to_vec()),
        Attribute::Label(b"half-destroyed".to_vec()),
        Attribute::Value(tombstone.into_bytes()),
    ];
    session.create_object(&template).unwrap();
    // As long as the key is there, nobody may read that it is not.
    let versions = softhsm::provider().versions(&key).await.unwrap();
    assert_eq!(versions[0].state, State::Enabled);
    assert!(opens(&key, &wrapped).await);
    let destroyed = softhsm::provider().destroy(&key, Destroying::All).await.unwrap();
    assert!(
        matches!(destroyed.versions[0].state, State::Destroyed { at: when } if when.as_second() == at + 1)
    );
    assert!(destroyed.evidence.contains(LABEL), "{}", destroyed.evidence);
    assert!(objects(&session, &key).is_empty());
}

async fn is_corrupt(key: &KeyName) {
    let provider = softhsm::provider();
    for error in [
        provider.create(key).await.unwrap_err(),
        provider.versions(key).await.unwrap_err(),
        wrap(key).await.unwrap_err(),
    ] {
        assert!(matches!(error, KeyError::Corrupt(_)), "{error}");
    }
}

async fn a_version_that_is_missing_is_corrupt() {
    let key = key("missing");
    softhsm::provider().create(&key).await.unwrap();
    softhsm::provider().rotate(&key, 1).await.unwrap();
    let session = session();
    for handle in objects(&session, &key) {
        let label = session.get_attributes(handle, &[AttributeType::Label]).unwrap();
        if is_first(&label) {
            session.destroy_object(handle).unwrap();
        }
    }
    is_corrupt(&key).await;
    assert_eq!(objects(&session, &key).len(), 1);
}

fn is_first(attributes: &[Attribute]) -> bool {
    match attributes {
        [Attribute::Label(bytes)] => std::str::from_utf8(bytes).unwrap().contains("version=1 "),
        other => panic!("{other:?}"),
    }
}

async fn a_label_that_cannot_be_read_is_corrupt() {
    let key = key("label");
    softhsm::provider().health().await.unwrap();
    plant(&session(), &key, "something else", false);
    is_corrupt(&key).await;
}

async fn a_key_that_can_be_taken_out_is_corrupt() {
    let key = key("extractable");
    softhsm::provider().health().await.unwrap();
    plant(
        &session(),
        &key,
        "freehold/v1 version=1 created=1700000000 id=00",
        true,
    );
    is_corrupt(&key).await;
}
