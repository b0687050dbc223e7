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

/// Deliveries after which the tasks that they woke get a turn, and those of requests: each writes to a socket, which takes about
/// 5 us.
const DELIVERIES_OF_A_TURN: u32 = 10;

/// Deliveries after which a group pauses for [`PAUSE`]. So deliveries take about half of one processor, however many followers
/// there are: pages of many get longer, and appends find the processors free.
const DELIVERIES_OF_A_PAUSE: u32 = 100;

/// The shortest time that a timer waits.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// Counts the deliveries of a group.
#[derive(Debug, Default)]
pub(super) struct Pace(u32);

/// What a group does after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It goes on.
    Goes,
    /// It lets others have a turn.
    Yields,
    /// It pauses.
    Pauses,
}

impl Pace {
    /// One more delivery was made.
    pub(super) fn delivered(&mut self) -> Next {
        self.0 = (self.0 + 1) % DELIVERIES_OF_A_PAUSE;
        match self.0 {
            0 => Next::Pauses,
            sent if sent % DELIVERIES_OF_A_TURN == 0 => Next::Yields,
            _ => Next::Goes,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::{Next, Pace, Standing, standing, until};

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
    fn a_group_gives_others_a_turn_and_pauses() {
        let mut pace = Pace::default();
        let nexts: Vec<Next> = (0..1_000).map(|_| pace.delivered()).collect();
        let count = |next| nexts.iter().filter(|other| **other == next).count();
        assert_eq!((count(Next::Goes), count(Next::Yields), count(Next::Pauses)), (900, 90, 10));
        assert_eq!(
            (nexts[0], nexts[9], nexts[98], nexts[99]),
            (Next::Goes, Next::Yields, Next::Goes, Next::Pauses)
        );
    }
}
