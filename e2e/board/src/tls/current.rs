//! In: the folder, looked at every 2 s. Out: what is loaded now.
//!
//! It is a projected volume: its files change in the middle of work, and two of them may not match for a moment. A
//! change that can't be used keeps what was there, and says so once.

use super::{
    files::Files,
    loaded::{Clients, Loaded, TlsError},
};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Shared by everything in the process that begins a connection.
#[derive(Debug, Clone)]
pub struct Current(watch::Receiver<Arc<Loaded>>);

impl Current {
    /// Reads the folder, which must be usable, and follows its changes; `None` when TLS is disabled. Needs a runtime.
    pub fn follow(clients: Clients) -> anyhow::Result<Option<Self>> {
        let Some((current, mut follower)) = open(clients)? else {
            tracing::warn!("TLS is disabled: this is for a developer's machine");
            return Ok(None);
        };
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RELOAD_EVERY).await;
                follower.look();
            }
        });
        Ok(Some(current))
    }

    /// For a command that ends soon: reads the folder and lets it be.
    pub fn once() -> anyhow::Result<Option<Self>> {
        Ok(open(Clients::NotAsked)?.map(|(current, _)| current))
    }

    pub fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.borrow())
    }
}

fn open(clients: Clients) -> anyhow::Result<Option<(Current, Follower)>> {
    if super::is_disabled() {
        return Ok(None);
    }
    let folder = super::folder();
    let opened = Follower::start(&folder, clients);
    opened
        .with_context(|| format!("the TLS folder {}", folder.display()))
        .map(Some)
}

struct Follower {
    folder: PathBuf,
    clients: Clients,
    loaded: watch::Sender<Arc<Loaded>>,
    digest: [u8; 32],
    /// Why the folder as it is now is not what is loaded.
    refused: Option<String>,
}

impl Follower {
    fn start(folder: &Path, clients: Clients) -> Result<(Current, Self), TlsError> {
        let files = Files::read(folder)?;
        let (loaded, current) = watch::channel(Arc::new(Loaded::of(&files, clients)?));
        let follower = Self {
            folder: folder.to_owned(),
            clients,
            loaded,
            digest: files.digest(),
            refused: None,
        };
        Ok((Current(current), follower))
    }

    fn look(&mut self) {
        match self.reload() {
            Ok(()) => self.refused = None,
            Err(error) => {
                let reason = error.to_string();
                if self.refused.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "keeping the certificate and the roots as they were");
                    self.refused = Some(reason);
                }
            }
        }
    }

    fn reload(&mut self) -> Result<(), TlsError> {
        let files = Files::read(&self.folder)?;
        let digest = files.digest();
        if digest != self.digest {
            let loaded = Loaded::of(&files, self.clients)?;
            let told = &loaded.told;
            tracing::info!(certificate = told.certificate, not_after = %told.not_after, roots = ?told.roots, "the TLS files changed");
            self.loaded.send_replace(Arc::new(loaded));
            self.digest = digest;
        }
        Ok(())
    }
}
