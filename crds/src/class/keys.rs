//! The keys that a tenant's data is encrypted with.

use std::ops::RangeInclusive;
use std::time::Duration;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// The bounds of a cryptoperiod: an hour to two years. NIST SP 800-57 part 1 (5.3.6, table 1) recommends at most two years for
/// the originator's use of a symmetric key that encrypts data or wraps keys.
pub const CRYPTOPERIOD: RangeInclusive<Duration> =
    Duration::from_secs(3600)..=Duration::from_secs(17520 * 3600);

/// The keys that a tenant's data is encrypted with: for how long one of them is used before the next is made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassKeys {
    /// For how long a version of the tenant key wraps data keys, from `1h` to `17520h` (two years, the most that NIST
    /// SP 800-57 recommends). Then a new version is made, and every data key is wrapped by it; nothing restarts. 90 days when
    /// left out.
    #[serde(default = "ninety_days")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('17520h')")
        .message("tenantKeyCryptoperiod must be between 1h and 17520h (two years)"))]
    pub tenant_key_cryptoperiod: Span,

    /// For how long a data key encrypts a volume, from `1h` to `17520h` (two years, as above). Then the database moves to
    /// volumes with new keys, in the tenant's maintenance window: it needs room for one more instance meanwhile, and writes
    /// pause for some seconds. One year when left out.
    #[serde(default = "one_year")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('17520h')")
        .message("dataKeyCryptoperiod must be between 1h and 17520h (two years)"))]
    pub data_key_cryptoperiod: Span,
}

impl Default for ClassKeys {
    fn default() -> Self {
        Self {
            tenant_key_cryptoperiod: ninety_days(),
            data_key_cryptoperiod: one_year(),
        }
    }
}

fn ninety_days() -> Span {
    "2160h".into()
}

fn one_year() -> Span {
    "8760h".into()
}
