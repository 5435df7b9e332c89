//! A service that runs, and callers of it.

use std::net::SocketAddr;
use std::sync::Arc;

use freehold_keys::client::{Client, Settings, Source};
use freehold_keys::local::{Local, Memory};
use freehold_keys::server::{Callers, Reviewer, Service};
use freehold_keys::tls::{Identity, Keeper};
use freehold_keys::{AUDIENCE, Context, KeyName, Provider, Purpose};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::api::{Api, Token};

const NAMESPACE: &str = "freehold-keys";
pub const OPERATOR: &str = "system:serviceaccount:freehold-system:freehold";
pub const DRIVER: &str = "system:serviceaccount:freehold-csi:node";
pub const AUTHORITY: &str = "/api/v1/namespaces/freehold-keys/configmaps/freehold-keys-ca";

pub struct Running {
    pub api: Api,
    pub address: SocketAddr,
    pub identity: Arc<Identity>,
    end: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

pub fn known(username: &str) -> Token {
    Token {
        username: username.to_owned(),
        audience: AUDIENCE.to_owned(),
        expired: false,
    }
}

pub fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

pub fn context(id: &str) -> Context {
    Context::new("5f0c9d8e-1111-4222-8333-444455556666", Purpose::Volume, id).unwrap()
}

pub fn keeper(api: &Api) -> Keeper {
    Keeper::new(api.client(), NAMESPACE, vec!["localhost".into()])
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(Arc::new(Local::new(Memory::default()))).await
    }

    pub async fn start_with(provider: Arc<dyn Provider>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Api::default(), provider).await
    }

    pub async fn start_at(address: SocketAddr, api: Api, provider: Arc<dyn Provider>) -> Self {
        for (token, username) in [
            ("of-the-operator", OPERATOR),
            ("of-the-driver", DRIVER),
            ("of-a-stranger", "system:serviceaccount:default:default"),
        ] {
            api.know(token, known(username));
        }
        let leaf = keeper(&api).look(Timestamp::now()).await.unwrap();
        let identity = Arc::new(Identity::new(&leaf).unwrap());
        let callers = Callers::new(OPERATOR.into(), [DRIVER.to_owned()].into()).unwrap();
        let service = Service::new(provider, callers, Reviewer::new(api.client()));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, told) = oneshot::channel::<()>();
        let shown = identity.clone();
        let ended = tokio::spawn(async move {
            let end = async {
                let _ = told.await;
            };
            service.serve(listener, shown, end).await.unwrap();
        });
        Self {
            api,
            address,
            identity,
            end: Some(end),
            ended,
        }
    }

    /// The authority's certificate as callers find it.
    pub fn authority(&self) -> String {
        let map = self.api.object(AUTHORITY).unwrap();
        map["data"]["ca.crt"].as_str().unwrap().to_owned()
    }

    pub fn settings(&self, token: &str) -> Settings {
        Settings::new(
            &format!("https://localhost:{}", self.address.port()),
            Source::Text(self.authority()),
            Source::Text(token.to_owned()),
        )
    }

    pub fn caller(&self, token: &str) -> Client {
        Client::new(self.settings(token)).unwrap()
    }

    pub fn operator(&self) -> Client {
        self.caller("of-the-operator")
    }

    pub fn driver(&self) -> Client {
        self.caller("of-the-driver")
    }

    /// Ends it as a signal does.
    pub async fn stop(mut self) {
        let _ = self.end.take().unwrap().send(());
        self.ended.await.unwrap();
    }
}
