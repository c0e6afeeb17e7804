//! Fewer slots: live entries come down to free slots, what lies above them is freed, and the index is made anew.
//!
//! ```text
//! tokens  0 … ceiling … next          live entries above the ceiling go to free tokens below it, a few at a time;
//!         [##.#.#..|#..#....#.]       then `next` comes down to the ceiling, and whole chunks above it are freed
//! ```
//!
//! An entry cannot be in two slots, so for the trip it is out of the index: a search that misses meanwhile notices, see
//! invariant 5 of [`arena`](super). Between two steps the lock is free; writers find an arena in order, but for tokens above the
//! ceiling that they no longer get back. The index is the exception: like its growth, its renewal is one step.

use super::super::sync::SPARE;
use super::{FIRST_ROOM, Garbage, Locked, Slab};

/// Slots that are looked at under one hold of the lock.
const LOOK_MOST: usize = 4096;
/// How often readers may be in the way of one step before it is given up.
const ATTEMPTS: u32 = 256;
/// What is worth a compaction: free slots beside this part of the live ones and [`SPARE`].
const SPARE_PART: usize = 8;

/// How far a compaction has come.
#[derive(Debug)]
pub(crate) struct Step {
    /// Entries from here on have been looked at.
    cursor: u32,
    attempts: u32,
}

impl<K, V, X> Locked<'_, K, V, X> {
    /// Begins to compact the slots; `None` when it is not worth it or under way already.
    pub(crate) fn begin_compaction(&mut self) -> Option<Step> {
        let writer = &mut *self.writer;
        let ceiling = writer.len + writer.len / SPARE_PART + SPARE;
        if writer.ceiling != u32::MAX || writer.next as usize <= ceiling + SPARE {
            return None;
        }
        writer.ceiling = u32::try_from(ceiling).ok()?;
        writer.free.retain(|token| (*token as usize) < ceiling);
        Some(Step { cursor: writer.next, attempts: 0 })
    }

    /// Moves some entries below the ceiling, telling `renamed` of each; answers whether to go on after a pause.
    pub(crate) fn compact(
        &mut self,
        step: &mut Step,
        most: usize,
        mut renamed: impl FnMut(&mut X, &Slab<K, V>, u32, u32),
    ) -> bool {
        let (mut pairs, from) = (Vec::new(), step.cursor.min(self.writer.next));
        step.cursor = from;
        for _ in 0..LOOK_MOST {
            if step.cursor <= self.writer.ceiling || pairs.len() == most {
                break;
            }
            if self.is_live(step.cursor - 1) {
                let Some(to) = self.writer.free.pop() else {
                    // The cache grows meanwhile.
                    step.cursor = 0;
                    break;
                };
                pairs.push((step.cursor - 1, to));
            }
            step.cursor -= 1;
        }
        if !pairs.is_empty() && !self.carry(&pairs) {
            self.writer.free.extend(pairs.iter().map(|(_, to)| *to));
            (step.cursor, step.attempts) = (from, step.attempts + 1);
            return step.attempts < ATTEMPTS;
        }
        step.attempts = 0;
        let (state, slab) = self.parts();
        for (old, new) in &pairs {
            renamed(state, slab, *old, *new);
        }
        step.cursor > self.writer.ceiling
    }

    /// Frees some of the slots above the ceiling; answers whether to go on after a pause.
    pub(crate) fn release(&mut self, garbage: &mut Garbage<K, V>) -> bool {
        self.collect_all(garbage);
        self.truncate(LOOK_MOST)
    }

    /// Ends a compaction that was begun: tokens above the ceiling that are left are given out again.
    pub(crate) fn end_compaction(&mut self) {
        let writer = &mut *self.writer;
        let ceiling = std::mem::replace(&mut writer.ceiling, u32::MAX);
        let left = (ceiling..writer.next).filter(|token| !writer.slab.slot(*token).flag(super::HELD));
        writer.free.extend(left);
    }

    /// Makes a smaller index if that halves it at least, and gives back what lists have too much; the number of tokens.
    pub(crate) fn trim(&mut self, garbage: &mut Garbage<K, V>) -> u32 {
        let len = self.writer.len;
        let entries = (len + len / SPARE_PART).max(FIRST_ROOM);
        if self.index().is_some_and(|index| index.table.room() >= 2 * entries.max(2 * FIRST_ROOM)) {
            self.grow(entries);
        }
        self.collect_all(garbage);
        self.compact_if_empty();
        let writer = &mut *self.writer;
        writer.free.shrink_to_fit();
        writer.fresh.shrink_to_fit();
        writer.aging.shrink_to_fit();
        writer.next
    }
}
