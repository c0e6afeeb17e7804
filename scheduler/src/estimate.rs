//! What jobs of one kind take, learned from what they took.
//!
//! Of each figure the mean and the mean deviation are followed with gain 1/8 and 1/4, as TCP follows its round trips (Jacobson
//! 1988); the estimate is the mean plus two deviations. What was declared counts until [`ENOUGH`] jobs have ended, then what
//! was measured. A declaration that is off by more than half is reported once: in the numbers of its kind and in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use trimtab_config::ByteSize;

use crate::clock::{Nanos, duration};
use crate::job::Cost;

/// From so many jobs on, measurements count more than declarations.
pub const ENOUGH: u64 = 8;
/// So many kinds are told apart; the rest is counted as `other`.
pub const KINDS_MAX: usize = 256;

/// A figure, followed.
#[derive(Debug, Clone, Copy, Default)]
struct Followed {
    mean: f64,
    deviation: f64,
}

impl Followed {
    fn add(&mut self, value: f64, first: bool) {
        if first {
            *self = Self { mean: value, deviation: value / 4.0 };
        } else {
            let error = value - self.mean;
            self.mean += error / 8.0;
            self.deviation += (error.abs() - self.deviation) / 4.0;
        }
    }

    /// Seldom exceeded.
    fn high(self) -> f64 {
        self.mean + 2.0 * self.deviation
    }
}

#[derive(Debug, Default)]
struct Learned {
    ended: u64,
    failed: u64,
    run: Followed,
    share: Followed,
    memory: Followed,
    memory_known: bool,
    declared: Option<Cost>,
    reported: bool,
}

/// What one job took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// From start to end.
    pub(crate) run: Nanos,
    /// On a processor.
    pub(crate) busy: Nanos,
    /// Bytes held at most, where they are counted.
    pub(crate) memory: Option<u64>,
    pub(crate) failed: bool,
}

/// One kind of jobs.
#[derive(Debug)]
pub(crate) struct Kind {
    name: Box<str>,
    learned: Mutex<Learned>,
}

impl Kind {
    fn new(name: &str) -> Self {
        Self { name: name.into(), learned: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the next job of this kind is admitted with.
    pub(crate) fn estimate(&self, declared: Option<Cost>, default: Cost) -> Cost {
        let mut learned = self.learned.lock();
        learned.declared = declared.or(learned.declared);
        let assumed = declared.unwrap_or(default);
        if learned.ended < ENOUGH {
            return assumed;
        }
        let memory = if learned.memory_known { learned.memory.high() as u64 } else { assumed.memory_bytes() };
        // A lane that does not count processors by default does not begin to because a job has a name.
        let counts = declared.is_some_and(|cost| cost.milli() > 0) || default.milli() > 0;
        let milli = if counts { (learned.share.high().clamp(0.01, 1.0) * 1000.0) as u32 } else { 0 };
        Cost::raw(milli, memory)
    }

    /// How long a job of this kind runs, if that is known.
    pub(crate) fn run(&self) -> Option<Nanos> {
        let learned = self.learned.lock();
        (learned.ended >= ENOUGH).then_some(learned.run.mean as Nanos)
    }

    pub(crate) fn learn(&self, taken: Taken) {
        let Taken { run, busy, memory, failed } = taken;
        let mut learned = self.learned.lock();
        let first = learned.ended == 0;
        learned.ended += 1;
        learned.failed += u64::from(failed);
        learned.run.add(run as f64, first);
        learned.share.add((busy as f64 / run.max(1) as f64).min(1.0), first);
        if let Some(memory) = memory {
            let first = !learned.memory_known;
            learned.memory_known = true;
            learned.memory.add(memory as f64, first);
        }
        if learned.ended >= ENOUGH
            && !learned.reported
            && let Some(off) = off(&learned)
        {
            learned.reported = true;
            let (declared, measured) = off;
            drop(learned);
            tracing::warn!(kind = &*self.name, %declared, %measured, "the declared cost is off; measurements count instead");
        }
    }

    pub(crate) fn stats(&self) -> KindStats {
        let learned = self.learned.lock();
        let measured = measured(&learned);
        KindStats {
            name: self.name.to_string(),
            ended: learned.ended,
            failed: learned.failed,
            run: duration(learned.run.mean as Nanos),
            cpu: learned.share.mean,
            memory: learned.memory_known.then(|| measured.bytes()),
            declared_cpu: learned.declared.map(Cost::cores),
            declared_memory: learned.declared.map(Cost::bytes),
            off: learned.ended >= ENOUGH && off(&learned).is_some(),
        }
    }
}

fn measured(learned: &Learned) -> Cost {
    Cost::cpu(learned.share.mean).with_memory(ByteSize::b(learned.memory.mean as u64))
}

/// What was declared and what was measured, if they are far apart.
fn off(learned: &Learned) -> Option<(Cost, Cost)> {
    let declared = learned.declared?;
    let measured = measured(learned);
    let apart =
        |declared: f64, measured: f64| declared > 0.0 && (measured > declared * 1.5 || measured < declared / 1.5);
    let memory = learned.memory_known && apart(declared.memory_bytes() as f64, measured.memory_bytes() as f64);
    (apart(declared.cores(), measured.cores()) || memory).then_some((declared, measured))
}

/// What jobs of one kind took, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KindStats {
    /// Its name.
    pub name: String,
    /// Jobs that ended after they ran, each try of those that were tried again for itself.
    pub ended: u64,
    /// Those of them that failed or panicked.
    pub failed: u64,
    /// From start to end, followed mean.
    pub run: Duration,
    /// Processors taken while running, followed mean.
    pub cpu: f64,
    /// Bytes held at most, followed mean; absent where nobody counts them.
    pub memory: Option<ByteSize>,
    /// Processors declared last.
    pub declared_cpu: Option<f64>,
    /// Memory declared last.
    pub declared_memory: Option<ByteSize>,
    /// Whether the declaration is off by more than half.
    pub off: bool,
}

/// All kinds, by name.
#[derive(Debug, Default)]
pub(crate) struct Kinds(RwLock<HashMap<Box<str>, Arc<Kind>>>);

impl Kinds {
    pub(crate) fn get(&self, name: &str) -> Arc<Kind> {
        if let Some(kind) = self.0.read().get(name) {
            return Arc::clone(kind);
        }
        let mut kinds = self.0.write();
        let name = if kinds.len() >= KINDS_MAX && !kinds.contains_key(name) { "other" } else { name };
        Arc::clone(kinds.entry(name.into()).or_insert_with(|| Arc::new(Kind::new(name))))
    }

    /// In the order of their names.
    pub(crate) fn stats(&self) -> Vec<KindStats> {
        let mut all: Vec<KindStats> = self.0.read().values().map(|kind| kind.stats()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(run: Nanos, busy: Nanos) -> Taken {
        Taken { run, busy, memory: Some(1 << 20), failed: false }
    }

    #[test]
    fn a_declaration_counts_until_enough_was_measured() {
        let kind = Kind::new("render");
        let declared = Cost::cpu(1.0).with_memory(ByteSize::mib(100));
        for _ in 0..ENOUGH {
            assert_eq!(kind.estimate(Some(declared), Cost::NONE), declared);
            kind.learn(taken(1_000_000, 200_000));
        }
        let learned = kind.estimate(Some(declared), Cost::NONE);
        assert!(learned.cores() >= 0.2 && learned.cores() < 0.4, "{learned}");
        assert!(learned.bytes() >= ByteSize::mib(1) && learned.bytes() < ByteSize::mib(2), "{learned}");
        assert!(kind.stats().off);
    }

    #[test]
    fn kinds_beyond_the_bound_are_counted_together() {
        let kinds = Kinds::default();
        for n in 0..KINDS_MAX + 9 {
            kinds.get(&format!("kind-{n}"));
        }
        assert_eq!(kinds.stats().len(), KINDS_MAX + 1);
        assert_eq!(kinds.get("yet another").name(), "other");
    }
}
