//! A loss of power: what it leaves of changes that were not synced.

use std::sync::Arc;

use exesdb_test_support::Rng;

use super::bytes::{Bytes, PAGE};
use super::image::{Change, Content, Image};

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

/// What a loss of power leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Unsynced,
    /// Pages, sizes at random; of the changes of names, the first so many: a journal of metadata is written in order.
    Pages,
    /// All but the last writes; of those, sectors of 512 bytes at random.
    Torn,
    /// All but renames.
    Renames,
}

impl Cut {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Unsynced, Self::Pages, Self::Torn, Self::Renames];
}

impl Image {
    /// Cuts the power. What is seen afterwards is durable.
    pub(super) fn cut(&mut self, cut: Cut, random: &mut Rng) {
        let kept = match cut {
            Cut::Unsynced => Vec::new(),
            Cut::Pages => {
                let count = random.u64(..self.open_changes.len() as u64 + 1);
                self.open_changes[..count as usize].to_vec()
            }
            Cut::Torn => self.open_changes.clone(),
            Cut::Renames => {
                let stays = |change: &&Change| !matches!(change, Change::Rename { .. });
                self.open_changes.iter().filter(stays).cloned().collect()
            }
        };
        self.apply(&kept);
        let intact = self.intact_writes(random);
        for node in self.nodes.values_mut() {
            let Content::File { now, durable, changed } = &mut node.content else { continue };
            // Of a file whose last name was removed, what programs saw is gone, also if the removal does not last.
            if node.links == 0 {
                continue;
            }
            match cut {
                Cut::Unsynced => {}
                Cut::Pages => {
                    let keep = changed.keys().copied().filter(|_| random.bool());
                    keep.collect::<Vec<u64>>().into_iter().for_each(|page| durable.take(page, now));
                    let size = if random.bool() { durable.size } else { now.size };
                    // Pages beyond a size that stayed old are not part of the file.
                    durable.size = durable.size.max(now.size);
                    durable.cut_to(size);
                }
                Cut::Torn => {
                    for (page, write) in changed.iter() {
                        if *write <= intact {
                            durable.take(*page, now);
                        } else {
                            durable.take_sectors(*page, now, random);
                        }
                    }
                    durable.size = now.size;
                }
                Cut::Renames => {
                    changed.keys().for_each(|page| durable.take(*page, now));
                    durable.size = now.size;
                }
            }
        }
        self.restart();
    }

    /// The number of a write, at random among those not synced: it and those before it are whole.
    fn intact_writes(&self, random: &mut Rng) -> u64 {
        let mut open: Vec<u64> = Vec::new();
        for node in self.nodes.values() {
            if let Content::File { changed, .. } = &node.content {
                open.extend(changed.values());
            }
        }
        open.sort_unstable();
        if open.is_empty() { 0 } else { open[random.usize(..open.len())].saturating_sub(1) }
    }
}

impl Bytes {
    /// Takes some of a page's sectors over.
    fn take_sectors(&mut self, page: u64, newer: &Self, random: &mut Rng) {
        let Some(new) = newer.pages.get(&page) else { return };
        let old = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
        let old = Arc::make_mut(old);
        for (old, new) in old.chunks_mut(SECTOR).zip(new.chunks(SECTOR)) {
            if random.bool() {
                old.copy_from_slice(new);
            }
        }
    }
}
