//! Decides about a request whose instance ended while it served the request. Pure.
//!
//! An instance that ends has written nothing, so whatever it was serving can be tried again.

/// A request that has ended this many instances is put in quarantine.
pub(crate) const STRIKES_MAX: u32 = 2;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is served again, with fewer others.
    Again,
    /// It fails: it would only take too long again.
    Fail,
    /// It fails, now and when it is sent again.
    Quarantine,
}

/// Decides about a request that an instance was serving when it ended.
///
/// - `together`: how many requests it was serving; only one that was alone is to blame.
/// - `strikes`: how many instances it has ended while it was alone, this one included; none if the end says nothing about the
///   request, because the instance ran out of wall time.
pub(crate) fn verdict(together: usize, strikes: Option<u32>) -> Verdict {
    match (together, strikes) {
        (2.., _) => Verdict::Again,
        (_, None) => Verdict::Fail,
        (_, Some(STRIKES_MAX..)) => Verdict::Quarantine,
        (_, Some(_)) => Verdict::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, verdict};

    #[test]
    fn the_verdict_follows_from_company_and_strikes() {
        let table = [
            // together, strikes
            ((1, Some(1)), Verdict::Again),
            ((1, Some(2)), Verdict::Quarantine),
            ((1, Some(3)), Verdict::Quarantine),
            ((1, None), Verdict::Fail),
            ((2, None), Verdict::Again),
            ((2, Some(0)), Verdict::Again),
            ((1_000, None), Verdict::Again),
        ];
        for ((together, strikes), expected) in table {
            assert_eq!(verdict(together, strikes), expected, "{together} {strikes:?}");
        }
    }
}
