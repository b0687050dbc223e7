//! Figures of several rounds. On a machine that does other work too, the median and the range say more than a mean.

use serde::Serialize;

/// The median of some figures, and the least and the most of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without figures. Of an even number of figures, the median is the mean of the two in the middle.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self { median, least, most })
    }

    /// The ratios of figures that were measured in the same round. They are taken round by round, because what disturbs
    /// a round disturbs both of its figures.
    pub(crate) fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        Self::of(pairs.into_iter().map(|(figure, compared)| figure / compared))
    }

    /// The median with the range, as in `0.62 (0.58-0.71)`.
    pub(crate) fn text(&self) -> String {
        let Self { median, least, most } = self;
        format!("{median:.2} ({least:.2}-{most:.2})")
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    fn spread(median: f64, least: f64, most: f64) -> Option<Spread> {
        Some(Spread { median, least, most })
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let table: [(&[f64], Option<Spread>); 6] = [
            (&[], None),
            (&[3.0], spread(3.0, 3.0, 3.0)),
            (&[4.0, 1.0], spread(2.5, 1.0, 4.0)),
            (&[9.0, 1.0, 2.0], spread(2.0, 1.0, 9.0)),
            (&[8.0, 1.0, 100.0, 2.0], spread(5.0, 1.0, 100.0)),
            (&[5.0, 5.0, 0.5, 5.0, 7.0], spread(5.0, 0.5, 7.0)),
        ];
        for (figures, expected) in table {
            assert_eq!(Spread::of(figures.iter().copied()), expected, "{figures:?}");
        }
    }

    type Pairs = &'static [(f64, f64)];

    #[test]
    fn ratios_are_taken_round_by_round() {
        let table: [(Pairs, Option<Spread>); 3] = [
            (&[], None),
            (&[(1.0, 4.0)], spread(0.25, 0.25, 0.25)),
            // The medians of the figures are 10 and 20; their ratio is that of no round.
            (&[(10.0, 5.0), (4.0, 20.0), (30.0, 40.0)], spread(0.75, 0.2, 2.0)),
        ];
        for (pairs, expected) in table {
            assert_eq!(Spread::of_ratios(pairs.iter().copied()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_spread_is_written_as_median_and_range() {
        assert_eq!(
            spread(0.621, 0.578, 12.0).map(|spread| spread.text()).as_deref(),
            Some("0.62 (0.58-12.00)")
        );
    }
}
