//! A map from ranges of indexes to values.

use std::collections::BTreeMap;

/// A range of indexes that is not empty; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Ranges that do not overlap, each with a value. Neighbours with equal values are one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges<T> {
    /// By first index: the last one, and the value.
    by_first: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { by_first: BTreeMap::new() }
    }
}

impl<T: Clone + PartialEq> Ranges<T> {
    /// From the lowest index to the highest one, with whatever is between.
    pub(crate) fn hull(&self) -> Option<Span> {
        let (first, _) = self.by_first.first_key_value()?;
        let (_, (last, _)) = self.by_first.last_key_value()?;
        Some(Span { first: *first, last: *last })
    }

    /// All ranges, in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Span, &T)> {
        self.by_first.iter().map(|(first, (last, value))| (Span { first: *first, last: *last }, value))
    }

    /// The parts of ranges that lie within `span`, in order.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = (Span, &T)> {
        let from = self.by_first.range(..=span.first).next_back().map_or(span.first, |(first, _)| *first);
        self.by_first
            .range(from..=span.last.max(from))
            .filter(move |(first, (last, _))| *last >= span.first && **first <= span.last)
            .map(move |(first, (last, value))| {
                (Span { first: (*first).max(span.first), last: (*last).min(span.last) }, value)
            })
    }

    /// The parts of `span` that no range covers, in order.
    pub(crate) fn gaps(&self, span: Span) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut next = Some(span.first);
        for (part, _) in self.within(span) {
            let Some(from) = next else { break };
            if part.first > from {
                gaps.push(Span { first: from, last: part.first - 1 });
            }
            next = part.last.checked_add(1);
        }
        match next {
            Some(from) if from <= span.last => gaps.push(Span { first: from, last: span.last }),
            _ => {}
        }
        gaps
    }

    /// Gives `span` this value, whatever it had before. Returns the values of ranges that are gone with it.
    pub(crate) fn cover(&mut self, span: Span, value: T) -> Vec<T> {
        let mut gone = Vec::new();
        let overlapping: Vec<u64> = self.overlapping(span);
        for first in overlapping {
            let Some((last, old)) = self.by_first.remove(&first) else { continue };
            let (before, after) = (first < span.first, last > span.last);
            if before {
                self.by_first.insert(first, (span.first - 1, old.clone()));
            }
            if after {
                self.by_first.insert(span.last + 1, (last, old.clone()));
            }
            if !before && !after {
                gone.push(old);
            }
        }
        let Span { mut first, mut last } = span;
        if let Some((before, (end, of_before))) = self.by_first.range(..first).next_back()
            && *end + 1 == first
            && *of_before == value
        {
            first = *before;
        }
        if let Some((end, of_after)) = last.checked_add(1).and_then(|after| self.by_first.get(&after))
            && *of_after == value
        {
            let after = std::mem::replace(&mut last, *end);
            self.by_first.remove(&(after + 1));
        }
        self.by_first.insert(first, (last, value));
        gone
    }

    /// Removes all indexes from `from` on. Returns the values of ranges that are gone.
    pub(crate) fn cut_from(&mut self, from: u64) -> Vec<T> {
        let gone = self.by_first.split_off(&from);
        if let Some((_, (last, _))) = self.by_first.last_key_value()
            && *last >= from
            && let Some(mut entry) = self.by_first.last_entry()
        {
            entry.get_mut().0 = from - 1;
        }
        gone.into_values().map(|(_, value)| value).collect()
    }

    /// Removes all indexes below `below`. Returns the values of ranges that are gone.
    pub(crate) fn cut_below(&mut self, below: u64) -> Vec<T> {
        let kept = self.by_first.split_off(&below);
        let mut gone = std::mem::replace(&mut self.by_first, kept);
        if let Some((first, (last, value))) = gone.pop_last() {
            if last >= below {
                self.by_first.insert(below, (last, value));
            } else {
                gone.insert(first, (last, value));
            }
        }
        gone.into_values().map(|(_, value)| value).collect()
    }

    fn overlapping(&self, span: Span) -> Vec<u64> {
        let before = self.by_first.range(..span.first).next_back();
        let before = before.filter(|(_, (last, _))| *last >= span.first).map(|(first, _)| *first);
        before
            .into_iter()
            .chain(self.by_first.range(span.first..=span.last).map(|(first, _)| *first))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ranges, Span};

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    fn of(parts: &[(u64, u64, char)]) -> Ranges<char> {
        let mut ranges = Ranges::default();
        for (first, last, value) in parts {
            ranges.cover(span(*first, *last), *value);
        }
        ranges
    }

    fn parts(ranges: &Ranges<char>) -> Vec<(u64, u64, char)> {
        ranges.iter().map(|(span, value)| (span.first, span.last, *value)).collect()
    }

    #[test]
    fn a_range_replaces_what_it_covers() {
        type Parts = &'static [(u64, u64, char)];
        type Case = (Parts, (u64, u64, char), Parts, &'static str);
        let table: [Case; 9] = [
            (&[], (5, 9, 'a'), &[(5, 9, 'a')], ""),
            (&[(1, 4, 'a')], (5, 9, 'b'), &[(1, 4, 'a'), (5, 9, 'b')], ""),
            (&[(1, 4, 'a')], (5, 9, 'a'), &[(1, 9, 'a')], ""),
            (&[(1, 4, 'a')], (1, 4, 'b'), &[(1, 4, 'b')], "a"),
            (&[(1, 9, 'a')], (4, 6, 'b'), &[(1, 3, 'a'), (4, 6, 'b'), (7, 9, 'a')], ""),
            (
                &[(1, 3, 'a'), (4, 6, 'b'), (7, 9, 'c')],
                (2, 8, 'd'),
                &[(1, 1, 'a'), (2, 8, 'd'), (9, 9, 'c')],
                "b",
            ),
            (&[(1, 3, 'a'), (7, 9, 'a')], (4, 6, 'a'), &[(1, 9, 'a')], ""),
            (&[(4, 6, 'b')], (1, 9, 'c'), &[(1, 9, 'c')], "b"),
            (&[(4, 6, 'b'), (7, 7, 'c')], (0, 4, 'd'), &[(0, 4, 'd'), (5, 6, 'b'), (7, 7, 'c')], ""),
        ];
        for (before, (first, last, value), after, gone) in table {
            let mut ranges = of(before);
            assert_eq!(
                ranges.cover(span(first, last), value),
                gone.chars().collect::<Vec<_>>(),
                "{before:?}"
            );
            assert_eq!(parts(&ranges), after, "{before:?}");
        }
    }

    #[test]
    fn ranges_are_cut_at_either_end() {
        let all = [(1, 3, 'a'), (4, 6, 'b'), (7, 9, 'c')];
        let from = |index| {
            let mut ranges = of(&all);
            let gone: String = ranges.cut_from(index).into_iter().collect();
            (parts(&ranges), gone)
        };
        assert_eq!(from(10), (all.to_vec(), String::new()));
        assert_eq!(from(5), (vec![(1, 3, 'a'), (4, 4, 'b')], "c".into()));
        assert_eq!(from(4), (vec![(1, 3, 'a')], "bc".into()));
        assert_eq!(from(0), (vec![], "abc".into()));
        let below = |index| {
            let mut ranges = of(&all);
            let gone: String = ranges.cut_below(index).into_iter().collect();
            (parts(&ranges), gone)
        };
        assert_eq!(below(1), (all.to_vec(), String::new()));
        assert_eq!(below(5), (vec![(5, 6, 'b'), (7, 9, 'c')], "a".into()));
        assert_eq!(below(7), (vec![(7, 9, 'c')], "ab".into()));
        assert_eq!(below(20), (vec![], "abc".into()));
    }

    #[test]
    fn parts_and_gaps_of_a_span_are_found() {
        let ranges = of(&[(2, 3, 'a'), (6, 8, 'b')]);
        let within: Vec<_> =
            ranges.within(span(3, 7)).map(|(span, value)| (span.first, span.last, *value)).collect();
        assert_eq!(within, [(3, 3, 'a'), (6, 7, 'b')]);
        assert_eq!(ranges.within(span(4, 5)).count(), 0);
        assert_eq!(ranges.gaps(span(0, 10)), [span(0, 1), span(4, 5), span(9, 10)]);
        assert_eq!(ranges.gaps(span(2, 3)), []);
        assert_eq!(ranges.gaps(span(4, 5)), [span(4, 5)]);
        assert_eq!(ranges.hull(), Some(span(2, 8)));
        assert_eq!(of(&[]).hull(), None);
    }
}
