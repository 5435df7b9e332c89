//! What the shell does about certificates, and the kubelets with what they are beside.

use freehold_plan::{Certificate, End, Ends, Succession};

use super::*;

impl Cluster {
    /// Carries out an action about certificates; gives whether it was one.
    pub(super) fn certify(&mut self, action: &Action) -> bool {
        match action {
            Action::MintAuthority {
                permitted,
                lifetime_seconds,
            } => {
                if self.minted.authority == Slot::Absent {
                    let made = self.authority(permitted, *lifetime_seconds);
                    self.minted.authority = Slot::Present(made);
                }
            }
            Action::MintNextAuthority {
                permitted,
                lifetime_seconds,
            } => {
                assert!(self.minted.authority.present().is_some());
                let made = self.authority(permitted, *lifetime_seconds);
                self.minted.succession.next.get_or_insert(made);
            }
            Action::ReissueAuthority { permitted } => self.reissue(permitted),
            Action::PromoteAuthority { keep_previous } => {
                if let Some(next) = self.minted.succession.next.take() {
                    let old = std::mem::replace(&mut self.minted.authority, Slot::Present(next));
                    self.minted.succession.previous = old.present().cloned().filter(|_| *keep_previous);
                }
            }
            Action::DropNextAuthority => self.minted.succession.next = None,
            Action::RetireAuthority => self.minted.succession.previous = None,
            Action::MintCertificate {
                leaf,
                dns_names,
                lifetime_seconds,
                ..
            } => self.issue(*leaf, dns_names, *lifetime_seconds),
            Action::ShareRoots { leaf, .. } => self.share(*leaf),
            Action::LookAtEnds { gateway, .. } => {
                let end = End {
                    trusts: Some(self.read.clone()),
                    shows: self.shown.clone(),
                    trouble: None,
                };
                let silent = End {
                    trusts: None,
                    ..end.clone()
                };
                let silent = (1..=self.silent_pods).map(|n| (format!("silent-{n}"), silent.clone()));
                self.minted.ends = Some(Ends {
                    looked_at: self.given.now,
                    gateway: gateway
                        .as_ref()
                        .filter(|_| !self.far_gateway)
                        .map(|_| end.clone()),
                    pods: silent.chain([("web-1".to_owned(), end)]).collect(),
                });
            }
            // What the gateway has read is not told apart from what pods have.
            Action::MintProof { .. } => {}
            Action::ForgetAuthority => {
                self.minted.authority = Slot::Absent;
                self.minted.succession = Succession::default();
            }
            _ => return false,
        }
        true
    }

    fn certificate(&mut self, name: &str, life: u64, dns_names: Vec<String>) -> Certificate {
        self.issued += 1;
        let now = self.given.now;
        Certificate {
            fingerprint: format!("{name}-{}", self.issued),
            issuer: None,
            roots: Vec::new(),
            not_before: now,
            not_after: now + SignedDuration::from_secs(i64::try_from(life).unwrap()),
            dns_names,
            permitted: Vec::new(),
            pem: "PEM".into(),
        }
    }

    fn authority(&mut self, permitted: &[String], life: u64) -> Certificate {
        Certificate {
            permitted: permitted.to_vec(),
            ..self.certificate("ca", life, Vec::new())
        }
    }

    fn reissue(&mut self, permitted: &[String]) {
        let there = self.minted.authority.present().cloned();
        let old = there.expect("an authority that isn't there is issued anew");
        for slot in [Some(old), self.minted.succession.next.clone()]
            .into_iter()
            .flatten()
        {
            let made = Certificate {
                not_after: slot.not_after,
                ..self.authority(permitted, 1)
            };
            if self.minted.authority.present() == Some(&slot) {
                self.minted.authority = Slot::Present(made);
            } else {
                self.minted.succession.next = Some(made);
            }
        }
    }

    fn issue(&mut self, leaf: Leaf, dns_names: &[String], life: u64) {
        let Some(authority) = self.minted.authority.present().cloned() else {
            return;
        };
        let is_within = |name: &String| {
            let mut domains = authority.permitted.iter();
            domains.any(|domain| name == domain || name.ends_with(&format!(".{domain}")))
        };
        assert!(
            dns_names.iter().all(is_within),
            "{dns_names:?} of {:?}",
            authority.permitted
        );
        let now = self.given.now;
        assert!(
            now < authority.not_after,
            "an authority that has ended issues nothing"
        );
        let made = self.certificate(leaf.secret(), life, dns_names.to_vec());
        let made = Certificate {
            issuer: Some(authority.fingerprint.clone()),
            roots: self.roots(),
            not_after: made.not_after.min(authority.not_after),
            ..made
        };
        self.minted.leaves.insert(leaf, Slot::Present(made));
    }

    fn roots(&self) -> Vec<String> {
        self.minted
            .trusted()
            .map(|root| root.fingerprint.clone())
            .collect()
    }

    /// An authority's key is the same when its certificate is issued anew, so it vouches for what there is; unless the
    /// certificate's own root is still there.
    fn share(&mut self, leaf: Leaf) {
        let roots = self.roots();
        if let Some(Slot::Present(there)) = self.minted.leaves.get_mut(&leaf) {
            if !there.issuer.as_ref().is_some_and(|issuer| roots.contains(issuer)) {
                there.issuer = roots.first().cloned();
            }
            there.roots = roots;
        }
    }

    /// The kubelets hand the pods what the Secrets hold.
    pub fn hand_out(&mut self) {
        let web = self.minted.leaf(Leaf::Web).present().cloned().unwrap();
        self.read = web.roots.into_iter().collect();
        self.shown = web.issuer;
    }
}
