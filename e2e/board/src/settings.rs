//! In: the file that the operator mounts (`FREEHOLD_SETTINGS`). Out: the settings as they are now.
//!
//! Unknown fields are ignored, everything but `services` has a default. The file is read again when it changes; every
//! use asks for the current value, so that no setting needs a restart. A change that can't be read keeps the old value.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

const RELOAD_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    #[serde(default)]
    pub tenant: Tenant,
    /// The address of the instance as its users see it.
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub services: Services,
    #[serde(default)]
    pub database: Database,
    #[serde(default)]
    pub session: Session,
    #[serde(default)]
    pub password: Password,
    /// When it is there it is the only way in.
    pub sso: Option<Sso>,
    #[serde(default)]
    pub refresh: Refresh,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tenant {
    pub name: String,
    pub display_name: String,
    pub owner: String,
    pub edition: String,
    pub region: String,
    pub environment: String,
    /// The most users that the account may have; none means no limit.
    pub seats: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Database {
    /// Takes the place of the one in the database's folder: a name that its certificate bears.
    pub host: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Services {
    pub web: String,
    pub api: String,
}

#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    pub idle_minutes: u32,
    pub max_hours: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            idle_minutes: 30,
            max_hours: 12,
        }
    }
}

#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Password {
    pub min_length: usize,
    /// After how many wrong passwords in a row an account is locked.
    pub lockout_attempts: i32,
}

impl Default for Password {
    fn default() -> Self {
        Self {
            min_length: 12,
            lockout_attempts: 10,
        }
    }
}

/// The identity provider. The rest of what is known of it serves to verify assertions, which the board doesn't do.
#[derive(Debug, Clone, Deserialize, PartialEq, Serialize)]
pub struct Sso {
    /// Where browsers are sent to sign in.
    pub endpoint: String,
}

/// When an open page takes up a new release.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Refresh {
    pub idle_minutes: f64,
    pub poll_seconds: f64,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            idle_minutes: 25.0,
            poll_seconds: 60.0,
        }
    }
}

/// The name that people read: the display name, else the tenant's name.
impl Tenant {
    pub fn title(&self) -> &str {
        [&self.display_name, &self.name]
            .into_iter()
            .find(|name| !name.is_empty())
            .map_or("Board", |name| name)
    }
}

pub fn path_from_env(variable: &str, default: impl Into<PathBuf>) -> PathBuf {
    env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map_or_else(|| default.into(), Into::into)
}

pub fn path() -> PathBuf {
    path_from_env("FREEHOLD_SETTINGS", "/etc/freehold/settings.json")
}

pub fn read(path: &Path) -> anyhow::Result<Settings> {
    let text =
        fs::read_to_string(path).with_context(|| format!("reading the settings {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("the settings {}", path.display()))
}

/// The current settings, shared by everything that runs in the process.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Arc<Settings>>>);

impl Current {
    /// Reads the file, which must be there, and follows its changes. Needs a runtime.
    pub fn follow() -> anyhow::Result<Self> {
        let path = path();
        let current = Self(Arc::new(RwLock::new(Arc::new(read(&path)?))));
        let follower = current.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RELOAD_EVERY).await;
                follower.reload(&path);
            }
        });
        Ok(current)
    }

    /// For commands that need no settings, and heed them: `None` when there is no file.
    pub fn follow_if_there() -> anyhow::Result<Option<Self>> {
        path().try_exists()?.then(Self::follow).transpose()
    }

    pub fn get(&self) -> Arc<Settings> {
        match self.0.read() {
            Ok(settings) => Arc::clone(&settings),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    fn reload(&self, path: &Path) {
        match read(path) {
            Ok(settings) if settings != *self.get() => {
                if let Ok(mut current) = self.0.write() {
                    *current = Arc::new(settings);
                }
                tracing::info!("the settings changed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "keeping the settings as they were"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_unknown_fields_are_ignored() {
        let settings: Settings =
            serde_json::from_str(r#"{"services":{"api":"http://api:8080"},"new":1}"#).unwrap();
        assert_eq!(settings.services.api, "http://api:8080");
        assert_eq!(
            settings.session,
            Session {
                idle_minutes: 30,
                max_hours: 12
            }
        );
        assert_eq!(settings.password, Password::default());
        assert_eq!(settings.sso, None);
        assert_eq!(
            settings.refresh,
            Refresh {
                idle_minutes: 25.0,
                poll_seconds: 60.0
            }
        );
        assert_eq!(settings.tenant.title(), "Board");
    }

    #[test]
    fn the_operators_file_is_understood() {
        let settings: Settings = serde_json::from_str(
            r#"{"tenant":{"name":"acme","displayName":"Acme Corp","owner":"owner@acme.example","edition":"Standard",
                "seats":25,"region":"eu-central","environment":"Production"},
                "url":"https://acme.localhost:8443","release":{"product":"board","version":"1.0.0"},
                "services":{"web":"https://web.x.svc:8080","api":"https://api.x.svc:8080"},"database":{"host":"db-rw.x.svc"},
                "session":{"idleMinutes":5,"maxHours":1},"password":{"minLength":16,"lockoutAttempts":5},
                "sso":{"entityId":"e","endpoint":"https://idp.example.com/sso","signingCertificate":"PEM"},
                "refresh":{"idleMinutes":0.5}}"#,
        )
        .unwrap();
        assert_eq!(settings.tenant.title(), "Acme Corp");
        assert_eq!(settings.tenant.seats, Some(25));
        assert_eq!(settings.database.host.as_deref(), Some("db-rw.x.svc"));
        assert_eq!(settings.password.lockout_attempts, 5);
        assert_eq!(settings.sso.unwrap().endpoint, "https://idp.example.com/sso");
        assert_eq!(
            settings.session,
            Session {
                idle_minutes: 5,
                max_hours: 1
            }
        );
        assert_eq!(
            settings.refresh,
            Refresh {
                idle_minutes: 0.5,
                poll_seconds: 60.0
            }
        );
    }
}
