//! Instants as people write them in a manifest: `2026-12-20T00:00:00+01:00`.
//!
//! Invariant: what the API server takes can be read. By the format `date-time` alone it takes offsets of 99 hours, letters before fractions of
//! a second, and the last day of the year 9999, which is beyond a `Timestamp`: one such object, and the watch of its whole kind stands still.

/// Seconds, with a zone, from the year 2000 to 2999, as a window's start.
pub const INSTANT: &str = "^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$";

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_first_and_the_last_that_are_taken_can_be_read() {
        for good in [
            "2000-01-01T00:00:00Z",
            "2000-01-01T00:00:00+14:59",
            "2999-12-31T23:59:59-14:59",
        ] {
            assert!(serde_json::from_value::<Time>(good.into()).is_ok(), "{good}");
        }
        // Why there is a pattern at all.
        for bad in ["9999-12-31T23:59:59Z", "2026-01-01T00:00:00+99:59"] {
            assert!(serde_json::from_value::<Time>(bad.into()).is_err(), "{bad}");
        }
    }
}
