//! A tenant that does what its plan would do.

use freehold_crds::{Grant, GrantKind};
use freehold_plan::Hours;
use freehold_plan::fleet::member::{Member, Way};
use jiff::{SignedDuration, Timestamp};

/// What a release does to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Well,
    Fails,
    /// It fails, and can't be undone.
    Sticks,
    /// It runs, and serves nobody ten minutes later.
    Breaks,
}

/// When a tenant may be upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Always,
    Never,
    /// From this second of each day, for four hours.
    Daily(i64),
    /// As the world's rule with this number says.
    Rule(usize),
}

impl Window {
    pub fn hours(self, now: Timestamp, rules: &[Hours]) -> Hours {
        const DAY: i64 = 86_400;
        const LONG: i64 = 4 * 3600;
        match self {
            Self::Always => Hours::Open {
                until: now + SignedDuration::from_hours(24),
            },
            Self::Never => Hours::Shut { until: None },
            Self::Rule(number) => rules[number],
            Self::Daily(from) => {
                let into = (now.as_second() - from).rem_euclid(DAY);
                let at = |second| Timestamp::from_second(now.as_second() + second).unwrap();
                if into < LONG {
                    Hours::Open {
                        until: at(LONG - into),
                    }
                } else {
                    Hours::Shut {
                        until: Some(at(DAY - into)),
                    }
                }
            }
        }
    }
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub member: Member,
    pub window: Window,
    /// The upgrade that is under way: its end, and what comes of it.
    pub ends: Option<(Timestamp, Fate)>,
    /// When what runs stops serving.
    pub breaks: Option<Timestamp>,
    /// How long it takes.
    pub long: SignedDuration,
    /// As it was before it last did something.
    pub earlier: Option<Member>,
    /// Whoever decides sees that.
    pub late: bool,
}

impl Tenant {
    /// As whoever decides sees it.
    pub fn seen(&self) -> &Member {
        self.earlier
            .as_ref()
            .filter(|_| self.late)
            .unwrap_or(&self.member)
    }

    /// Whether it does anything now, with this grant.
    pub fn moves(&self, grant: Option<&Grant>, now: Timestamp) -> bool {
        let ends = self.ends.map(|(ends, _)| ends);
        let mut due = [ends, self.breaks].into_iter().flatten();
        let known = grant.map(|grant| (grant.at.0, grant.release.clone()));
        due.any(|due| due <= now)
            || self.member.grant != known
            || grant.is_some_and(|grant| self.may_begin(grant))
    }

    /// What is under way ends, what runs breaks.
    pub fn carry_on(&mut self, now: Timestamp) {
        let member = &mut self.member;
        if let Some((ends, fate)) = self.ends
            && ends <= now
            && let Some(way) = member.under_way.take()
        {
            self.ends = None;
            if fate == Fate::Sticks {
                member.stuck = Some("Smoke: it did not answer; it can't be undone".into());
                member.under_way = Some(way);
            } else if fate == Fate::Fails {
                member.failed.insert(way.to, "Smoke: it did not answer".into());
            } else {
                member.runs = Some(way.to.clone());
                member.down_since = None;
                self.breaks = (fate == Fate::Breaks).then(|| now + SignedDuration::from_mins(10));
                member.came = Some(way);
            }
        }
        if self.breaks.is_some_and(|breaks| breaks <= now) {
            self.breaks = None;
            member.down_since = Some(now);
            member.runs = None;
        }
    }

    pub fn may_begin(&self, grant: &Grant) -> bool {
        let member = &self.member;
        let is_open = matches!(member.hours, Some(Hours::Open { .. }));
        member.under_way.is_none()
            && member.apart.is_none()
            && member.runs.as_ref() != Some(&grant.release)
            && !member.failed.contains_key(&grant.release)
            && (is_open || grant.kind != GrantKind::Wave)
    }

    pub fn begin(&mut self, grant: &Grant, now: Timestamp, fate: Fate, grid: i64) {
        self.member.under_way = Some(Way {
            from: self.member.runs.clone().unwrap_or_default(),
            to: grant.release.clone(),
        });
        let ends = (now + self.long).as_second();
        let ends = Timestamp::from_second((ends + grid - 1).div_euclid(grid) * grid).unwrap();
        self.ends = Some((ends, fate));
    }

    /// When it does something by itself.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let edge = self.member.hours.and_then(Hours::until);
        let edge = edge.filter(|_| self.window != Window::Always);
        let all = [self.ends.map(|(ends, _)| ends), self.breaks, edge];
        all.into_iter().flatten().filter(|when| *when > now).min()
    }
}
