//! The room that the requests of one worker have together for bodies and held events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are left.
#[derive(Clone)]
pub(in crate::gateway) struct Room(Arc<AtomicUsize>);

/// There is not so much room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// What one owner has of the room; it is given back when it is dropped.
pub(super) struct Share {
    room: Room,
    bytes: usize,
}

impl Room {
    /// A room of so many bytes.
    pub(in crate::gateway) fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { room: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes more, or gives back, so that the share has so many bytes.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            let less = |left: usize| left.checked_sub(more);
            self.room.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| NoRoom)?;
        } else {
            self.room.0.fetch_add(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{NoRoom, Room};

    #[test]
    fn shares_are_taken_from_one_room_and_given_back() {
        let room = Room::of(10);
        let (mut first, mut second) = (room.share(), room.share());
        assert_eq!((first.set(7), second.set(4)), (Ok(()), Err(NoRoom)));
        assert_eq!((first.bytes(), second.bytes()), (7, 0));
        assert_eq!((first.set(6), second.set(4)), (Ok(()), Ok(())));
        assert_eq!(first.set(7), Err(NoRoom));
        drop(second);
        assert_eq!((first.set(10), first.set(11)), (Ok(()), Err(NoRoom)));
        drop(first);
        assert_eq!(room.share().set(10), Ok(()));
    }
}
