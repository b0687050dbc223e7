//! The groups as readers see them: everything that was accepted, synced or not.

use std::collections::BTreeMap;

use crate::group::Group;
use crate::held::Held;
use crate::ranges::Span;
use crate::record::Op;

/// A group, and what it holds.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) group: Group<Held>,
    /// Bytes of its entries, as the limits count them.
    pub(crate) held: u64,
    /// Entries that were synced are missing.
    pub(crate) is_broken: bool,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Views(BTreeMap<u64, View>);

impl Views {
    /// Views of groups that were found.
    pub(crate) fn of(groups: BTreeMap<u64, Group<Held>>) -> Self {
        let view = |group: Group<Held>| {
            let held = group.entries.iter().map(|(_, held)| held.counts()).sum();
            let is_broken = group.entries.iter().any(|(_, held)| held.is_missing());
            View { group, held, is_broken }
        };
        Self(groups.into_iter().map(|(id, group)| (id, view(group))).collect())
    }

    pub(crate) fn get(&self, group: u64) -> Option<&View> {
        self.0.get(&group)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &View)> {
        self.0.iter().map(|(id, view)| (*id, view))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Groups that lost entries.
    pub(crate) fn broken(&self) -> Vec<u64> {
        self.iter().filter(|(_, view)| view.is_broken).map(|(id, _)| id).collect()
    }

    /// Applies an operation that fits.
    pub(crate) fn apply(&mut self, group: u64, op: &Op, held: Option<&Held>) {
        if *op == Op::Remove {
            self.0.remove(&group);
            return;
        }
        let view = self.0.entry(group).or_default();
        let gone = view.group.apply(op, held.cloned().unwrap_or_else(Held::missing));
        view.held += held.map_or(0, Held::counts);
        view.held = view.held.saturating_sub(gone.iter().map(Held::counts).sum());
    }

    /// Replaces entries that were copied, unless they are gone by now.
    pub(crate) fn replace(&mut self, group: u64, span: Span, old: &Held, new: &Held) {
        let Some(view) = self.0.get_mut(&group) else { return };
        let parts = view.group.entries.within(span);
        let parts: Vec<Span> = parts.filter(|(_, held)| *held == old).map(|(part, _)| part).collect();
        for part in parts {
            let gone = view.group.entries.cover(part, new.clone());
            view.held += new.counts();
            view.held = view.held.saturating_sub(gone.iter().map(Held::counts).sum());
        }
    }
}
