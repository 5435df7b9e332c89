//! Whether the keys that lie in the cluster open, asked again and again with the storage driver's own credential. In: a
//! tenant. Out: how often they did, how often nobody was there to ask, and what did not open though somebody was.
//!
//! A key may be wrapped anew between the look at it and the question, and its old version destroyed: then it is wrong only
//! if the wrapped key does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_e2e::lab::databases::tied;
use freehold_e2e::lab::{addons, shell};
use freehold_e2e::{install, kube};
use freehold_keys::client::{Client, Settings, Source};
use freehold_keys::{AUDIENCE, Context, DataKey, Envelope, KeyError, Purpose};
use serde_json::Value;

use super::feed::Feed;
use crate::stage::lab;

/// Who may unwrap.
const DRIVER: &str = "freehold-csi";
const SOON: Duration = Duration::from_secs(5);
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(50);

/// The wrapped keys as they are now, by volume.
type Wrapped = Arc<Mutex<BTreeMap<String, Envelope>>>;

pub struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Opened>,
    _feed: Feed,
}

/// What was found out.
#[derive(Debug, Default)]
pub struct Opened {
    pub times: usize,
    /// Nobody answered.
    away: usize,
    /// The versions of the tenant key that the opened keys were wrapped by.
    versions: BTreeSet<u32>,
    pub wrong: Vec<String>,
    /// What each volume's key was when it was first opened.
    pub keys: BTreeMap<String, DataKey>,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "keys opened {} times under {} versions, nobody to ask {} times",
            self.times,
            self.versions.len(),
            self.away
        )
    }
}

impl Witness {
    pub fn start(tenant: &str) -> Witness {
        let wrapped = Wrapped::default();
        let into = wrapped.clone();
        let selector = format!("freehold.dev/data-key,freehold.dev/tenant={tenant}");
        let feed = Feed::start(
            &["-n", install::KEYS, "secrets", "-l", &selector],
            move |secret| {
                let volume = secret["metadata"]["name"].as_str().unwrap_or_default();
                into.lock().unwrap().insert(volume.to_owned(), envelope(secret));
            },
        );
        let over = Arc::<AtomicBool>::default();
        let authority = kube::get(lab(), &["-n", install::KEYS, "configmap", "freehold-keys-ca"]).unwrap();
        let token = [
            "-n",
            DRIVER,
            "create",
            "token",
            DRIVER,
            "--duration=1h",
            "--audience",
            AUDIENCE,
        ];
        let mut asking = Asking {
            over: over.clone(),
            wrapped,
            authority: authority["data"]["ca.crt"].as_str().unwrap().to_owned(),
            token: kube::kubectl(lab(), &token).unwrap(),
            found: Opened::default(),
        };
        let thread = std::thread::spawn(move || {
            asking.run();
            asking.found
        });
        Witness {
            over,
            thread,
            _feed: feed,
        }
    }

    pub fn stop(self) -> Opened {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn envelope(secret: &Value) -> Envelope {
    let text = |key: &str| {
        let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let texts: BTreeMap<&str, String> = ["tenantKey", "version", "incarnation", "wrapped"]
        .into_iter()
        .filter_map(|key| Some((key, text(key)?)))
        .collect();
    Envelope::from_texts(|key| texts.get(key).map(String::as_str)).unwrap()
}

struct Asking {
    over: Arc<AtomicBool>,
    wrapped: Wrapped,
    authority: String,
    token: String,
    found: Opened,
}

impl Asking {
    fn run(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut way = None;
        while !self.over.load(Ordering::SeqCst) {
            let found = way.take().map_or_else(Way::open, Ok);
            match found {
                Ok(open) => way = runtime.block_on(self.round(&open)).then_some(open),
                Err(_) => self.found.away += 1,
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks for each key once; gives whether somebody answered.
    async fn round(&mut self, way: &Way) -> bool {
        let settings = Settings {
            address: Some(way.address.clone()),
            patience: SOON,
            ..Settings::new(
                &format!("https://freehold-keys.{}.svc:8443", install::KEYS),
                Source::Text(self.authority.clone()),
                Source::Text(self.token.clone()),
            )
        };
        let client = Client::new(settings).unwrap();
        let all = self.wrapped.lock().unwrap().clone();
        for (volume, envelope) in all {
            let context = Context::new(&envelope.incarnation, Purpose::Volume, &volume).unwrap();
            match client.unwrap(&envelope.key, &context, &envelope.wrapped).await {
                Ok(key) => self.opened(volume, &envelope, key),
                Err(KeyError::Unavailable(_)) => {
                    self.found.away += 1;
                    return false;
                }
                Err(error) => self.refused(&volume, &envelope, &error),
            }
        }
        true
    }

    fn opened(&mut self, volume: String, envelope: &Envelope, key: DataKey) {
        self.found.times += 1;
        self.found.versions.insert(envelope.wrapped.version);
        match self.found.keys.get(&volume) {
            Some(first) if first.as_bytes() != key.as_bytes() => {
                self.found.wrong.push(format!("{volume} opened to another key"));
            }
            Some(_) => {}
            None => {
                self.found.keys.insert(volume, key);
            }
        }
    }

    fn refused(&mut self, volume: &str, asked: &Envelope, error: &KeyError) {
        let changed = kube::until("another wrapped key", SOON, || {
            let now = self.wrapped.lock().unwrap();
            Ok((now.get(volume) != Some(asked)).then_some(()))
        });
        if changed.is_err() {
            let version = asked.wrapped.version;
            self.found
                .wrong
                .push(format!("{volume} under version {version}: {error}"));
        }
    }
}

/// A way to the key service from outside of the cluster. It leads to one pod, and ends with it.
struct Way {
    forward: Child,
    address: String,
}

impl Way {
    fn open() -> anyhow::Result<Way> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = shell::append(&lab().log("key-service-witness"))?;
        let forward = tied(addons::kubectl(lab()))
            .args(["-n", install::KEYS, "port-forward", "service/freehold-keys"])
            .arg(format!("{port}:8443"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let way = Way {
            forward,
            address: format!("127.0.0.1:{port}"),
        };
        kube::until("the way to the key service", SOON, || {
            Ok(TcpStream::connect(&way.address).is_ok().then_some(()))
        })?;
        Ok(way)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}
