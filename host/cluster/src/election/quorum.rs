//! How long ago a leader was known to a majority.

use tokio::time::Duration;

use crate::members::Members;

/// The shortest time within which a majority has answered, where `since` says when each voter's last answer was sent for.
/// The replica itself answers at any time. `None` if no majority ever has.
pub(crate) fn quorum_age(
    members: &Members,
    me: u64,
    since: impl Fn(u64) -> Option<Duration>,
) -> Option<Duration> {
    let since = |voter| if voter == me { Some(Duration::ZERO) } else { since(voter) };
    let ages = members.all_voters().into_iter().filter_map(since);
    ages.filter(|age| members.is_majority(|voter| since(voter).is_some_and(|other| other <= *age))).min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::time::Duration;

    use super::quorum_age;
    use crate::members::Members;

    #[test]
    fn the_age_is_that_of_the_slowest_of_the_fastest_majority() {
        let joint: &'static [&'static [u64]] = &[&[1, 2, 3], &[1, 4, 5]];
        // Sets of voters, what each voter is since, and the age.
        type Case = (&'static [&'static [u64]], &'static [(u64, u64)], Option<u64>);
        let table: [Case; 7] = [
            (&[&[1]], &[], Some(0)),
            (&[&[1, 2, 3]], &[], None),
            (&[&[1, 2, 3]], &[(2, 70), (3, 9_000)], Some(70)),
            (&[&[1, 2, 3, 4, 5]], &[(2, 70), (3, 80), (4, 90)], Some(80)),
            (&[&[2, 3, 4]], &[(2, 70), (3, 80)], Some(80)),
            (joint, &[(2, 70), (3, 80)], None),
            (joint, &[(2, 70), (3, 80), (5, 500)], Some(500)),
        ];
        for (sets, since, expected) in table {
            let voters = sets.iter().map(|set| set.iter().copied().collect()).collect();
            let members = Members { voters, members: BTreeMap::new() };
            let since = |voter| {
                let since = since.iter().find(|(of, _)| *of == voter)?;
                Some(Duration::from_millis(since.1))
            };
            let age = quorum_age(&members, 1, since);
            assert_eq!(age, expected.map(Duration::from_millis), "{sets:?}");
        }
    }
}
