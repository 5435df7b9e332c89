//! What one lane of the prober connects to, and with what: the place is told once, the credentials are a file that may be
//! replaced at any time. Invariant: one attempt uses the credentials of one state of the file, never of two.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

/// Where to, and what is asked there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    pub name: String,
    pub address: SocketAddr,
    /// The name that the server's certificate must bear.
    pub host: String,
    /// The file with the [`Credentials`].
    pub credentials: PathBuf,
    pub ask: Ask,
}

/// What follows the handshake.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    Http {
        method: String,
        path: String,
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: String,
        /// The status code of a good answer.
        expected: u16,
    },
    /// A login and one query; TLS begins after a word of PostgreSQL's protocol.
    Postgres { database: String },
}

/// What a client of a lane holds. Without `Debug`: it must not reach a log.
#[allow(missing_debug_implementations)]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// PEM, one or several.
    pub roots: String,
    /// The client's own certificate and its key, in PEM.
    pub identity: Option<(String, String)>,
    /// User and password.
    pub login: Option<(String, String)>,
}

impl Credentials {
    /// Puts a file that only its owner reads in the place of the one that is there, as a whole.
    pub fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, path).with_context(|| format!("replace {}", path.display()))
    }

    /// No session is ever resumed: each connection verifies the server anew.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                // Without its cause, which could quote the key.
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|_| anyhow::anyhow!("no usable key"))?;
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// All that one attempt needs.
#[derive(Clone)]
pub(crate) struct Target {
    pub address: SocketAddr,
    /// As the request names it.
    pub host: String,
    pub server_name: ServerName<'static>,
    pub ask: Arc<Ask>,
    pub client: Arc<ClientConfig>,
    pub login: Option<(String, String)>,
    /// The session of a request.
    pub cookie: Option<String>,
}

/// A lane with the newest state of its credentials.
pub(super) struct Followed {
    path: PathBuf,
    /// Inode and time of change of the file that `target` was made from.
    state: (u64, i64, i64),
    pub target: Target,
}

impl Followed {
    pub fn of(lane: &Lane) -> Result<Followed> {
        let state = state(&lane.credentials)?;
        let (client, login) = read(&lane.credentials)?;
        let target = Target {
            address: lane.address,
            host: lane.host.clone(),
            server_name: ServerName::try_from(lane.host.clone())?,
            ask: Arc::new(lane.ask.clone()),
            client,
            login,
            cookie: None,
        };
        Ok(Followed {
            path: lane.credentials.clone(),
            state,
            target,
        })
    }

    /// Reads the file again if it is another one. On an error everything stays as it was.
    pub fn refresh(&mut self) -> Result<()> {
        // Before the content: a file that is replaced in between is read once more.
        let state = state(&self.path)?;
        if state != self.state {
            let (client, login) = read(&self.path)?;
            (self.target.client, self.target.login) = (client, login);
            self.state = state;
        }
        Ok(())
    }
}

fn state(path: &Path) -> Result<(u64, i64, i64)> {
    let facts = fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
    Ok((facts.ino(), facts.ctime(), facts.ctime_nsec()))
}

type Held = (Arc<ClientConfig>, Option<(String, String)>);

fn read(path: &Path) -> Result<Held> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    // Without its cause, which could quote what it read.
    let credentials: Credentials =
        serde_json::from_slice(&text).map_err(|_| anyhow::anyhow!("{} is not whole", path.display()))?;
    Ok((Arc::new(credentials.client()?), credentials.login))
}
