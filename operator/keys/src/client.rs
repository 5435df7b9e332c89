//! The client. In: where the service is, who signs its certificate, and the caller's token. Out: its answers.
//!
//! Invariants: each call ends within its time, as an error if need be; nothing is repeated from here, because the
//! caller knows what may be; whatever goes wrong on the way is Unavailable.

mod channel;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::wire::{self, proto};
use crate::{Context, DataKey, Destroyed, Destroying, Health, KeyError, KeyName, Version, Wrapped};
use proto::keys_client::KeysClient;

/// For a whole call, the connection included.
const PATIENCE: Duration = Duration::from_secs(5);

/// A text that may change while the process runs: it is read anew each time that it is used.
#[derive(Clone)]
pub enum Source {
    /// It never changes.
    Text(String),
    /// A file, such as a projected token.
    File(PathBuf),
    /// Whatever gives it.
    Call(Arc<dyn Fn() -> std::io::Result<String> + Send + Sync>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A token may be in it.
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Call(_) => f.write_str("Call"),
        }
    }
}

impl Source {
    /// Blocking, for a small local file.
    fn read(&self) -> std::io::Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => std::fs::read_to_string(path),
            Self::Call(call) => call(),
        }
    }
}

/// Where the service is, and who asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://HOST:PORT`; the host is what its certificate must say.
    pub endpoint: String,
    /// Connects there, `HOST:PORT`, instead of to the endpoint's own: for callers without the cluster's DNS.
    pub address: Option<String>,
    /// The authorities that may have signed its certificate, in PEM. Used at each new connection.
    pub authority: Source,
    /// The caller's ServiceAccount token for the audience [`crate::AUDIENCE`]. Used at each call.
    pub token: Source,
    /// For a whole call.
    pub patience: Duration,
}

impl Settings {
    /// With the usual patience, 5 s.
    pub fn new(endpoint: &str, authority: Source, token: Source) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            address: None,
            authority,
            token,
            patience: PATIENCE,
        }
    }
}

/// Clones share their connection, which is made when it is first used, and again when it was lost.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    token: Source,
    patience: Duration,
}

impl Client {
    /// Connects to nothing yet; it needs a runtime all the same.
    pub fn new(settings: Settings) -> Result<Self, KeyError> {
        Ok(Self {
            channel: channel::lazy(&settings)?,
            token: settings.token,
            patience: settings.patience,
        })
    }

    pub async fn health(&self) -> Result<Health, KeyError> {
        let reply = self
            .call(proto::HealthRequest {}, |mut keys, request| async move {
                keys.health(request).await
            })
            .await?;
        Ok(Health {
            provider: reply.provider,
            separated: reply.separated,
        })
    }

    /// Makes a tenant key, or gives the current version of the one that is there.
    pub async fn create(&self, key: &KeyName) -> Result<Version, KeyError> {
        let message = proto::CreateRequest { key: key.to_string() };
        let call = |mut keys: KeysClient<_>, request| async move { keys.create(request).await };
        wire::version(self.call(message, call).await?.version)
    }

    /// Makes version `from` + 1 if `from` is the current one, else gives the current one.
    pub async fn rotate(&self, key: &KeyName, from: u32) -> Result<Version, KeyError> {
        let message = proto::RotateRequest {
            key: key.to_string(),
            from,
        };
        let call = |mut keys: KeysClient<_>, request| async move { keys.rotate(request).await };
        wire::version(self.call(message, call).await?.version)
    }

    pub async fn versions(&self, key: &KeyName) -> Result<Vec<Version>, KeyError> {
        let message = proto::VersionsRequest { key: key.to_string() };
        let call = |mut keys: KeysClient<_>, request| async move { keys.versions(request).await };
        wire::versions(self.call(message, call).await?.versions)
    }

    /// Makes a data key of so many bytes, which never leaves the service but wrapped.
    pub async fn generate(
        &self,
        key: &KeyName,
        context: &Context,
        length: usize,
    ) -> Result<Wrapped, KeyError> {
        let message = proto::GenerateRequest {
            key: key.to_string(),
            context: Some(context.into()),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        };
        let call = |mut keys: KeysClient<_>, request| async move { keys.generate(request).await };
        let reply = self.call(message, call).await?;
        wire::wrapped(reply.version, reply.wrapped).map_err(|_| wire::unreadable("no wrapped key"))
    }

    /// Wraps a data key under the current version.
    pub async fn rewrap(
        &self,
        key: &KeyName,
        context: &Context,
        wrapped: &Wrapped,
    ) -> Result<Wrapped, KeyError> {
        let message = proto::RewrapRequest {
            key: key.to_string(),
            context: Some(context.into()),
            version: wrapped.version,
            wrapped: wrapped.bytes.clone(),
        };
        let call = |mut keys: KeysClient<_>, request| async move { keys.rewrap(request).await };
        let reply = self.call(message, call).await?;
        wire::wrapped(reply.version, reply.wrapped).map_err(|_| wire::unreadable("no wrapped key"))
    }

    /// For CSI drivers: the plain data key.
    pub async fn unwrap(
        &self,
        key: &KeyName,
        context: &Context,
        wrapped: &Wrapped,
    ) -> Result<DataKey, KeyError> {
        let message = proto::UnwrapRequest {
            key: key.to_string(),
            context: Some(context.into()),
            version: wrapped.version,
            wrapped: wrapped.bytes.clone(),
        };
        let call = |mut keys: KeysClient<_>, request| async move { keys.unwrap(request).await };
        let mut reply = self.call(message, call).await?;
        let plain = DataKey::new(std::mem::take(&mut reply.plain));
        if !crate::is_data_key_length(plain.as_bytes().len()) {
            return Err(wire::unreadable("no data key"));
        }
        Ok(plain)
    }

    /// Destroys for good, and gives the evidence.
    pub async fn destroy(&self, key: &KeyName, what: Destroying) -> Result<Destroyed, KeyError> {
        let what = match what {
            Destroying::Version(number) => proto::destroy_request::What::Version(number),
            Destroying::All => proto::destroy_request::What::All(true),
        };
        let message = proto::DestroyRequest {
            key: key.to_string(),
            what: Some(what),
        };
        let call = |mut keys: KeysClient<_>, request| async move { keys.destroy(request).await };
        let reply = self.call(message, call).await?;
        Ok(Destroyed {
            versions: wire::versions(reply.destroyed)?,
            evidence: reply.evidence,
        })
    }

    /// One call with the caller's token, which ends in time.
    async fn call<M, R, F>(
        &self,
        message: M,
        call: impl FnOnce(KeysClient<Channel>, Request<M>) -> F,
    ) -> Result<R, KeyError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let token = self
            .token
            .read()
            .map_err(|error| KeyError::Unavailable(format!("the caller's token can't be read: {error}")))?;
        let mut request = Request::new(message);
        // An error of this would show the token.
        let bearer = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| KeyError::Unauthenticated("the caller's token has characters of no token".into()))?;
        request.metadata_mut().insert("authorization", bearer);
        request.set_timeout(self.patience);
        let keys = KeysClient::new(self.channel.clone())
            .max_decoding_message_size(crate::MESSAGE_MAX)
            .max_encoding_message_size(crate::MESSAGE_MAX);
        match tokio::time::timeout(self.patience, call(keys, request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(KeyError::Unavailable(format!(
                "no answer within {:?}",
                self.patience
            ))),
        }
    }
}
