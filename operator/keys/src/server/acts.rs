//! The calls: each is admitted, done in time, and logged.

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, async_trait};
use tracing::{info, warn};

use super::{Act, Service, in_time};
use crate::wire::proto::destroy_request::What;
use crate::wire::proto::keys_server::Keys;
use crate::wire::{self, proto};
use crate::{DATA_KEY_MAX, DATA_KEY_MIN, DataKey, Destroying, KeyError, is_data_key_length, sealed};

/// The log of acts can be told from all else by this.
const AUDIT: &str = "freehold_keys::audit";
/// Characters of anything that a caller sent.
const TOLD_MAX: usize = 253;

/// What the log says of an act: as it was asked for, whatever that is.
#[derive(Debug, Default)]
struct Told {
    key: String,
    version: Option<u32>,
    context: Option<proto::Context>,
}

impl Told {
    fn of(key: &str) -> Self {
        Self {
            key: key.chars().take(TOLD_MAX).collect(),
            ..Self::default()
        }
    }

    fn version(self, version: u32) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    fn context(self, context: Option<&proto::Context>) -> Self {
        let short = |text: &str| text.chars().take(TOLD_MAX).collect();
        let context = context.map(|context| proto::Context {
            incarnation: short(&context.incarnation),
            purpose: short(&context.purpose),
            id: short(&context.id),
        });
        Self { context, ..self }
    }
}

impl Service {
    /// Admits the caller, does the act, and logs both. `done` begins only then, and gives the version that it was about.
    async fn act<T>(
        &self,
        act: Act,
        metadata: &MetadataMap,
        mut told: Told,
        done: impl Future<Output = Result<(Option<u32>, T), KeyError>>,
    ) -> Result<Response<T>, Status> {
        let mut who = String::new();
        let answer = in_time(self.deadline, async {
            who = self.reviewer.who(token(metadata)?).await?;
            if !self.callers.may(&who, act) {
                return Err(KeyError::Forbidden(format!("{who} may not call {act}")));
            }
            done.await
        })
        .await;
        let result = match &answer {
            Ok((version, _)) => {
                told.version = version.or(told.version);
                "done"
            }
            Err(error) => error.case(),
        };
        log(act, &who, &told, result, answer.as_ref().err());
        Ok(Response::new(answer?.1))
    }
}

fn log(act: Act, who: &str, told: &Told, result: &str, error: Option<&KeyError>) {
    let context = told.context.as_ref();
    let incarnation = context.map(|context| context.incarnation.as_str());
    let purpose = context.map(|context| context.purpose.as_str());
    let id = context.map(|context| context.id.as_str());
    let (key, version) = (told.key.as_str(), told.version);
    match error {
        None if act == Act::Health => {}
        None => info!(
            target: AUDIT,
            act = act.as_str(), who, key, version, incarnation, purpose, id, result,
            "a key was used"
        ),
        Some(error) => warn!(
            target: AUDIT,
            act = act.as_str(), who, key, version, incarnation, purpose, id, result, %error,
            "an act was not done"
        ),
    }
}

fn token(metadata: &MetadataMap) -> Result<&str, KeyError> {
    let missing = || KeyError::Unauthenticated("there is no token".into());
    let value = metadata.get("authorization").ok_or_else(missing)?;
    let text = value.to_str().map_err(|_| missing())?;
    text.strip_prefix("Bearer ").ok_or_else(missing)
}

#[async_trait]
impl Keys for Service {
    async fn health(
        &self,
        request: Request<proto::HealthRequest>,
    ) -> Result<Response<proto::HealthReply>, Status> {
        self.act(Act::Health, request.metadata(), Told::default(), async {
            let health = self.provider.health().await?;
            let reply = proto::HealthReply {
                provider: health.provider,
                separated: health.separated,
            };
            Ok((None, reply))
        })
        .await
    }

    async fn create(
        &self,
        request: Request<proto::CreateRequest>,
    ) -> Result<Response<proto::VersionReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key);
        self.act(Act::Create, &metadata, told, async {
            let version = self.provider.create(&wire::key(&message.key)?).await?;
            let number = Some(version.number);
            let version = Some(version.into());
            Ok((number, proto::VersionReply { version }))
        })
        .await
    }

    async fn rotate(
        &self,
        request: Request<proto::RotateRequest>,
    ) -> Result<Response<proto::VersionReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key).version(message.from);
        self.act(Act::Rotate, &metadata, told, async {
            let key = wire::key(&message.key)?;
            let version = self.provider.rotate(&key, message.from).await?;
            let number = Some(version.number);
            let version = Some(version.into());
            Ok((number, proto::VersionReply { version }))
        })
        .await
    }

    async fn versions(
        &self,
        request: Request<proto::VersionsRequest>,
    ) -> Result<Response<proto::VersionsReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key);
        self.act(Act::Versions, &metadata, told, async {
            let versions = self.provider.versions(&wire::key(&message.key)?).await?;
            let versions = versions.into_iter().map(Into::into).collect();
            Ok((None, proto::VersionsReply { versions }))
        })
        .await
    }

    async fn generate(
        &self,
        request: Request<proto::GenerateRequest>,
    ) -> Result<Response<proto::WrappedReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key).context(message.context.as_ref());
        self.act(Act::Generate, &metadata, told, async {
            let (key, context) = (wire::key(&message.key)?, wire::context(message.context)?);
            let length = usize::try_from(message.length).unwrap_or(usize::MAX);
            if !is_data_key_length(length) {
                return Err(KeyError::Invalid(format!(
                    "a data key has {DATA_KEY_MIN} to {DATA_KEY_MAX} bytes, not {length}"
                )));
            }
            let plain = DataKey::from(sealed::random(length)?);
            let wrapped = self.provider.wrap(&key, &context, &plain).await?;
            Ok((Some(wrapped.version), wrapped.into()))
        })
        .await
    }

    async fn rewrap(
        &self,
        request: Request<proto::RewrapRequest>,
    ) -> Result<Response<proto::WrappedReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key)
            .context(message.context.as_ref())
            .version(message.version);
        self.act(Act::Rewrap, &metadata, told, async {
            let (key, context) = (wire::key(&message.key)?, wire::context(message.context)?);
            let old = wire::wrapped(message.version, message.wrapped)?;
            let plain = self.provider.unwrap(&key, &context, &old).await?;
            let wrapped = self.provider.wrap(&key, &context, &plain).await?;
            Ok((Some(wrapped.version), wrapped.into()))
        })
        .await
    }

    async fn destroy(
        &self,
        request: Request<proto::DestroyRequest>,
    ) -> Result<Response<proto::DestroyReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key);
        self.act(Act::Destroy, &metadata, told, async {
            let key = wire::key(&message.key)?;
            let what = match message.what {
                Some(What::All(true)) => Destroying::All,
                Some(What::Version(number)) => Destroying::Version(number),
                Some(What::All(false)) | None => {
                    return Err(KeyError::Invalid("it is not said what to destroy".into()));
                }
            };
            let destroyed = self.provider.destroy(&key, what).await?;
            let number = match what {
                Destroying::Version(number) => Some(number),
                Destroying::All => None,
            };
            Ok((number, destroyed.into()))
        })
        .await
    }

    async fn unwrap(
        &self,
        request: Request<proto::UnwrapRequest>,
    ) -> Result<Response<proto::UnwrapReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let told = Told::of(&message.key)
            .context(message.context.as_ref())
            .version(message.version);
        self.act(Act::Unwrap, &metadata, told, async {
            let (key, context) = (wire::key(&message.key)?, wire::context(message.context)?);
            let wrapped = wire::wrapped(message.version, message.wrapped)?;
            let plain = self.provider.unwrap(&key, &context, &wrapped).await?;
            let plain = plain.as_bytes().to_vec();
            Ok((Some(wrapped.version), proto::UnwrapReply { plain }))
        })
        .await
    }
}
