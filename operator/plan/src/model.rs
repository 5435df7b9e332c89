//! Wire types, read once into what the concerns use.
//!
//! In: a tenant with its class and its release. Out: `Model`, or the one thing that is wrong. Builders see only this.

use std::time::Duration;

use freehold_crds::{
    ClassDatabase, Component, Gateway, Hook, LimitDefaults, Quantity, Quota, Resources, Tenant, Tier,
    parse_lifetime,
};

use crate::input::Input;
use crate::names::{NamespaceName, WorkloadName};

/// A tenant as it is to be.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub tenant: &'a Tenant,
    pub namespace: NamespaceName,
    pub url: String,
    pub version: semver::Version,
    pub product: &'a str,
    pub components: Vec<Part<'a>>,
    pub web: Part<'a>,
    pub web_port: u16,
    pub migrate: Option<Migration<'a>>,
    pub database: Database<'a>,
    pub gateway: &'a Gateway,
    pub gateway_port: u16,
    pub quota: Option<&'a Quota>,
    pub limits: Option<&'a LimitDefaults>,
    pub certificate_lifetime: Duration,
}

/// A component with its name.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    pub name: WorkloadName,
    pub component: &'a Component,
    pub port: Option<u16>,
}

impl Part<'_> {
    /// Whether its pods get the database's account.
    pub fn uses_database(&self) -> bool {
        !matches!(self.component.tier, Tier::Web)
    }
}

/// The job that brings the schema to the release's version.
#[derive(Clone, Debug)]
pub struct Migration<'a> {
    pub image: &'a str,
    pub args: &'a [String],
    pub timeout_seconds: i32,
    pub resources: &'a Resources,
}

/// The database: the class's, with the tenant's overrides.
#[derive(Clone, Debug)]
pub struct Database<'a> {
    pub class: &'a ClassDatabase,
    pub instances: i32,
    pub storage_size: &'a Quantity,
}

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the TenantClass {0} does not exist")]
    ClassNotFound(String),
    #[error("the Release {0} does not exist")]
    ReleaseNotFound(String),
    #[error("the Release {release} has no strict semantic version: {error}")]
    Version { release: String, error: String },
    #[error("the Release {0} has no single component of tier Web with a port")]
    Web(String),
    #[error("the Release {release} has a port outside 1-65535: {port}")]
    Port { release: String, port: i32 },
    #[error("the hook migrate of the Release {0} names neither a component of it nor an image")]
    Hook(String),
    #[error("the certificates' lifetime {0} is not between 10m and 2160h")]
    Lifetime(String),
    #[error("the tenant names no hostname")]
    Hostname,
    #[error("{0} is an address, not a hostname")]
    Address(String),
}

impl Invalid {
    /// For conditions: one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClassNotFound(_) => "ClassNotFound",
            Self::ReleaseNotFound(_) => "ReleaseNotFound",
            Self::Version { .. } | Self::Web(_) | Self::Port { .. } | Self::Hook(_) => "InvalidRelease",
            Self::Lifetime(_) => "InvalidClass",
            Self::Hostname | Self::Address(_) => "InvalidTenant",
        }
    }

    /// Who ends it, and how.
    pub fn unblocked_by(&self) -> String {
        match self {
            Self::ClassNotFound(name) => format!("create the TenantClass {name}"),
            Self::ReleaseNotFound(name) => {
                format!("create the Release {name}, or name another in spec.release.name")
            }
            Self::Version { .. } | Self::Web(_) | Self::Port { .. } | Self::Hook(_) => {
                "publish a correct Release and name it in spec.release.name".to_owned()
            }
            Self::Lifetime(_) => "correct spec.certificates.lifetime of the class".to_owned(),
            Self::Hostname => "name at least one hostname in spec.hostnames".to_owned(),
            Self::Address(_) => {
                "name hostnames only in spec.hostnames: the last part begins with a letter".to_owned()
            }
        }
    }
}

impl<'a> Model<'a> {
    /// Reads the wire types. Everything that the schema can refuse, it has refused already; what is left is what only
    /// two objects together show, and objects older than the schema.
    pub fn read(input: &Input<'a>) -> Result<Self, Invalid> {
        let tenant = input.tenant;
        let spec = &tenant.spec;
        let class = input
            .class
            .ok_or_else(|| Invalid::ClassNotFound(spec.class_name.clone()))?;
        let release = input
            .release
            .ok_or_else(|| Invalid::ReleaseNotFound(spec.release.name.clone()))?;
        let release_name = || spec.release.name.clone();
        let version = semver::Version::parse(&release.spec.version).map_err(|error| Invalid::Version {
            release: release_name(),
            error: error.to_string(),
        })?;
        let components = release
            .spec
            .components
            .iter()
            .map(|component| part(component, &spec.release.name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut webs = components.iter().filter(|part| part.component.tier == Tier::Web);
        let (web, web_port) = match (webs.next(), webs.next()) {
            (Some(web), None) => (web.clone(), web.port.ok_or_else(|| Invalid::Web(release_name()))?),
            _ => return Err(Invalid::Web(release_name())),
        };
        let hook = release
            .spec
            .hooks
            .as_ref()
            .and_then(|hooks| hooks.migrate.as_ref());
        let migrate = hook
            .map(|hook| migration(hook, &components).ok_or_else(|| Invalid::Hook(release_name())))
            .transpose()?;
        let gateway_port = u16::try_from(class.spec.gateway.port).unwrap_or(443);
        let hostname = spec.hostnames.first().ok_or(Invalid::Hostname)?;
        if let Some(address) = spec.hostnames.iter().find(|name| is_address(name)) {
            return Err(Invalid::Address(address.clone()));
        }
        let lifetime = &class.spec.certificates.lifetime;
        let over = spec.database.as_ref();
        Ok(Self {
            name: tenant.metadata.name.as_deref().unwrap_or_default(),
            uid: tenant.metadata.uid.as_deref().unwrap_or_default(),
            tenant,
            namespace: namespace(tenant),
            url: url(hostname, gateway_port),
            version,
            product: &release.spec.product,
            components,
            web,
            web_port,
            migrate,
            database: Database {
                class: &class.spec.database,
                instances: over
                    .and_then(|over| over.instances)
                    .unwrap_or(class.spec.database.instances),
                storage_size: over
                    .and_then(|over| over.storage_size.as_ref())
                    .unwrap_or(&class.spec.database.storage_size),
            },
            gateway: &class.spec.gateway,
            gateway_port,
            quota: class.spec.quota.as_ref(),
            limits: class.spec.limits.as_ref(),
            certificate_lifetime: parse_lifetime(lifetime)
                .ok_or_else(|| Invalid::Lifetime(lifetime.clone()))?,
        })
    }
}

/// The namespace of a tenant, known even when nothing else of it is.
pub fn namespace(tenant: &Tenant) -> NamespaceName {
    NamespaceName::of(tenant.metadata.name.as_deref().unwrap_or_default())
}

/// No top-level domain begins with a digit; `10.1.2.3` would be certified as an address and never as the name it is not.
fn is_address(hostname: &str) -> bool {
    let last = hostname.rsplit('.').next();
    last.is_none_or(|label| !label.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn part<'a>(component: &'a Component, release: &str) -> Result<Part<'a>, Invalid> {
    let port = component
        .port
        .map(|port| {
            u16::try_from(port).map_err(|_| Invalid::Port {
                release: release.to_owned(),
                port,
            })
        })
        .transpose()?;
    Ok(Part {
        name: WorkloadName::of(&component.name),
        component,
        port,
    })
}

fn migration<'a>(hook: &'a Hook, components: &[Part<'a>]) -> Option<Migration<'a>> {
    const NOTHING: &Resources = &Resources {
        cpu_request: None,
        memory_request: None,
        cpu_limit: None,
        memory_limit: None,
    };
    let named = hook
        .component
        .as_ref()
        .and_then(|name| components.iter().find(|part| part.component.name == *name))
        .map(|part| part.component);
    Some(Migration {
        image: hook
            .image
            .as_deref()
            .or(named.map(|component| component.image.as_str()))?,
        args: &hook.args,
        timeout_seconds: hook.timeout_seconds,
        resources: named.map_or(NOTHING, |component| &component.resources),
    })
}

fn url(hostname: &str, port: u16) -> String {
    if port == 443 {
        format!("https://{hostname}")
    } else {
        format!("https://{hostname}:{port}")
    }
}
