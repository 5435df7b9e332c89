//! Wire types, read once into what the concerns use.
//!
//! In: a tenant with its class and its release. Out: `Model`, or the one thing that is wrong. Builders see only this.

mod invalid;

use std::ops::RangeInclusive;
use std::time::Duration;

use freehold_crds::{
    AUTHORITY_LIFETIME, BAKE, CRYPTOPERIOD, ClassDatabase, ClassDeletion, ClassEgress, Component, DELAY,
    DesiredState, GRACE, Gateway, Hook, IssuerRef, LIFETIME, LimitDefaults, OVERLAP, Placement, Quantity,
    Quota, ROLL, Resources, Span, Tenant, TenantClassSpec, Tier,
};

use crate::concern::maintenance::{self, Hours};
use crate::concern::{termination, upgrade};
use crate::contents;
use crate::input::Input;
use crate::kind::Kind;
use crate::names::{NamespaceName, WorkloadName};
use crate::seen::Facts;
pub use invalid::{Invalid, another_release};

/// A tenant as it is to be.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub tenant: &'a Tenant,
    pub namespace: NamespaceName,
    pub url: String,
    /// The release that it is to run, by its object's name.
    pub release: &'a str,
    pub version: semver::Version,
    /// What tells it from another one of that name or version.
    pub digest: String,
    pub product: &'a str,
    pub components: Vec<Part<'a>>,
    pub web: Part<'a>,
    pub web_port: u16,
    /// Brings the schema to the release's version.
    pub migrate: Option<HookJob<'a>>,
    /// Tries the release out.
    pub smoke: Option<HookJob<'a>>,
    /// How long a release is watched after it was rolled out.
    pub bake: Duration,
    /// After this a release whose pods aren't all ready has failed.
    pub roll_timeout: Duration,
    pub database: Database<'a>,
    pub gateway: &'a Gateway,
    pub gateway_port: u16,
    /// Where the gateway takes plain HTTP, to send it to HTTPS.
    pub plain_port: Option<u16>,
    pub quota: Option<Quota>,
    pub limits: Option<&'a LimitDefaults>,
    pub placement: &'a Placement,
    pub egress: &'a ClassEgress,
    pub certificate_lifetime: Duration,
    pub authority_lifetime: Duration,
    /// How long a new authority is trusted before it issues.
    pub authority_overlap: Duration,
    /// Who issues the gateway's certificate, if it isn't the tenant's own authority.
    pub issuer: Option<&'a IssuerRef>,
    pub tenant_key_cryptoperiod: Duration,
    pub data_key_cryptoperiod: Duration,
    pub termination_grace: Duration,
    /// No pod is to run.
    pub suspended: bool,
    /// Whether what restarts pods may be done now; an error when a window can't be read.
    pub hours: Result<Hours, String>,
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

/// A job of the release's.
#[derive(Clone, Debug)]
pub struct HookJob<'a> {
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
    /// Of the volume for the write-ahead log, if it gets one of its own.
    pub wal_storage_size: Option<&'a Quantity>,
}

impl<'a> Model<'a> {
    /// Reads the wire types. Everything that the schema can refuse, it has refused already; what is left is what only
    /// two objects together show, and objects older than the schema.
    ///
    /// `class` is the one that holds for this tenant: as it was last taken over, which need not be as it is now.
    pub fn read(input: &Input<'a>, class: Option<&'a TenantClassSpec>) -> Result<Self, Invalid> {
        let tenant = input.tenant;
        let spec = &tenant.spec;
        let class = class.ok_or_else(|| Invalid::ClassNotFound(spec.class_name.clone()))?;
        let (name, release) = upgrade::wanted(input);
        let release = release.ok_or_else(|| upgrade::none(input, name))?;
        let release_name = || name.to_owned();
        if let Some(recall) = &release.spec.recall
            && !upgrade::is_installed(input)
        {
            return Err(Invalid::Recalled {
                release: release_name(),
                why: recall.reason.clone(),
            });
        }
        if upgrade::is_too_early(input, release) && !upgrade::is_installed(input) {
            return Err(Invalid::Preview(release_name()));
        }
        let version = semver::Version::parse(&release.spec.version).map_err(|error| Invalid::Version {
            release: release_name(),
            error: error.to_string(),
        })?;
        let components = release
            .spec
            .components
            .iter()
            .map(|component| part(component, name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut webs = components.iter().filter(|part| part.component.tier == Tier::Web);
        let (web, web_port) = match (webs.next(), webs.next()) {
            (Some(web), None) => (web.clone(), web.port.ok_or_else(|| Invalid::Web(release_name()))?),
            _ => return Err(Invalid::Web(release_name())),
        };
        let hooks = release.spec.hooks.as_ref();
        let read = |hook: Option<&'a Hook>| {
            hook.map(|hook| hook_job(hook, &components).ok_or_else(|| Invalid::Hook(release_name())))
                .transpose()
        };
        let migrate = read(hooks.and_then(|hooks| hooks.migrate.as_ref()))?;
        let smoke = read(hooks.and_then(|hooks| hooks.smoke.as_ref()))?;
        let gateway_port = u16::try_from(class.gateway.port).unwrap_or(443);
        let hostname = spec.hostnames.first().ok_or(Invalid::Hostname)?;
        if let Some(address) = spec.hostnames.iter().find(|name| is_address(name)) {
            return Err(Invalid::Address(address.clone()));
        }
        allowed(tenant, class)?;
        if let Some(sso) = &spec.sso {
            certificate(&sso.saml.signing_certificate).map_err(Invalid::Sso)?;
        }
        let lifetime = &class.certificates.lifetime;
        let period = |period: &Span| {
            period
                .within(*CRYPTOPERIOD.start(), *CRYPTOPERIOD.end())
                .ok_or_else(|| Invalid::Cryptoperiod(period.0.clone()))
        };
        let authority = |span: &Span, bounds: RangeInclusive<Duration>| {
            span.within(*bounds.start(), *bounds.end())
                .ok_or_else(|| Invalid::Authority(span.0.clone()))
        };
        let upgrades = |span: &Span, bounds: RangeInclusive<Duration>| {
            span.within(*bounds.start(), *bounds.end())
                .ok_or_else(|| Invalid::Upgrades(span.0.clone()))
        };
        let over = spec.database.as_ref();
        Ok(Self {
            name: tenant.metadata.name.as_deref().unwrap_or_default(),
            uid: tenant.metadata.uid.as_deref().unwrap_or_default(),
            tenant,
            namespace: namespace(tenant),
            url: url(hostname, gateway_port),
            release: name,
            version,
            digest: contents::of(release),
            product: &release.spec.product,
            components,
            web,
            web_port,
            migrate,
            smoke,
            bake: upgrades(&class.upgrades.bake, BAKE)?,
            roll_timeout: upgrades(&class.upgrades.roll_timeout, ROLL)?,
            database: Database {
                class: &class.database,
                instances: over
                    .and_then(|over| over.instances)
                    .unwrap_or(class.database.instances),
                storage_size: over
                    .and_then(|over| over.storage_size.as_ref())
                    .unwrap_or(&class.database.storage_size),
                wal_storage_size: over
                    .and_then(|over| over.wal_storage_size.as_ref())
                    .or(class.database.wal_storage_size.as_ref()),
            },
            gateway: &class.gateway,
            gateway_port,
            plain_port: class.gateway.http_port.and_then(|port| u16::try_from(port).ok()),
            quota: quota(class.quota.as_ref(), spec.quota.as_ref()),
            limits: class.limits.as_ref(),
            placement: &class.placement,
            egress: &class.egress,
            certificate_lifetime: lifetime
                .within(*LIFETIME.start(), *LIFETIME.end())
                .ok_or_else(|| Invalid::Lifetime(lifetime.0.clone()))?,
            authority_lifetime: authority(&class.certificates.authority_lifetime, AUTHORITY_LIFETIME)?,
            authority_overlap: authority(&class.certificates.overlap, OVERLAP)?,
            issuer: class.certificates.issuer.as_ref(),
            tenant_key_cryptoperiod: period(&class.keys.tenant_key_cryptoperiod)?,
            data_key_cryptoperiod: period(&class.keys.data_key_cryptoperiod)?,
            termination_grace: termination_grace(Some(class)),
            // Without its keys nothing can be started any more.
            suspended: spec.desired_state != DesiredState::Active || termination::is_final(input),
            hours: maintenance::of(tenant, class, input.now),
        })
    }
}

/// How long after its protection was switched off a tenant may be deleted.
pub fn deletion_delay(class: Option<&TenantClassSpec>) -> Duration {
    let delay = class.map_or_else(
        || ClassDeletion::default().delay,
        |class| class.deletion.delay.clone(),
    );
    delay.within(*DELAY.start(), *DELAY.end()).unwrap_or(*DELAY.end())
}

/// How long after the destruction of a tenant's keys was asked for it is carried out.
pub fn termination_grace(class: Option<&TenantClassSpec>) -> Duration {
    let grace = class.map_or_else(
        || ClassDeletion::default().termination_grace,
        |class| class.deletion.termination_grace.clone(),
    );
    grace.within(*GRACE.start(), *GRACE.end()).unwrap_or(*GRACE.end())
}

/// What the tenant asks for lies within what its class allows.
pub fn allowed(tenant: &Tenant, class: &TenantClassSpec) -> Result<(), Invalid> {
    let spec = &tenant.spec;
    let refuse = |what: String| {
        Err(Invalid::NotAllowed {
            class: spec.class_name.clone(),
            what,
        })
    };
    if !class.editions.is_empty() && !class.editions.contains(&spec.edition) {
        return refuse(format!("the edition {:?}", spec.edition));
    }
    if !class.regions.is_empty() && !class.regions.contains(&spec.region) {
        return refuse(format!("the region {}", spec.region));
    }
    let database = spec.database.as_ref();
    if let Some(instances) = database.and_then(|database| database.instances)
        && instances > class.database.max_instances
    {
        return refuse(format!("{instances} database instances"));
    }
    let sizes = [
        database.and_then(|database| database.storage_size.as_ref()),
        database.and_then(|database| database.wal_storage_size.as_ref()),
    ];
    for size in sizes.into_iter().flatten() {
        if let Some(most) = &class.database.max_storage_size
            && is_more(size, most)
        {
            return refuse(format!("a database volume of {}", size.0));
        }
    }
    let none = Quota::default();
    let most = class.max_quota.as_ref().unwrap_or(&none);
    let asked = spec.quota.as_ref().unwrap_or(&none);
    for (what, asked, most) in [
        ("CPU", &asked.cpu, &most.cpu),
        ("memory", &asked.memory, &most.memory),
        ("storage", &asked.storage, &most.storage),
    ] {
        if let Some(asked) = asked
            && most.as_ref().is_none_or(|most| is_more(asked, most))
        {
            return refuse(format!("a quota of {} {what}", asked.0));
        }
    }
    if let Some(asked) = asked.pods
        && most.pods.is_none_or(|most| asked > most)
    {
        return refuse(format!("a quota of {asked} pods"));
    }
    Ok(())
}

/// Two quantities that can't be compared count as too much.
fn is_more(asked: &Quantity, most: &Quantity) -> bool {
    asked.amount().is_none() || asked.amount() > most.amount()
}

/// The class's quota with the tenant's overrides.
fn quota(class: Option<&Quota>, tenant: Option<&Quota>) -> Option<Quota> {
    let Some(tenant) = tenant else {
        return class.cloned();
    };
    let class = class.cloned().unwrap_or_default();
    Some(Quota {
        cpu: tenant.cpu.clone().or(class.cpu),
        memory: tenant.memory.clone().or(class.memory),
        storage: tenant.storage.clone().or(class.storage),
        pods: tenant.pods.or(class.pods),
    })
}

/// Whether a text is one certificate.
fn certificate(pem: &str) -> Result<(), String> {
    let (rest, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    if rest.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return Err("there is more than one block".to_owned());
    }
    block.parse_x509().map(drop).map_err(|error| error.to_string())
}

/// The namespace of a tenant, known even when nothing else of it is.
pub fn namespace(tenant: &Tenant) -> NamespaceName {
    NamespaceName::of(tenant.metadata.name.as_deref().unwrap_or_default())
}

/// Which life of a tenant of that name this is: what the namespace says that it holds; else what it is to take over; else
/// its own, which is named after the uid that the API server minted.
pub fn incarnation(input: &Input<'_>) -> String {
    let tenant = input.tenant;
    let uid = tenant.metadata.uid.clone().unwrap_or_default();
    let namespace = namespace(tenant);
    let seen = input.observed.get(Kind::Namespace, "", namespace.as_str());
    if let Some(Facts::Namespace {
        tenant_uid,
        incarnation: Some(life),
    }) = seen.map(|seen| &seen.facts)
        && tenant_uid.as_ref() == Some(&uid)
    {
        return life.clone();
    }
    tenant
        .spec
        .adopt
        .as_ref()
        .map_or(uid, |adopt| adopt.incarnation.clone())
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

/// A hook of the release with these components; none when it names another one, and no image.
pub fn hook_job<'a>(hook: &'a Hook, components: &[Part<'a>]) -> Option<HookJob<'a>> {
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
    Some(HookJob {
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
