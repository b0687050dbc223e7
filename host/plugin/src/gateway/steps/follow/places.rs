//! Where a follower is beside its group, and how a group paces itself. Pure.

use std::time::Duration;

/// What becomes of a follower that comes to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It gets the group's next page.
    Joins,
    /// It is ahead: the group's next page ends at its place, and then it joins.
    Waits,
    /// It is behind: it reads on by itself.
    Behind,
}

/// The processor time of one delivery, rounded up; a write to a socket and the wake-up of the task that makes it.
const DELIVERY: Duration = Duration::from_micros(10);

/// A shorter pause is none: timers are as exact as this.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest pause: more followers than so many deliveries are many more than a host has.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What becomes of a follower at a place, if the group is at another one, or is empty.
pub(super) fn standing(of_group: Option<u64>, of_follower: u64) -> Standing {
    match of_group {
        None => Standing::Joins,
        Some(place) if of_follower == place => Standing::Joins,
        Some(place) if of_follower > place => Standing::Waits,
        Some(_) => Standing::Behind,
    }
}

/// Where the next page of a group has to end, if followers wait ahead of it at these places.
pub(super) fn until(waiting: impl IntoIterator<Item = u64>) -> Option<u64> {
    waiting.into_iter().min()
}

/// How long a group waits after a page was sent to so many followers. Pages get longer meanwhile, so that deliveries take one
/// processor at most, however many followers there are, and appends find the others free.
pub(super) fn pause_after(deliveries: usize) -> Option<Duration> {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    let pause = DELIVERY.saturating_mul(deliveries).min(PAUSE_MAX);
    (pause >= PAUSE_MIN).then_some(pause)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Standing, pause_after, standing, until};

    #[test]
    fn a_follower_joins_where_the_group_is() {
        for (group, follower, expected) in [
            (None, 0, Standing::Joins),
            (None, 7, Standing::Joins),
            (Some(7), 7, Standing::Joins),
            (Some(7), 8, Standing::Waits),
            (Some(7), 6, Standing::Behind),
            (Some(0), u64::MAX, Standing::Waits),
            (Some(u64::MAX), 0, Standing::Behind),
        ] {
            assert_eq!(standing(group, follower), expected, "{group:?} {follower}");
        }
    }

    #[test]
    fn the_next_page_ends_at_the_first_who_waits() {
        assert_eq!(until([]), None);
        assert_eq!(until([9, 4, 6]), Some(4));
    }

    /// A follower as numbers.
    struct Follower {
        began: u64,
        place: u64,
        is_member: bool,
        got: Vec<u64>,
    }

    impl Follower {
        fn stands(&self, group: u64, expected: Standing) -> bool {
            !self.is_member && standing(Some(group), self.place) == expected
        }

        fn get(&mut self, end: u64) {
            self.got.extend(self.place..end);
            self.place = end;
        }
    }

    /// Whoever comes, and wherever the log ends: nobody misses a position or gets it twice.
    #[test]
    fn all_followers_get_every_position_once() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut log, mut group) = (10, 10);
            let mut followers: Vec<Follower> = Vec::new();
            for _ in 0..200 {
                match random.u8(..6) {
                    0 => log += random.u64(..9),
                    1 => {
                        let began = random.u64(..=log);
                        followers.push(Follower { began, place: began, is_member: false, got: Vec::new() });
                    }
                    // Those who are behind read to the end, each by itself.
                    2 => followers
                        .iter_mut()
                        .filter(|follower| follower.stands(group, Standing::Behind) && random.bool())
                        .for_each(|follower| follower.get(log)),
                    // A member takes too little, and the group goes on without it.
                    3 => {
                        let member = followers.iter_mut().filter(|follower| follower.is_member).last();
                        member.into_iter().for_each(|member| member.is_member = false);
                    }
                    _ => {
                        for follower in &mut followers {
                            follower.is_member |= follower.stands(group, Standing::Joins);
                        }
                        let waiting =
                            followers.iter().filter(|follower| follower.stands(group, Standing::Waits));
                        group = until(waiting.map(|follower| follower.place)).unwrap_or(log);
                        let members = followers.iter_mut().filter(|follower| follower.is_member);
                        members.for_each(|member| member.get(group));
                    }
                }
            }
            for follower in &followers {
                assert_eq!(follower.got, (follower.began..follower.place).collect::<Vec<_>>());
                assert!(!follower.is_member || follower.place == group);
            }
            assert!(followers.iter().any(|follower| follower.is_member));
        }
    }

    #[test]
    fn a_large_group_pauses() {
        for (deliveries, expected) in
            [(0, None), (99, None), (100, Some(1)), (5_000, Some(50)), (usize::MAX, Some(250))]
        {
            assert_eq!(pause_after(deliveries), expected.map(Duration::from_millis), "{deliveries}");
        }
    }
}
