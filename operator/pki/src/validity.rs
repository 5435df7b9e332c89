//! From when to when a certificate is valid. No clock.

use jiff::Timestamp;
use rcgen::CertificateParams;
use time::OffsetDateTime;

use crate::Error;

/// Clocks differ a little.
const SKEW_SECONDS: i64 = 60;

/// In seconds of the epoch; both ends belong to it (RFC 5280, 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    pub fn starting(now: Timestamp, lifetime_seconds: u64) -> Result<Self, Error> {
        let now = now.as_second();
        let lifetime = i64::try_from(lifetime_seconds).map_err(|_| Error::Validity)?;
        if lifetime == 0 {
            return Err(Error::Validity);
        }
        // The life is from end to end, so that what is issued as long as one before is not longer by the skew each time.
        let not_before = now - SKEW_SECONDS;
        Ok(Self {
            not_before,
            not_after: not_before.checked_add(lifetime).ok_or(Error::Validity)?,
        })
    }

    /// Within another's: what outlives its authority, or begins before it, is refused by those that look.
    pub fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    pub fn set(self, params: &mut CertificateParams) -> Result<(), Error> {
        if self.not_before >= self.not_after {
            return Err(Error::Validity);
        }
        params.not_before = at(self.not_before)?;
        params.not_after = at(self.not_after)?;
        Ok(())
    }
}

/// Before 1970 nobody issued anything, and after 9999 there is no encoding (RFC 5280, 4.1.2.5.2).
fn at(seconds: i64) -> Result<OffsetDateTime, Error> {
    if seconds < 0 {
        return Err(Error::Validity);
    }
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Validity)
}
