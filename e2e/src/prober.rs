//! A prober of a tenant's connections: every 50 ms a new TCP connection and a full handshake at the edge, from web to
//! application and from application to database, without retries. In: a tenant in the lab. Out: a [`Report`] of every
//! handshake and request, and of the certificates that were shown.
//!
//! It is two parts. The probing process ([`run`]) is on node1's network, which reaches each pod and each Service. The part here is
//! on the host, which reaches the API: once a second it reads what a client of each lane would trust and show, and puts
//! it in a file that the process reads again. So the prober is a consumer like others, up to a second late.
//!
//! What is asked at the edge and of the application is a logout of a session that nobody has: it needs no account,
//! changes nothing, and is answered only after the database was asked.

mod attempt;
mod lane;
mod report;
mod run;

use std::fs::{self, DirBuilder};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub(crate) use self::attempt::attempt;
pub use self::attempt::{Kind, Leaf};
pub(crate) use self::lane::Target;
pub use self::lane::{Ask, Credentials, Lane};
pub use self::report::{Failure, LeafSeen, Report, Seen};
pub use self::run::{Plan, process, run};
use crate::lab::net::NodeId;
use crate::lab::{Lab, status};
use crate::{http, kube, tls};

/// The three lanes.
pub const EDGE: &str = "edge";
pub const APPLICATION: &str = "application";
pub const DATABASE: &str = "database";

const EVERY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(10);
const READ_EVERY: Duration = Duration::from_secs(1);

/// A prober at work; it ends when this is dropped, and its files with it.
#[derive(Debug)]
pub struct Prober {
    process: Child,
    reader: Option<Reader>,
    _folder: Folder,
}

impl Prober {
    /// Begins to probe the three lanes of a tenant that is ready.
    pub fn start(lab: &Lab, tenant: &str) -> Result<Prober> {
        Self::start_with(lab, tenant, None)
    }

    /// The same, with a customer who was given these roots once and never asks for others.
    pub fn start_trusting(lab: &Lab, tenant: &str, roots: &str) -> Result<Prober> {
        Self::start_with(lab, tenant, Some(roots.to_owned()))
    }

    fn start_with(lab: &Lab, tenant: &str, roots: Option<String>) -> Result<Prober> {
        let namespace = http::namespace(lab, tenant)?;
        let folder = Folder::make(lab, tenant)?;
        let source = Source {
            lab: lab.clone(),
            namespace,
            folder: folder.0.clone(),
            roots,
        };
        source.refresh()?;
        let plan = Plan {
            lanes: lanes(lab, tenant, &folder.0)?,
            every: EVERY,
            limit: LIMIT,
        };
        let mut process = status::enter_network(lab, NodeId(1))?
            .arg(program()?)
            .arg("prober")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = serde_json::to_vec(&plan)?;
        line.push(b'\n');
        let input = process.stdin.as_mut().context("no standard input")?;
        let told = input.write_all(&line).and_then(|()| input.flush());
        let prober = Prober {
            process,
            reader: Some(Reader::start(source)),
            _folder: folder,
        };
        told.context("tell the prober what to do")?;
        Ok(prober)
    }

    /// Ends it; what it saw from its start until now.
    pub fn stop(mut self) -> Result<Report> {
        drop(self.process.stdin.take());
        let mut text = String::new();
        let output = self.process.stdout.as_mut().context("no standard output")?;
        output.read_to_string(&mut text)?;
        let status = self.process.wait()?;
        let unread = self.reader.take().map_or(0, Reader::stop);
        if !status.success() {
            bail!("the prober ended with {status}");
        }
        if unread > 0 {
            println!("the prober's credentials could not be read {unread} times");
        }
        serde_json::from_str(&text).context("the prober's report")
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // It writes no more files when the folder goes.
        self.reader.take().map(Reader::stop);
    }
}

/// The folder with the credentials, which goes with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make(lab: &Lab, tenant: &str) -> Result<Folder> {
        let path = lab
            .cluster()
            .join(format!("prober-{tenant}-{}", std::process::id()));
        // Of a process that had the same id.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The thread that reads what the clients trust and show.
#[derive(Debug)]
struct Reader {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

impl Reader {
    fn start(source: Source) -> Reader {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut unread = 0;
            while stopped.recv_timeout(READ_EVERY) == Err(RecvTimeoutError::Timeout) {
                // The API may be away for a moment; what was read stays.
                unread += u64::from(source.refresh().is_err());
            }
            unread
        });
        Reader { stop, thread }
    }

    /// How many times it could read nothing.
    fn stop(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

/// Where the credentials come from, and where they go.
struct Source {
    lab: Lab,
    namespace: String,
    folder: PathBuf,
    /// What the customer trusts whatever is handed out.
    roots: Option<String>,
}

impl Source {
    fn refresh(&self) -> Result<()> {
        let wanted = [
            "configmap/ca",
            "secret/web-tls",
            "secret/application-tls",
            "secret/db-app",
        ];
        let list = kube::get(&self.lab, &[&["-n", &self.namespace], wanted.as_slice()].concat())?;
        for (lane, mut credentials) in credentials(&list)? {
            if let Some(roots) = self.roots.as_ref().filter(|_| lane == EDGE) {
                credentials.roots.clone_from(roots);
            }
            credentials.write(&file(&self.folder, lane))?;
        }
        Ok(())
    }
}

/// The credentials of each lane, from the objects that hold them. Those of one lane's connection are in one object.
fn credentials(list: &Value) -> Result<[(&'static str, Credentials); 3]> {
    let find = |name: &str| -> Result<&Value> {
        let mut all = list["items"].as_array().into_iter().flatten();
        let object = all.find(|object| object["metadata"]["name"] == name);
        object
            .map(|object| &object["data"])
            .with_context(|| format!("no {name}"))
    };
    let secret = |name: &str, key: &str| -> Result<String> {
        let value = find(name)?[key].as_str();
        let value = value.with_context(|| format!("{name} has no {key}"))?;
        Ok(String::from_utf8(STANDARD.decode(value)?)?)
    };
    let customer = Credentials {
        roots: find("ca")?["ca.crt"].as_str().context("no roots")?.to_owned(),
        identity: None,
        login: None,
    };
    let web = Credentials {
        roots: secret("web-tls", "ca.crt")?,
        identity: Some((secret("web-tls", "tls.crt")?, secret("web-tls", "tls.key")?)),
        login: None,
    };
    let application = Credentials {
        roots: secret("application-tls", "ca.crt")?,
        identity: None,
        login: Some((secret("db-app", "username")?, secret("db-app", "password")?)),
    };
    Ok([(EDGE, customer), (APPLICATION, web), (DATABASE, application)])
}

fn lanes(lab: &Lab, tenant: &str, folder: &Path) -> Result<Vec<Lane>> {
    let ends = tls::ends(lab, tenant)?;
    let lane = |name: &str, end: &str, ask: Ask| -> Result<Lane> {
        let end = ends.iter().find(|known| known.name == end);
        let end = end.with_context(|| format!("{tenant} has no {name}"))?;
        Ok(Lane {
            name: name.to_owned(),
            address: end.address.parse()?,
            host: end.host.clone(),
            credentials: file(folder, name),
            ask,
        })
    };
    let query = Ask::Postgres {
        database: "app".to_owned(),
    };
    Ok(vec![
        lane(EDGE, "gateway", logout())?,
        lane(APPLICATION, "application", logout())?,
        lane(DATABASE, "database", query)?,
    ])
}

/// The end of a session that nobody has: both names that the product's cookie may bear.
fn logout() -> Ask {
    Ask::Http {
        method: "POST".to_owned(),
        path: "/api/logout".to_owned(),
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            (
                "cookie".to_owned(),
                "__Host-board_session=nobody; board_session=nobody".to_owned(),
            ),
        ],
        body: String::new(),
        expected: 204,
    }
}

fn file(folder: &Path, lane: &str) -> PathBuf {
    folder.join(format!("{lane}.json"))
}

/// This program when it is `xtask`, else the one that cargo built together with this test: `.lab/bin/lab` may be older.
fn program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    if this
        .file_name()
        .is_some_and(|name| name == "xtask" || name == "lab")
    {
        return Ok(this);
    }
    let beside = this
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("xtask"));
    let built = beside.filter(|path| path.exists());
    built.with_context(|| format!("no xtask beside {}", this.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_lane_has_what_its_own_client_holds_and_no_more() {
        let of = |text: &str| STANDARD.encode(text);
        let list = json!({"items": [
            {"metadata": {"name": "ca"}, "data": {"ca.crt": "customer's roots"}},
            {"metadata": {"name": "web-tls"}, "data": {
                "ca.crt": of("web's roots"), "tls.crt": of("web"), "tls.key": of("web's key")}},
            {"metadata": {"name": "application-tls"}, "data": {
                "ca.crt": of("application's roots"), "tls.crt": of("application"), "tls.key": of("its key")}},
            {"metadata": {"name": "db-app"}, "data": {"username": of("app"), "password": of("secret")}},
        ]});
        let held = |roots: &str, identity: Option<(&str, &str)>, login: Option<(&str, &str)>| {
            let owned = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
            Credentials {
                roots: roots.to_owned(),
                identity: identity.map(owned),
                login: login.map(owned),
            }
        };
        let expected = [
            (EDGE, held("customer's roots", None, None)),
            (APPLICATION, held("web's roots", Some(("web", "web's key")), None)),
            (
                DATABASE,
                held("application's roots", None, Some(("app", "secret"))),
            ),
        ];
        assert!(credentials(&list).is_ok_and(|found| found == expected));
        let told = credentials(&json!({"items": []}))
            .err()
            .map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some("no ca"));
    }
}
