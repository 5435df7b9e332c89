//! The gateway's certificates: one for each hostname, so that a client which knows nothing of one that is added, because its `ca.crt` is of
//! before, goes on to be served by the others.
//!
//! In: the hostnames that are ours, the certificates that are there, the Gateway as it was last seen. Out: a place for each hostname, and
//! the Secret that it is shown with. Invariants: a hostname whose name a certificate bears stays where that is; a Secret is given to
//! another one only when the Gateway has no listener left that refers to it for the one before; a listener that is there loses what it
//! shows only to something as good. What lies in a place that is nobody's is neither renewed nor told of, until that is given away again.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::succession;
use crate::concern::{gateway, hostnames, issuer};
use crate::input::{Certificate, Input, Minted, Slot};
use crate::leaf::{EdgeSlot, Leaf};
use crate::names::ISSUED_CERTIFICATE;

/// Where each hostname's certificate is.
#[derive(Debug)]
pub struct Edges<'a> {
    minted: &'a Minted,
    now: Timestamp,
    /// The hostnames that are ours.
    held: Vec<&'a str>,
    /// Each hostname that has a listener, with the Secret that it refers to.
    shown: Vec<(&'a str, &'a str)>,
    /// A certificate with that name is there.
    kept: BTreeMap<EdgeSlot, &'a str>,
    /// One is to be made there.
    begun: BTreeMap<EdgeSlot, &'a str>,
}

impl<'a> Edges<'a> {
    pub fn of(input: &Input<'a>) -> Self {
        let mut edges = Self {
            minted: &input.observed.minted,
            now: input.now,
            held: hostnames::held(input),
            shown: gateway::shown(input).collect(),
            kept: BTreeMap::new(),
            begun: BTreeMap::new(),
        };
        // A hostname that shared one until now has its own when there are both.
        edges.keep(|there| there.dns_names.len() == 1);
        edges.keep(|_| true);
        edges.begin();
        edges
    }

    fn keep(&mut self, is_meant: impl Fn(&Certificate) -> bool) {
        for hostname in self.held.clone() {
            if self.own(hostname).is_some() {
                continue;
            }
            let bears = |slot: &EdgeSlot| {
                let there = self.certificate(*slot).filter(|there| is_meant(there));
                !self.kept.contains_key(slot) && there.is_some_and(|there| is_named(there, hostname))
            };
            if let Some(slot) = EdgeSlot::all().find(bears) {
                self.kept.insert(slot, hostname);
            }
        }
    }

    fn begin(&mut self) {
        // Who can't be read may be whose certificate is missed here.
        if EdgeSlot::all().any(|slot| *self.slot(slot) == Slot::Unread) {
            return;
        }
        for hostname in self.held.clone() {
            if self.own(hostname).is_some() {
                continue;
            }
            let is_another_s = |slot: EdgeSlot| {
                let mut shown = self.shown.iter();
                shown.any(|(other, secret)| *other != hostname && *secret == slot.secret())
            };
            let is_free = |slot: &EdgeSlot| {
                !self.kept.contains_key(slot)
                    && !self.begun.contains_key(slot)
                    && *self.slot(*slot) != Slot::Foreign
                    && !is_another_s(*slot)
            };
            if let Some(slot) = EdgeSlot::all().find(is_free) {
                self.begun.insert(slot, hostname);
            }
        }
    }

    fn slot(&self, slot: EdgeSlot) -> &'a Slot<Certificate> {
        self.minted.leaf(Leaf::Edge(slot))
    }

    fn certificate(&self, slot: EdgeSlot) -> Option<&'a Certificate> {
        self.slot(slot).present()
    }

    /// Where a hostname's certificate is.
    fn own(&self, hostname: &str) -> Option<EdgeSlot> {
        let mut kept = self.kept.iter();
        kept.find(|(_, name)| **name == hostname).map(|(slot, _)| *slot)
    }

    /// Where a hostname's certificate is, or is to be.
    pub fn place(&self, hostname: &str) -> Option<EdgeSlot> {
        let mut begun = self.begun.iter();
        let begun = begun.find(|(_, name)| **name == hostname);
        self.own(hostname).or(begun.map(|(slot, _)| *slot))
    }

    /// Whether it is some hostname's.
    pub fn is_taken(&self, slot: EdgeSlot) -> bool {
        self.kept.contains_key(&slot) || self.begun.contains_key(&slot)
    }

    /// Whether a certificate that is there is of use to anybody.
    pub fn is_used(&self, slot: EdgeSlot) -> bool {
        self.kept.contains_key(&slot) || self.shown.iter().any(|(_, secret)| *secret == slot.secret())
    }

    /// All places, when there is none for some hostname: what stands there is why.
    pub fn missed(&self) -> Vec<&'a Slot<Certificate>> {
        let is_placed = |hostname: &&str| self.place(hostname).is_some();
        if self.held.iter().all(is_placed) {
            return Vec::new();
        }
        EdgeSlot::all().map(|slot| self.slot(slot)).collect()
    }

    /// The names that the certificate of a place is for, sorted: its hostname's. One of several, as they were once, bears the others as
    /// long as they are shown with it or have none of their own.
    pub fn names(&self, slot: EdgeSlot) -> Vec<String> {
        let own = self.kept.get(&slot).or_else(|| self.begun.get(&slot));
        let there = self.certificate(slot).into_iter();
        let others = there
            .flat_map(|there| &there.dns_names)
            .filter(|name| self.is_needed(slot, name));
        let mut names: Vec<String> = others.cloned().chain(own.map(|own| (*own).to_owned())).collect();
        names.sort();
        names.dedup();
        names
    }

    fn is_needed(&self, slot: EdgeSlot, name: &str) -> bool {
        let authority = self.minted.authority.present();
        let is_permitted =
            authority.is_some_and(|authority| authority.permitted.iter().any(|own| own == name));
        let is_shown = self.shown.contains(&(name, slot.secret()));
        is_permitted && (is_shown || (self.held.contains(&name) && self.own(name).is_none()))
    }

    /// The Secret that a hostname is shown with; none for a new one whose certificate isn't there yet.
    pub fn shown(&self, hostname: &str) -> Option<&'static str> {
        let mut shown = self.shown.iter();
        let now = shown
            .find(|(name, _)| *name == hostname)
            .map(|(_, secret)| *secret);
        let own = self.own(hostname);
        let is_ripe = |slot: &EdgeSlot| now == Some(slot.secret()) || self.is_good(*slot);
        if let Some(own) = own.filter(is_ripe) {
            return Some(own.secret());
        }
        let before = now?;
        if let Some(before) = EdgeSlot::of_secret(before) {
            return Some(before.secret());
        }
        // It was shown with what an issuer has issued, and isn't any more.
        let bears = |slot: &EdgeSlot| {
            self.certificate(*slot)
                .is_some_and(|there| is_named(there, hostname))
        };
        let other = own.or_else(|| EdgeSlot::all().find(bears));
        let place = other.or_else(|| self.place(hostname));
        Some(place.unwrap_or(EdgeSlot::FIRST).secret())
    }

    fn is_good(&self, slot: EdgeSlot) -> bool {
        let trusted = succession::roots(self.minted);
        self.certificate(slot).is_some_and(|there| {
            let issuer = there.issuer.as_deref();
            there.not_after > self.now && issuer.is_some_and(|issuer| trusted.contains(issuer))
        })
    }

    /// Whether somebody may still be shown a certificate that names it.
    pub fn is_about(&self, name: &str) -> bool {
        let used = EdgeSlot::all().filter(|slot| self.is_used(*slot));
        let mut used = used.filter_map(|slot| self.certificate(slot));
        self.shown.iter().any(|(shown, _)| *shown == name) || used.any(|there| is_named(there, name))
    }

    /// Whether what the gateway shows for a hostname has expired: clients refuse it.
    pub fn is_expired(&self, input: &Input<'_>) -> bool {
        let is_over = |secret: &str| {
            let end = match EdgeSlot::of_secret(secret) {
                Some(slot) => self.certificate(slot).map(|there| there.not_after),
                None if secret == ISSUED_CERTIFICATE => issuer::end(input),
                None => None,
            };
            end.is_some_and(|end| input.now >= end)
        };
        self.shown.iter().any(|(_, secret)| is_over(secret))
    }
}

fn is_named(certificate: &Certificate, name: &str) -> bool {
    certificate.dns_names.iter().any(|own| own == name)
}
