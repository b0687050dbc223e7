//! The events of a batch that are not done.

use exesdb_packed::Frames;

use crate::bindings::store::dispatch::Delivered;
use crate::emitters::{Given, Taken};

/// Events that were taken from a subscription, from the first one that is not done.
pub(super) struct Batch {
    events: Vec<u8>,
    delivered: Vec<Delivered>,
    /// So many of them are done, and have so many bytes.
    done: (usize, usize),
}

impl Batch {
    pub(super) fn of(Taken { events, delivered }: Taken) -> Self {
        Self { events, delivered, done: (0, 0) }
    }

    fn rest(&self) -> &[Delivered] {
        &self.delivered[self.done.0..]
    }

    /// How many are not done.
    pub(super) fn len(&self) -> usize {
        self.rest().len()
    }

    /// The place of the first one that is not done.
    pub(super) fn first(&self) -> Option<u64> {
        self.rest().first().map(|delivered| delivered.place)
    }

    /// The places of the next ones, in their order.
    pub(super) fn places(&self, count: usize) -> Vec<u64> {
        self.rest().iter().take(count).map(|delivered| delivered.place).collect()
    }

    /// The ends of the places of the next ones; none if there are none.
    pub(super) fn given(&self, count: usize) -> Option<Given> {
        let places = self.places(count);
        Some(Given { first: *places.iter().min()?, last: *places.iter().max()? })
    }

    /// The next ones, packed, and how often each was delivered before.
    pub(super) fn head(&self, count: usize) -> (Vec<u8>, Vec<u32>) {
        let begin = self.done.1;
        let events = self.events[begin..begin + self.bytes(count)].to_vec();
        (events, self.rest().iter().take(count).map(|delivered| delivered.earlier).collect())
    }

    /// The next ones are done.
    pub(super) fn pass(&mut self, count: usize) {
        let bytes = self.bytes(count);
        self.done = (self.done.0 + count.min(self.len()), self.done.1 + bytes);
    }

    fn bytes(&self, count: usize) -> usize {
        let mut frames = Frames::new(&self.events[self.done.1..]);
        (&mut frames).take(count).for_each(drop);
        frames.at()
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Given, Taken};
    use crate::bindings::store::dispatch::Delivered;
    use crate::emitters::page;

    #[test]
    fn a_batch_is_passed_in_pieces() {
        let delivered = (3..8).map(|place| Delivered { place, earlier: 0 }).collect();
        let mut batch = Batch::of(Taken { events: page(3..8, 2), delivered });
        assert_eq!((batch.len(), batch.first()), (5, Some(3)));
        assert_eq!(batch.head(2), (page(3..5, 2), vec![0, 0]));
        batch.pass(2);
        assert_eq!((batch.len(), batch.first(), batch.places(2)), (3, Some(5), vec![5, 6]));
        assert_eq!(batch.given(9), Some(Given { first: 5, last: 7 }));
        assert_eq!(batch.head(9).0, page(5..8, 2));
        batch.pass(9);
        assert_eq!((batch.len(), batch.first(), batch.given(1)), (0, None, None));
    }
}
