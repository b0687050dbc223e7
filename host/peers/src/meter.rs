//! How much is on its way.

use std::sync::Arc;

use parking_lot::Mutex;

/// Counts frames and their bytes, up to a limit of each.
pub(crate) struct Meter {
    frames_max: usize,
    bytes_max: usize,
    used: Mutex<Used>,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// A frame that is on its way, until this is dropped.
pub(crate) struct Permit {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Meter {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { frames_max, bytes_max, used: Mutex::default() })
    }

    /// Counts a frame. One that is larger than the limit has to be alone.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut used = self.used.lock();
        let fits = used.frames < self.frames_max
            && (used.bytes == 0 || used.bytes.saturating_add(bytes) <= self.bytes_max);
        fits.then(|| {
            used.frames += 1;
            used.bytes += bytes;
            Permit { meter: Arc::clone(self), bytes }
        })
    }

    pub(crate) fn used(&self) -> Used {
        *self.used.lock()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.meter.used.lock();
        used.frames -= 1;
        used.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::{Meter, Used};

    #[test]
    fn what_is_on_its_way_is_bounded_and_one_large_frame_goes_alone() {
        let meter = Meter::new(2, 100);
        let first = meter.admit(60).expect("it fits");
        assert!(meter.admit(41).is_none());
        let second = meter.admit(40).expect("it fits");
        assert!(meter.admit(0).is_none(), "no third frame");
        drop(first);
        assert!(meter.admit(1_000).is_none());
        drop(second);
        let large = meter.admit(1_000).expect("it is alone");
        assert!(meter.admit(1).is_none());
        assert_eq!(meter.used(), Used { frames: 1, bytes: 1_000 });
        drop(large);
        assert_eq!(meter.used(), Used::default());
    }
}
