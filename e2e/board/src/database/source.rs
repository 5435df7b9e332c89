//! In: the Secret that CloudNativePG makes, mounted as files (`FREEHOLD_DATABASE_DIR`), the settings, which may name
//! another host, and the roots that the server's certificate may end at (`FREEHOLD_DATABASE_CA`). Out: a connection to the
//! primary.
//!
//! The files may be missing at first and may change: they are read for each connection.

use super::tls::{TlsError, VerifyFull};
use crate::{
    settings::{Current, path_from_env},
    tls,
};
use std::{env, fs, io, path::PathBuf, time::Duration};
use tokio_postgres::{Client, Config, NoTls, config::TargetSessionAttrs};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Of that for TCP alone: what is sent to a server that has just gone is answered by nobody, and the next attempt reaches the one
/// that took its place.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A dead peer is noticed after about 5 s; unacknowledged bytes after `TCP_USER_TIMEOUT`.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("reading {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{0} is not a port")]
    Port(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("connecting to {host}: {}", chain(.source))]
    Connect {
        host: String,
        source: tokio_postgres::Error,
    },
    #[error("connecting to {host}: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut { host: String },
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a session may take before the server ends it.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// Short statements only.
    Requests,
    /// A statement may take long, but must not wait behind others with a lock that blocks everybody.
    Migration,
    /// Long reads.
    Export,
}

impl Purpose {
    fn options(self) -> &'static str {
        match self {
            Self::Requests => {
                "-c statement_timeout=3000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000"
            }
            Self::Migration => "-c statement_timeout=0 -c lock_timeout=3000",
            Self::Export => "-c statement_timeout=0 -c default_transaction_isolation=repeatable\\ read",
        }
    }

    fn application(self) -> &'static str {
        match self {
            Self::Requests => "board-api",
            Self::Migration => "board-migrate",
            Self::Export => "board-export",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Source {
    directory: PathBuf,
    authority: PathBuf,
    plain: bool,
    settings: Option<Current>,
}

impl Source {
    pub fn from_env(settings: Option<Current>) -> Self {
        let authority = tls::folder().join("ca.crt");
        Self {
            directory: path_from_env("FREEHOLD_DATABASE_DIR", "/etc/freehold/database"),
            authority: path_from_env("FREEHOLD_DATABASE_CA", authority),
            plain: env::var("FREEHOLD_DATABASE_TLS").is_ok_and(|value| value == "disable"),
            settings,
        }
    }

    /// Connects to the primary: a standby is refused (`target_session_attrs=read-write`).
    pub async fn connect(&self, purpose: Purpose) -> Result<Client, ConnectError> {
        let (config, host) = self.config(purpose)?;
        let connecting = async {
            if self.plain {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(log_end(connection));
                Ok(Ok(client))
            } else {
                let tls = match VerifyFull::against(&self.authority) {
                    Ok(tls) => tls,
                    Err(error) => return Ok(Err(error)),
                };
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(log_end(connection));
                Ok(Ok(client))
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(client)) => Ok(client?),
            Ok(Err(source)) => Err(ConnectError::Connect { host, source }),
            Err(_) => Err(ConnectError::TimedOut { host }),
        }
    }

    fn config(&self, purpose: Purpose) -> Result<(Config, String), ConnectError> {
        let host = self.host()?;
        let port = self.value("port")?;
        let mut config = Config::new();
        config
            .host(&host)
            .port(port.parse().map_err(|_| ConnectError::Port(port))?)
            .dbname(self.value("dbname")?)
            .user(self.value("username")?)
            .password(self.value("password")?)
            .application_name(purpose.application())
            .options(purpose.options())
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if self.plain {
                tokio_postgres::config::SslMode::Disable
            } else {
                tokio_postgres::config::SslMode::Require
            })
            .connect_timeout(TCP_CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        Ok((config, host))
    }

    /// The Secret's host may be a short name; the settings give the one that the certificate bears.
    fn host(&self) -> Result<String, ConnectError> {
        let settings = self.settings.as_ref().map(Current::get);
        let named = settings.and_then(|settings| settings.database.host.clone());
        match named.filter(|host| !host.is_empty()) {
            Some(host) => Ok(host),
            None => self.value("host"),
        }
    }

    fn value(&self, name: &str) -> Result<String, ConnectError> {
        let path = self.directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
            Err(source) => Err(ConnectError::File { path, source }),
        }
    }
}

async fn log_end(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::info!(error = chain(&error), "a database connection ended");
    }
}
