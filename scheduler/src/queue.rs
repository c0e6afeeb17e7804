//! Who starts next: five priorities, the earliest deadline first inside each, and a turn now and then for who has waited long.
//!
//! Each priority has a queue of jobs in the order they came, and an ordered map of those with a deadline, which go first. Every
//! [`TURN`]th start belongs to the job that has waited longest, if it has waited longer than the lane's patience and is not the
//! next anyway. So a job behind `n` longer waiting ones starts after at most `TURN` × (`n` + 1) starts, whatever arrives.
//! Rejected: letting priority rise with age. After some seconds of overload everything is old, and what is urgent queues
//! behind all of it.
//!
//! Choosing costs five looks, the map `O(log n)`. A job that was cancelled leaves a shell behind, skipped when its turn comes;
//! the queue is swept when shells outnumber jobs.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::{NEVER, Nanos};

/// Every so manyth start belongs to the job that has waited longest.
pub(crate) const TURN: u8 = 8;
const LEVELS: usize = 5;
/// So many shells are kept without a look.
const SHELLS: usize = 64;

/// What the queue must know of its elements.
pub(crate) trait Queued {
    /// When it came.
    fn submitted(&self) -> Nanos;
    /// When it must have started; [`NEVER`] for none.
    fn deadline(&self) -> Nanos;
    /// 0 is the most important, 4 the least.
    fn level(&self) -> usize;
    /// Bytes that it holds.
    fn weight(&self) -> u64;
    /// Whether it still waits.
    fn live(&self) -> bool;
}

#[derive(Debug)]
struct Level<T> {
    fifo: VecDeque<T>,
    dated: BTreeMap<(Nanos, u64), T>,
}

/// A choice, good until the queue changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) level: usize,
    dated: bool,
    /// Taken for having waited long.
    pub(crate) aged: bool,
}

/// Jobs that wait for their turn.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    levels: [Level<T>; LEVELS],
    live: [usize; LEVELS],
    len: usize,
    bytes: u64,
    shells: usize,
    sequence: u64,
    patience: Nanos,
    turn: u8,
}

impl<T: Queued> Queue<T> {
    pub(crate) fn new(patience: Nanos) -> Self {
        Self {
            levels: std::array::from_fn(|_| Level { fifo: VecDeque::new(), dated: BTreeMap::new() }),
            live: [0; LEVELS],
            len: 0,
            bytes: 0,
            shells: 0,
            sequence: 0,
            patience,
            turn: 0,
        }
    }

    pub(crate) fn set_patience(&mut self, patience: Nanos) {
        self.patience = patience;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many wait, from the most important to the least.
    pub(crate) fn live(&self) -> [usize; LEVELS] {
        self.live
    }

    pub(crate) fn push(&mut self, item: T) {
        let level = item.level();
        self.len += 1;
        self.live[level] += 1;
        self.bytes += item.weight();
        match item.deadline() {
            NEVER => self.levels[level].fifo.push_back(item),
            deadline => {
                self.sequence += 1;
                self.levels[level].dated.insert((deadline, self.sequence), item);
            }
        }
    }

    /// Takes shells off the front of a level. True if a job is left.
    fn tidy(&mut self, level: usize) -> bool {
        if self.live[level] == 0 && self.shells == 0 {
            return false;
        }
        let Level { fifo, dated } = &mut self.levels[level];
        while fifo.front().is_some_and(|item| !item.live()) {
            fifo.pop_front();
            self.shells -= 1;
        }
        while let Some(first) = dated.first_entry() {
            if first.get().live() {
                break;
            }
            first.remove();
            self.shells -= 1;
        }
        self.live[level] > 0
    }

    /// Whose turn it is among the levels above `below` (0 to 5), or nobody's.
    pub(crate) fn pick(&mut self, now: Nanos, below: usize) -> Option<Pick> {
        let aged = if self.turn + 1 >= TURN { self.oldest(now, below) } else { None };
        aged.or_else(|| self.foremost(below))
    }

    /// The most important.
    pub(crate) fn foremost(&mut self, below: usize) -> Option<Pick> {
        let level = (0..below).find(|level| self.tidy(*level))?;
        Some(Pick { level, dated: !self.levels[level].dated.is_empty(), aged: false })
    }

    /// The one that has waited longest beyond the patience.
    fn oldest(&mut self, now: Nanos, below: usize) -> Option<Pick> {
        let mut oldest: Option<(Nanos, usize)> = None;
        for level in 0..below {
            if self.tidy(level)
                && let Some(front) = self.levels[level].fifo.front()
                && oldest.is_none_or(|(since, _)| front.submitted() < since)
            {
                oldest = Some((front.submitted(), level));
            }
        }
        let (since, level) = oldest?;
        (now.saturating_sub(since) > self.patience).then_some(Pick { level, dated: false, aged: true })
    }

    pub(crate) fn peek(&self, pick: Pick) -> Option<&T> {
        let level = &self.levels[pick.level];
        if pick.dated { level.dated.first_key_value().map(|(_, item)| item) } else { level.fifo.front() }
    }

    /// Takes the choice out, as one that starts.
    pub(crate) fn take(&mut self, pick: Pick) -> Option<T> {
        let level = &mut self.levels[pick.level];
        let item = if pick.dated { level.dated.pop_first().map(|(_, item)| item) } else { level.fifo.pop_front() }?;
        self.turn = if pick.aged { 0 } else { (self.turn + 1).min(TURN) };
        self.gone(&item);
        Some(item)
    }

    fn gone(&mut self, item: &T) {
        self.len -= 1;
        self.live[item.level()] -= 1;
        self.bytes -= item.weight();
    }

    /// Takes out one whose deadline has come; `soon` says how long before its deadline a job is hopeless.
    pub(crate) fn expired(&mut self, now: Nanos, soon: impl Fn(&T) -> Nanos) -> Option<T> {
        for level in 0..LEVELS {
            if self.levels[level].dated.is_empty() || !self.tidy(level) {
                continue;
            }
            let first = self.levels[level].dated.first_entry();
            if let Some(first) = first
                && first.key().0 <= now.saturating_add(soon(first.get()))
            {
                let item = first.remove();
                self.gone(&item);
                return Some(item);
            }
        }
        None
    }

    /// Takes out the least important that is less important than `level`: of several, the one without a deadline that came
    /// last; where all have one, the one with the latest.
    pub(crate) fn least(&mut self, level: usize) -> Option<T> {
        let victim = (level + 1..LEVELS).rev().find(|level| self.tidy(*level))?;
        let level = &mut self.levels[victim];
        while let Some(item) = level.fifo.pop_back() {
            if item.live() {
                self.gone(&item);
                return Some(item);
            }
            self.shells -= 1;
        }
        while let Some((_, item)) = level.dated.pop_last() {
            if item.live() {
                self.gone(&item);
                return Some(item);
            }
            self.shells -= 1;
        }
        None
    }

    /// Notes that `item`, still in here, was ended by somebody else and is a shell from now on.
    pub(crate) fn forget(&mut self, item: &T) {
        self.gone(item);
        self.shells += 1;
        if self.shells > SHELLS && self.shells > self.len {
            for level in &mut self.levels {
                level.fifo.retain(T::live);
                level.dated.retain(|_, item| item.live());
            }
            self.shells = 0;
        }
    }

    /// Takes out everything that waits.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len);
        for level in &mut self.levels {
            all.extend(std::mem::take(&mut level.dated).into_values().filter(T::live));
            all.extend(std::mem::take(&mut level.fifo).into_iter().filter(T::live));
        }
        (self.live, self.len, self.bytes, self.shells) = ([0; LEVELS], 0, 0, 0);
        all
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.levels.iter().flat_map(|level| level.dated.values().chain(&level.fifo)).filter(|item| item.live())
    }
}

#[cfg(test)]
mod tests;
