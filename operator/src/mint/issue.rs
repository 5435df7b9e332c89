//! Issue: the tenant's authority and its certificates as Secrets. Client and randomness required.
//!
//! Invariants: an authority that exists keeps its key; a certificate lies beside its key and the roots that its holder
//! trusts, in one Secret, so that the three change together.

use freehold_pki::Pair;
use freehold_plan::names::AuthorityName;
use freehold_plan::{Action, Leaf};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt};

use super::{
    For, Learned, MintError, broken, certificate, certificate_of, create, create_or_replace, is_for, put,
    read, secret, text,
};

/// Told to CloudNativePG: a change of this Secret is to be taken up.
const RELOAD: &str = "cnpg.io/reload";

/// What several actions of one pass share: the authority, read or made once.
pub struct Issuer<'a> {
    pub client: &'a Client,
    pub target: For<'a>,
    pub now: Timestamp,
    pub authority: Option<Pair>,
}

impl Issuer<'_> {
    /// Carries out an action about certificates; gives whether it was one.
    pub async fn act(&mut self, action: &Action, learned: &mut Learned) -> Result<bool, MintError> {
        match action {
            Action::MintAuthority { permitted } => self.found(permitted, learned).await?,
            Action::ReissueAuthority { permitted } => self.reissue(permitted, learned).await?,
            Action::MintCertificate {
                leaf,
                namespace,
                dns_names,
                lifetime_seconds,
            } => {
                let authority = self.authority().await?;
                let made = certificate::leaf(&authority, *leaf, dns_names, *lifetime_seconds, self.now)?;
                self.keep(*leaf, namespace, made, authority.certificate_pem, learned)
                    .await?;
            }
            Action::ShareRoots { leaf, namespace } => self.share(*leaf, namespace, learned).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn found(&mut self, permitted: &[String], learned: &mut Learned) -> Result<(), MintError> {
        let made = certificate::authority(self.target.name, permitted, self.now)?;
        let name = AuthorityName::of(self.target.name);
        let data = [
            ("tls.crt", made.certificate_pem.clone()),
            ("tls.key", made.key_pem.to_string()),
        ];
        let secret = secret(name.as_str(), self.target, "kubernetes.io/tls", data);
        match create(self.client, self.target.keys_namespace, secret).await? {
            Some(kept) => {
                learned.minted.authority = certificate_of(&kept, self.target.incarnation);
                self.authority = Some(made);
            }
            None => learned.unsure = true,
        }
        Ok(())
    }

    /// Another certificate for the key that is there, onto the version that was read.
    async fn reissue(&mut self, permitted: &[String], learned: &mut Learned) -> Result<(), MintError> {
        let target = self.target;
        let name = AuthorityName::of(target.name);
        let there = read(self.client, target.keys_namespace, name.as_str()).await?;
        let there = there.filter(|there| is_for(there, target.incarnation));
        let Some(there) = there else {
            return Err(broken(
                target.keys_namespace,
                name.as_str(),
                "content: it is gone",
            ));
        };
        let old = pair(&there, target.keys_namespace)?;
        let made = certificate::reissued(&old, permitted, self.now)?;
        let mut data = there.data.clone().unwrap_or_default();
        data.insert(
            "tls.crt".to_owned(),
            ByteString(made.certificate_pem.clone().into_bytes()),
        );
        let kept = put(self.client, target.keys_namespace, &there, data).await?;
        learned.minted.authority = certificate_of(&kept, target.incarnation);
        self.authority = Some(made);
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
        match create_or_replace(self.client, namespace, secret, life).await? {
            Some(kept) => {
                let slot = certificate_of(&kept, life);
                learned.minted.leaves.insert(leaf, slot);
            }
            None => learned.unsure = true,
        }
        Ok(())
    }

    /// The roots alone, onto the version that was read.
    async fn share(&mut self, leaf: Leaf, namespace: &str, learned: &mut Learned) -> Result<(), MintError> {
        let roots = self.authority().await?.certificate_pem;
        let life = self.target.incarnation;
        let there = read(self.client, namespace, leaf.secret()).await?;
        let Some(there) = there.filter(|there| is_for(there, life)) else {
            learned.unsure = true;
            return Ok(());
        };
        let mut data = there.data.clone().unwrap_or_default();
        data.insert("ca.crt".to_owned(), ByteString(roots.into_bytes()));
        let kept = put(self.client, namespace, &there, data).await?;
        learned.minted.leaves.insert(leaf, certificate_of(&kept, life));
        Ok(())
    }

    /// The authority's certificate and key. The key leaves this file only into `freehold-pki`.
    async fn authority(&mut self) -> Result<Pair, MintError> {
        if let Some(known) = &self.authority {
            return Ok(known.clone());
        }
        let (namespace, name) = (self.target.keys_namespace, AuthorityName::of(self.target.name));
        let broken = |what| broken(namespace, name.as_str(), what);
        let secret = read(self.client, namespace, name.as_str())
            .await?
            .ok_or_else(|| broken("content: it is gone"))?;
        if !is_for(&secret, self.target.incarnation) {
            return Err(broken("content: it was made for another tenant"));
        }
        let pair = pair(&secret, namespace)?;
        self.authority = Some(pair.clone());
        Ok(pair)
    }
}

/// A certificate with its key, as they lie in a Secret.
fn pair(secret: &Secret, namespace: &str) -> Result<Pair, MintError> {
    let name = secret.name_any();
    Ok(Pair {
        certificate_pem: text(secret, "tls.crt")
            .ok_or_else(|| broken(namespace, &name, "certificate in tls.crt"))?,
        key_pem: text(secret, "tls.key")
            .ok_or_else(|| broken(namespace, &name, "key in tls.key"))?
            .into(),
    })
}
