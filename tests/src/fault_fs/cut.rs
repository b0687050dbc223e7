//! A loss of power, and the changes that survive it without a sync.

use std::sync::Arc;

use exesdb_test_support::Rng;

use super::bytes::{Bytes, PAGE};
use super::image::{Change, Content, Image};

/// The size of a sector in bytes. A disk writes a sector as a whole.
const SECTOR: usize = 512;

/// The changes that survive a loss of power, although they were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// None.
    Unsynced,
    /// Random pages and sizes. Of the changes of names a prefix: a journal of metadata is written in order.
    Pages,
    /// All but the last writes; of those, random sectors.
    Torn,
    /// All except renames.
    Renames,
}

impl Cut {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Unsynced, Self::Pages, Self::Torn, Self::Renames];
}

impl Image {
    /// Cuts the power. After that, everything visible is durable.
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
            // The visible content of a file without a name is lost, even if the removal of the name is, too.
            if node.links == 0 {
                continue;
            }
            match cut {
                Cut::Unsynced => {}
                Cut::Pages => {
                    let keep = changed.keys().copied().filter(|_| random.bool());
                    keep.collect::<Vec<u64>>().into_iter().for_each(|page| durable.take(page, now));
                    let size = if random.bool() { durable.size } else { now.size };
                    // Pages beyond the size, if the old size survives, are not part of the file.
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

    /// The number of a random write that was not synced: it and those before it are intact.
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
    /// Copies random sectors of a page.
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
