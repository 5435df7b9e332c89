//! What the stories share: the lab, tenants that are made for one story, and a writer that counts what was acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use freehold_e2e::http::{self, User};
use freehold_e2e::lab::up::{Made, made};
use freehold_e2e::lab::{Lab, images};
use freehold_e2e::{demo, install, kube, leaving};
use jiff::Timestamp;
use serde_json::{Value, json};

pub const MINUTE: Duration = Duration::from_secs(60);
/// The password of every account owner in these stories.
pub const PASSWORD: &str = "correct horse battery staple";

/// The lab with the samples applied and both tenants ready.
pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::of_this_checkout();
        apply_samples_to(&lab);
        demo::follow(&lab, Instant::now()).unwrap();
        lab
    })
}

/// `kubectl apply` of `manifests/samples`.
pub fn apply_samples() {
    apply_samples_to(lab());
}

fn apply_samples_to(lab: &Lab) {
    let all = Made::default();
    for name in ["board", "postgresql"] {
        all.lock()
            .unwrap()
            .insert(name.into(), images::make(lab, name).unwrap());
    }
    install::samples(
        lab,
        &made(&all, "board").unwrap(),
        &made(&all, "postgresql").unwrap(),
    )
    .unwrap();
}

/// An image with a shell: the database's.
pub fn image() -> String {
    let class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["spec"]["database"]["image"].as_str().unwrap().to_string()
}

/// Windows in which something may change at any time.
pub fn always_open() -> Value {
    json!({"windows": [{"rule": "FREQ=DAILY;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "duration": "24h"}]})
}

pub fn tenant_manifest(name: &str, instances: u8) -> Value {
    json!({"apiVersion": "freehold.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": {
        "displayName": name, "owner": {"email": format!("owner@{name}.example")}, "edition": "Standard", "seats": 5,
        "region": "eu-central", "className": "standard", "release": {"name": "board-1.0.0"}, "hostnames": [format!("{name}.localhost")],
        "database": {"instances": instances}}})
}

/// A tenant that one story has to itself; deleted at its end, whatever that is. The next story begins meanwhile: one that
/// needs [`calm`] says so.
pub struct Guest(pub &'static str);

impl Guest {
    pub fn ready(name: &'static str, instances: u8) -> Guest {
        let guest = Guest::applied(name, instances);
        wait_ready(name, 4 * MINUTE);
        guest
    }

    pub fn applied(name: &'static str, instances: u8) -> Guest {
        let guest = Guest::absent(name);
        guest.apply(instances);
        guest
    }

    /// Not there yet, nor anything that a run which was cut off left of it.
    pub fn absent(name: &'static str) -> Guest {
        delete(name, "Delete").unwrap();
        Guest(name)
    }

    /// Deletes it, and waits until it is gone.
    pub fn gone(self) {
        delete(self.0, "Delete").unwrap();
    }

    pub fn apply(&self, instances: u8) {
        kube::apply(lab(), &[tenant_manifest(self.0, instances)]).unwrap();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = leaving::begin_to_delete(lab(), self.0) {
            eprintln!("tenant {} could not be deleted: {error:#}", self.0);
        }
    }
}

/// A copy of the sample class under another name, with what is changed in its spec.
pub fn class(name: &str, change: impl FnOnce(&mut Value)) {
    let mut class = kube::get(lab(), &["tenantclass", "standard"]).unwrap();
    class["metadata"] = json!({"name": name});
    change(&mut class["spec"]);
    kube::apply(lab(), &[class]).unwrap();
}

/// Deletes a tenant as its platform would, and waits until it is gone. `policy` says what becomes of the data.
pub fn delete(tenant: &str, policy: &str) -> anyhow::Result<()> {
    leaving::delete(lab(), tenant, policy)
}

/// Waits until no tenant is being deleted any more: for whoever measures, or counts what is written.
pub fn calm() {
    kube::until("the tenants of other stories to be gone", 3 * MINUTE, || {
        let all = kube::get(lab(), &["tenants"])?;
        let mut all = all["items"].as_array().into_iter().flatten();
        Ok((!all.any(|tenant| !tenant["metadata"]["deletionTimestamp"].is_null())).then_some(()))
    })
    .unwrap();
}

/// As long as it lives no operator runs: a story that fails meanwhile brings it back too.
#[must_use = "the operator is back when this is dropped"]
pub struct Away;

impl Drop for Away {
    fn drop(&mut self) {
        scale_operator("--replicas=2");
    }
}

/// Stops the operator, and waits until none of it runs.
pub fn operator_away() -> Away {
    let away = Away;
    scale_operator("--replicas=0");
    kube::until("the operator to be gone", MINUTE, || {
        Ok(kube::processes("freehold", "run").is_empty().then_some(()))
    })
    .unwrap();
    away
}

fn scale_operator(replicas: &str) {
    let args = [
        "-n",
        install::NAMESPACE,
        "scale",
        "deployment",
        "freehold",
        replicas,
    ];
    kube::kubectl(lab(), &args).unwrap();
}

/// Changes a tenant's spec.
pub fn change(tenant: &str, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    kube::kubectl(lab(), &["patch", "tenant", tenant, "--type=merge", "-p", &patch]).unwrap();
}

/// What all containers of some pods have said since they were started.
pub fn logs(namespace: &str, selector: &str) -> String {
    let pods = ["-n", namespace, "logs", "-l", selector];
    let all = ["--all-containers", "--tail=-1", "--prefix"];
    kube::kubectl(lab(), &[&pods[..], &all].concat()).unwrap()
}

/// The operations of a kind of this life of a tenant, in the order in which they were made.
pub fn operations(name: &str, kind: &str) -> Vec<Value> {
    let found = kube::get(lab(), &["-n", install::NAMESPACE, "tenantoperations"]).unwrap();
    let life = kube::get(lab(), &["tenant", name]).unwrap()["status"]["incarnation"].clone();
    let mut all = found["items"].as_array().cloned().unwrap_or_default();
    all.retain(|operation| {
        let spec = &operation["spec"];
        spec["type"] == kind && spec["tenant"] == name && spec["incarnation"] == life
    });
    all.sort_by_key(|operation| operation["metadata"]["creationTimestamp"].to_string());
    all
}

/// Its upgrades.
pub fn upgrades(name: &str) -> Vec<Value> {
    operations(name, "Upgrade")
}

/// Waits until a tenant is Ready at its current generation.
pub fn wait_ready(tenant: &str, limit: Duration) -> Value {
    let what = format!("tenant {tenant} to be Ready");
    let result = kube::until(&what, limit, || {
        let object = kube::get(lab(), &["tenant", tenant])?;
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((current && kube::condition(&object, "Ready") == "True").then_some(object))
    });
    result.unwrap_or_else(|error| {
        let told = kube::kubectl(lab(), &["describe", "tenant", tenant]).unwrap_or_default();
        panic!("{error:#}\n{told}")
    })
}

pub fn namespace(tenant: &str) -> String {
    http::namespace(lab(), tenant).unwrap()
}

/// The account owner of a tenant, with a session.
pub fn owner(tenant: &str) -> User {
    let user = User::of(lab(), tenant, "owner").unwrap();
    user.enter(lab(), tenant, PASSWORD).unwrap();
    user
}

/// A new board with one lane; the path where its cards are posted.
pub fn lane(user: &User, name: &str) -> String {
    let board = user.post("/api/boards", &json!({"name": name})).unwrap();
    let board = id(&board);
    let lane = user
        .post(&format!("/api/boards/{board}/lanes"), &json!({"name": "To do"}))
        .unwrap();
    format!("/api/lanes/{}/cards", id(&lane))
}

fn id(object: &Value) -> String {
    match &object["id"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Titles of all cards in a tenant's database.
pub fn titles(tenant: &str) -> BTreeSet<String> {
    let rows = kube::until("the database to answer", 2 * MINUTE, || {
        Ok(Some(kube::sql(
            lab(),
            &namespace(tenant),
            "db",
            "select title from cards",
        )?))
    });
    rows.unwrap().lines().map(String::from).collect()
}

/// Writes cards one after the other until it is stopped. A card that wasn't acknowledged is sent again under
/// its key, so that each title is in the database once.
pub struct Writer {
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Log>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    acknowledged: Vec<(String, Instant)>,
    refused: Vec<(String, Instant)>,
}

impl Log {
    /// The longest time between two cards that were acknowledged, and when it began.
    fn longest(&self) -> Option<(Instant, Duration)> {
        let pauses = self.acknowledged.windows(2).map(|w| (w[0].1, w[1].1 - w[0].1));
        pauses.max_by_key(|(_, pause)| *pause)
    }
}

impl Writer {
    pub fn start(user: User, path: String, prefix: &'static str) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Mutex::new(Log::default()));
        let (ended, notes) = (stop.clone(), log.clone());
        // A lab may have seen the same story before, and a story may write twice: titles, and the keys of requests, are others.
        static WRITERS: AtomicU32 = AtomicU32::new(0);
        let number = WRITERS.fetch_add(1, Ordering::SeqCst);
        let prefix = format!("{prefix} {:x}-{number}", std::process::id());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                let title = format!("{prefix} {number}");
                let (key, card) = (title.replace(' ', "-"), json!({"title": title}));
                while let Err(error) = user.post_once(&path, &key, &card) {
                    let refused = (format!("{error:#}"), Instant::now());
                    notes.lock().unwrap().refused.push(refused);
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                }
                notes.lock().unwrap().acknowledged.push((title, Instant::now()));
                if ended.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Writer { stop, log, thread }
    }

    pub fn acknowledged(&self) -> usize {
        self.log.lock().unwrap().acknowledged.len()
    }

    /// Waits until `more` cards beyond those until now are acknowledged.
    pub fn wait_for(&self, more: usize, limit: Duration) {
        let goal = self.acknowledged() + more;
        kube::until("cards to be acknowledged", limit, || {
            Ok((self.acknowledged() >= goal).then_some(()))
        })
        .unwrap();
    }

    /// Ends the writer; all acknowledged titles, and the longest time between two of them. Tells what it heard in that time.
    pub fn stop(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let log = self.log.lock().unwrap();
        let longest = log.longest().map(|(begin, pause)| {
            println!("the longest pause was over at {}", ago(begin + pause));
            let mut before = "";
            for (error, at) in &log.refused {
                if (begin..=begin + pause).contains(at) && error != before {
                    println!("  after {:.2} s: {error}", (*at - begin).as_secs_f64());
                    before = error;
                }
            }
            pause
        });
        let titles = log.acknowledged.iter().map(|(title, _)| title.clone());
        (titles.collect(), longest.unwrap_or_default())
    }
}

fn ago(then: Instant) -> Timestamp {
    Timestamp::now() - then.elapsed()
}

/// Every acknowledged card is in the database.
pub fn assert_nothing_lost(tenant: &str, acknowledged: &[String]) {
    let stored = titles(tenant);
    let lost: Vec<&String> = acknowledged.iter().filter(|t| !stored.contains(*t)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged cards are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
}
