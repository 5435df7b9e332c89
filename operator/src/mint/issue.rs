//! Issue: the tenant's authority and its certificates as Secrets. Client and randomness required.
//!
//! Invariants: an authority that exists keeps its key; a certificate lies beside its key and the roots that its holder
//! trusts, in one Secret, so that the three change together; the authorities that follow each other lie in one Secret, so that one
//! takes over from the other in one write, and the key of the one before ends with it.

use freehold_pki::Pair;
use freehold_plan::names::{AuthorityName, PROOF_CERTIFICATE};
use freehold_plan::{Action, Ends, Leaf, Slot, Succession};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt};

use super::{
    For, Learned, MintError, broken, certificate, certificate_of, create, create_or_replace, ends, is_for,
    put, read, secret, text,
};

/// Where the authorities lie in their Secret.
const CURRENT: &str = "tls.crt";
const CURRENT_KEY: &str = "tls.key";
const NEXT: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
/// Told to CloudNativePG: a change of this Secret is to be taken up.
const RELOAD: &str = "cnpg.io/reload";

/// What several actions of one pass share: the authority, read or made once.
pub struct Issuer<'a> {
    pub client: &'a Client,
    pub target: For<'a>,
    pub now: Timestamp,
    /// As they were last read or written.
    pub known: Option<Authorities>,
}

/// The authorities of a tenant. Keys leave this only into `freehold-pki`.
#[derive(Clone)]
pub struct Authorities {
    /// What they were read from.
    there: Secret,
    /// Issues.
    pub current: Pair,
    /// Issues next.
    pub next: Option<Pair>,
    /// Has issued before.
    previous: Option<String>,
}

impl Authorities {
    fn of(there: Secret, namespace: &str) -> Result<Self, MintError> {
        let name = there.name_any();
        let current = pair(&there, (CURRENT, CURRENT_KEY))
            .ok_or_else(|| broken(namespace, &name, "certificate in tls.crt with its key in tls.key"))?;
        Ok(Self {
            next: pair(&there, (NEXT, NEXT_KEY)),
            previous: text(&there, PREVIOUS),
            current,
            there,
        })
    }

    /// Every root that is to be trusted, the one that issues first.
    pub fn bundle(&self) -> Result<String, MintError> {
        let next = self.next.as_ref().map(|next| next.certificate_pem.as_str());
        let others = next.into_iter().chain(self.previous.as_deref());
        let all = std::iter::once(self.current.certificate_pem.as_str()).chain(others);
        Ok(freehold_pki::bundle(all)?)
    }

    /// What the plan may see of them.
    pub fn facts(there: &Secret) -> Succession {
        let of = |key| certificate::facts_of_root(text(there, key)?).ok();
        Succession {
            next: of(NEXT),
            previous: of(PREVIOUS),
        }
    }
}

impl Issuer<'_> {
    /// Carries out an action about certificates; gives whether it was one.
    pub async fn act(&mut self, action: &Action, learned: &mut Learned) -> Result<bool, MintError> {
        match action {
            Action::MintAuthority {
                permitted,
                lifetime_seconds,
            } => self.found(permitted, *lifetime_seconds, learned).await?,
            Action::ReissueAuthority { permitted } => self.reissue(permitted, learned).await?,
            Action::MintNextAuthority {
                permitted,
                lifetime_seconds,
            } => self.found_next(permitted, *lifetime_seconds, learned).await?,
            Action::PromoteAuthority { keep_previous } => self.promote(*keep_previous, learned).await?,
            Action::DropNextAuthority => {
                self.write([(NEXT, None), (NEXT_KEY, None)], learned).await?;
            }
            Action::RetireAuthority => self.write([(PREVIOUS, None)], learned).await?,
            Action::LookAtEnds {
                namespace,
                services,
                gateway,
            } => {
                let authorities = self.authorities().await?.clone();
                let looker = ends::Looker::of(&authorities, self.now)?;
                let pods = looker.pods(self.client, namespace, services).await?;
                let gateway = match gateway {
                    Some(gateway) => looker.gateway(gateway).await,
                    None => None,
                };
                learned.minted.ends = Some(Ends {
                    looked_at: self.now,
                    pods,
                    gateway,
                });
            }
            Action::MintProof {
                namespace,
                dns_name,
                lifetime_seconds,
            } => self.prove(namespace, dns_name, *lifetime_seconds).await?,
            Action::MintCertificate {
                leaf,
                namespace,
                dns_names,
                lifetime_seconds,
            } => {
                let now = self.now;
                let authorities = self.authorities().await?;
                let made = certificate::leaf(&authorities.current, *leaf, dns_names, *lifetime_seconds, now)?;
                let roots = authorities.bundle()?;
                self.keep(*leaf, namespace, made, roots, learned).await?;
            }
            Action::ShareRoots { leaf, namespace } => self.share(*leaf, namespace, learned).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn found(
        &mut self,
        permitted: &[String],
        lifetime_seconds: u64,
        learned: &mut Learned,
    ) -> Result<(), MintError> {
        let made = certificate::authority(self.target.name, permitted, lifetime_seconds, self.now)?;
        let name = AuthorityName::of(self.target.name);
        let data = [
            (CURRENT, made.certificate_pem.clone()),
            (CURRENT_KEY, made.key_pem.to_string()),
        ];
        let secret = secret(name.as_str(), self.target, "kubernetes.io/tls", data);
        match create(self.client, self.target.keys_namespace, secret).await? {
            Some(kept) => self.learn(kept, learned)?,
            None => learned.unsure = true,
        }
        Ok(())
    }

    /// Other certificates for the keys that are there, until the same day.
    async fn reissue(&mut self, permitted: &[String], learned: &mut Learned) -> Result<(), MintError> {
        let now = self.now;
        let Authorities { current, next, .. } = self.authorities().await?;
        let again = |old: &Pair| {
            let made = certificate::reissued(old, permitted, now)?;
            Ok::<_, MintError>(Some(made.certificate_pem))
        };
        let mut changes = vec![(CURRENT, again(current)?)];
        if let Some(next) = next {
            changes.push((NEXT, again(next)?));
        }
        self.write(changes, learned).await
    }

    /// The authority that issues next, unless there is one.
    async fn found_next(
        &mut self,
        permitted: &[String],
        lifetime_seconds: u64,
        learned: &mut Learned,
    ) -> Result<(), MintError> {
        let target = self.target;
        let there = self.authorities().await?;
        if there.next.is_some() {
            learned.unsure = true;
            return Ok(());
        }
        let made = certificate::authority(target.name, permitted, lifetime_seconds, self.now)?;
        let changes = [
            (NEXT, Some(made.certificate_pem)),
            (NEXT_KEY, Some(made.key_pem.to_string())),
        ];
        self.write(changes, learned).await
    }

    /// The next one takes over. It is not there when it has done so already.
    async fn promote(&mut self, keep_previous: bool, learned: &mut Learned) -> Result<(), MintError> {
        let Authorities { current, next, .. } = self.authorities().await?;
        let Some(next) = next else {
            learned.unsure = true;
            return Ok(());
        };
        let changes = [
            (PREVIOUS, keep_previous.then(|| current.certificate_pem.clone())),
            (CURRENT, Some(next.certificate_pem.clone())),
            (CURRENT_KEY, Some(next.key_pem.to_string())),
            (NEXT, None),
            (NEXT_KEY, None),
        ];
        self.write(changes, learned).await
    }

    /// Changes of the authorities' Secret, onto the version that was read. What has no value goes.
    async fn write(
        &mut self,
        changes: impl IntoIterator<Item = (&'static str, Option<String>)>,
        learned: &mut Learned,
    ) -> Result<(), MintError> {
        let namespace = self.target.keys_namespace;
        let there = self.authorities().await?.there.clone();
        let data = changes
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.map(|text| ByteString(text.into_bytes()))));
        let kept = put(self.client, namespace, &there, data.collect()).await?;
        self.learn(kept, learned)
    }

    fn learn(&mut self, kept: Secret, learned: &mut Learned) -> Result<(), MintError> {
        learned.minted.authority = certificate_of(&kept, self.target.incarnation);
        learned.minted.succession = Authorities::facts(&kept);
        self.known = Some(Authorities::of(kept, self.target.keys_namespace)?);
        Ok(())
    }

    async fn keep(
        &self,
        leaf: Leaf,
        namespace: &str,
        made: Pair,
        roots: String,
        learned: &mut Learned,
    ) -> Result<(), MintError> {
        let data = [
            ("tls.crt", made.certificate_pem),
            ("tls.key", made.key_pem.to_string()),
            ("ca.crt", roots),
        ];
        let mut secret = secret(leaf.secret(), self.target, "kubernetes.io/tls", data);
        if leaf.is_for_database() {
            let labels = secret.metadata.labels.get_or_insert_default();
            labels.insert(RELOAD.to_owned(), "true".to_owned());
        }
        let life = self.target.incarnation;
        let is_thought_there = *learned.minted.leaf(leaf) != Slot::Absent;
        match create_or_replace(self.client, namespace, secret, life, is_thought_there).await? {
            Some(kept) => {
                let slot = certificate_of(&kept, life);
                learned.minted.leaves.insert(leaf, slot);
            }
            None => learned.unsure = true,
        }
        Ok(())
    }

    /// For the pod that shows the gateway what the next authority issues. What is there stays as long as it is good for a pod that is
    /// still to come: it is read before each try to make that pod, and who is killed at each write would never come to it.
    async fn prove(
        &mut self,
        namespace: &str,
        dns_name: &str,
        lifetime_seconds: u64,
    ) -> Result<(), MintError> {
        let (now, life) = (self.now, self.target.incarnation);
        let there = read(self.client, namespace, PROOF_CERTIFICATE).await?;
        let Authorities { current, next, .. } = self.authorities().await?;
        let issuer = next.as_ref().unwrap_or(current);
        let half = SignedDuration::from_secs(i64::try_from(lifetime_seconds / 2).unwrap_or(i64::MAX));
        // No certificate outlives its issuer: a new one would end then, too.
        let end = certificate::facts_of_root(issuer.certificate_pem.clone())?.not_after;
        let enough = now.checked_add(half).map_or(end, |until| until.min(end));
        let is_good = |there: &Secret| {
            let facts =
                text(there, "tls.crt").and_then(|pem| certificate::facts(pem, &issuer.certificate_pem).ok());
            facts.is_some_and(|facts| {
                facts.issuer.is_some() && facts.dns_names == [dns_name] && facts.not_after >= enough
            })
        };
        if there
            .filter(|there| is_for(there, life))
            .is_some_and(|there| is_good(&there))
        {
            return Ok(());
        }
        let made = certificate::proof(issuer, dns_name, lifetime_seconds, now)?;
        let data = [
            ("tls.crt", made.certificate_pem),
            ("tls.key", made.key_pem.to_string()),
        ];
        let secret = secret(PROOF_CERTIFICATE, self.target, "kubernetes.io/tls", data);
        create_or_replace(self.client, namespace, secret, life, true).await?;
        Ok(())
    }

    /// The roots alone, onto the version that was read.
    async fn share(&mut self, leaf: Leaf, namespace: &str, learned: &mut Learned) -> Result<(), MintError> {
        let roots = self.authorities().await?.bundle()?;
        let life = self.target.incarnation;
        let there = read(self.client, namespace, leaf.secret()).await?;
        let Some(there) = there.filter(|there| is_for(there, life)) else {
            learned.unsure = true;
            return Ok(());
        };
        let data = [("ca.crt".to_owned(), Some(ByteString(roots.into_bytes())))];
        let kept = put(self.client, namespace, &there, data.into()).await?;
        learned.minted.leaves.insert(leaf, certificate_of(&kept, life));
        Ok(())
    }

    async fn authorities(&mut self) -> Result<&Authorities, MintError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.read().await?,
        };
        Ok(self.known.insert(known))
    }

    async fn read(&self) -> Result<Authorities, MintError> {
        let (namespace, name) = (self.target.keys_namespace, AuthorityName::of(self.target.name));
        let broken = |what| broken(namespace, name.as_str(), what);
        let secret = read(self.client, namespace, name.as_str())
            .await?
            .ok_or_else(|| broken("content: it is gone"))?;
        if !is_for(&secret, self.target.incarnation) {
            return Err(broken("content: it was made for another tenant"));
        }
        Authorities::of(secret, namespace)
    }
}

/// A certificate with its key, as they lie in a Secret.
fn pair(secret: &Secret, (certificate, key): (&str, &str)) -> Option<Pair> {
    Some(Pair {
        certificate_pem: text(secret, certificate)?,
        key_pem: text(secret, key)?.into(),
    })
}
