//! What a token holds of a tenant key: a secret key for each version, and a data object as the tombstone of each that
//! was destroyed. In: a session. Out: versions and handles, or Corrupt.

use std::collections::BTreeMap;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use jiff::Timestamp;

use super::connection::Fault;
use super::label::Label;
use crate::{KeyError, KeyName, State, Version};

/// The application of the tombstones.
const APPLICATION: &[u8] = b"freehold/v1";

/// A version's objects.
#[derive(Debug)]
struct Entry {
    created_at: Timestamp,
    /// Empty when it was destroyed; more than one when two processes made it at the same time.
    handles: Vec<ObjectHandle>,
    tombstone: Option<Timestamp>,
}

impl Entry {
    fn of(label: &Label) -> Self {
        Self {
            created_at: label.created_at,
            handles: Vec::new(),
            tombstone: None,
        }
    }
}

/// All that there is of a key.
#[derive(Debug)]
pub(super) struct Held(BTreeMap<u32, Entry>);

impl Held {
    pub fn list(session: &Session, key: &KeyName) -> Result<Self, Fault> {
        let mut keys = Vec::new();
        for handle in session.find_objects(&keys_of(key))? {
            keys.push((label_of(session, handle, key)?, handle));
        }
        // By date and then by id: for every process the same one comes first.
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
        for (label, handle) in keys {
            let entry = entries.entry(label.number).or_insert(Entry::of(&label));
            entry.handles.push(handle);
        }
        for handle in session.find_objects(&tombstones_of(key))? {
            let label = tombstone_of(session, handle, key)?;
            let entry = entries.entry(label.number).or_insert(Entry::of(&label));
            entry.tombstone = entry.tombstone.into_iter().chain(label.destroyed_at).min();
        }
        if entries
            .keys()
            .zip(1_u32..)
            .any(|(number, expected)| *number != expected)
        {
            return Err(corrupt(key, "has versions missing").into());
        }
        Ok(Self(entries))
    }

    pub fn versions(&self) -> Vec<Version> {
        let version = |(number, entry): (&u32, &Entry)| Version {
            number: *number,
            created_at: entry.created_at,
            // Destroyed is what has no key any more: a tombstone beside a key is a destruction that did not end.
            state: match entry.tombstone {
                Some(at) if entry.handles.is_empty() => State::Destroyed { at },
                _ => State::Enabled,
            },
        };
        self.0.iter().map(version).collect()
    }

    pub fn current(&self) -> Option<Version> {
        self.versions().pop()
    }

    pub fn some_current(&self, key: &KeyName) -> Result<Version, KeyError> {
        self.current().ok_or_else(|| KeyError::NotFound(key.to_string()))
    }

    pub fn version(&self, key: &KeyName, number: u32) -> Result<Version, KeyError> {
        self.some_current(key)?;
        let mut versions = self.versions().into_iter();
        versions
            .find(|version| version.number == number)
            .ok_or_else(|| KeyError::NotFound(format!("{key}, version {number}")))
    }

    pub fn handles(&self, number: u32) -> Vec<ObjectHandle> {
        let entry = self.0.get(&number);
        entry.map(|entry| entry.handles.clone()).unwrap_or_default()
    }

    /// The key that wraps.
    pub fn first(&self, key: &KeyName, number: u32) -> Result<ObjectHandle, KeyError> {
        let found = self.handles(number).first().copied();
        found.ok_or_else(|| KeyError::NotFound(format!("{key}, version {number}")))
    }

    /// The tombstone first: what is gone without one could be made again.
    pub fn destroy(&self, session: &Session, key: &KeyName, number: u32, at: Timestamp) -> Result<(), Fault> {
        let Some(entry) = self.0.get(&number) else {
            return Ok(());
        };
        if entry.tombstone.is_none() {
            let label = Label {
                number,
                created_at: entry.created_at,
                id: String::new(),
                destroyed_at: Some(at),
            };
            let mut template = tombstones_of(key);
            template.extend([
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Value(label.to_string().into_bytes()),
            ]);
            session.create_object(&template)?;
        }
        for handle in &entry.handles {
            session.destroy_object(*handle)?;
        }
        Ok(())
    }
}

/// Makes a version. Another process may have made the same one: what is there afterwards is the answer.
pub(super) fn make(session: &Session, key: &KeyName, number: u32, at: Timestamp) -> Result<Version, Fault> {
    let label = Label {
        number,
        created_at: at,
        id: id(session)?,
        destroyed_at: None,
    };
    let mut template = keys_of(key);
    template.extend([
        Attribute::Label(label.to_string().into_bytes()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::ValueLen(32.into()),
    ]);
    session.generate_key(&Mechanism::AesKeyGen, &template)?;
    Ok(Held::list(session, key)?.version(key, number)?)
}

/// Tells two keys apart that were made for one version in the same second.
fn id(session: &Session) -> Result<String, Error> {
    let bytes = session.generate_random_vec(8)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asks the token something that it must answer.
pub(super) fn look(session: &Session) -> Result<(), Error> {
    session.get_session_info()?;
    session.generate_random_vec(1)?;
    session.find_objects(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Application(APPLICATION.to_vec()),
    ])?;
    Ok(())
}

fn keys_of(key: &KeyName) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Id(key.as_str().as_bytes().to_vec()),
    ]
}

fn tombstones_of(key: &KeyName) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(key.as_str().as_bytes().to_vec()),
    ]
}

/// What a key object's label says.
fn label_of(session: &Session, handle: ObjectHandle, key: &KeyName) -> Result<Label, Fault> {
    let mut label = None;
    let asked = [
        AttributeType::Label,
        AttributeType::Sensitive,
        AttributeType::Extractable,
    ];
    for attribute in session.get_attributes(handle, &asked)? {
        match attribute {
            Attribute::Label(bytes) => label = Label::parse(&bytes),
            Attribute::Sensitive(true) | Attribute::Extractable(false) => {}
            _ => return Err(corrupt(key, "has a version that can be taken out of the token").into()),
        }
    }
    Ok(label.ok_or_else(|| corrupt(key, "has a version without its label"))?)
}

fn tombstone_of(session: &Session, handle: ObjectHandle, key: &KeyName) -> Result<Label, Fault> {
    let label = match session.get_attributes(handle, &[AttributeType::Value])?.pop() {
        Some(Attribute::Value(bytes)) => Label::parse(&bytes),
        _ => None,
    };
    Ok(label.ok_or_else(|| corrupt(key, "has a tombstone that can't be read"))?)
}

fn corrupt(key: &KeyName, what: &str) -> KeyError {
    KeyError::Corrupt(format!("{key} {what}: restore the HSM's token from a backup"))
}
