//! The budget's promises, against caches that exist in numbers only.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

/// A cache that does what it is told, except that it may refuse to be made smaller than a certain size.
#[derive(Debug)]
struct Fake {
    name: String,
    limit: Cell<u64>,
    floor: u64,
    lookups: Cell<u64>,
    ratios: [f64; 7],
    /// The largest sum of all limits that was ever seen, by the books of all.
    peak: Arc<Mutex<(BTreeMap<String, u64>, u64)>>,
}

impl Account for &Fake {
    fn name(&self) -> &str {
        &self.name
    }
    fn limit(&self) -> Option<u64> {
        Some(self.limit.get())
    }
    fn set_limit(&self, bytes: u64) -> Result<(), String> {
        if bytes < self.floor {
            return Err("smaller than one entry".to_string());
        }
        self.limit.set(bytes);
        self.note();
        Ok(())
    }
    fn weight(&self) -> u64 {
        self.limit.get()
    }
    fn entries(&self) -> u64 {
        self.limit.get() / 1024
    }
    fn lookups(&self) -> u64 {
        self.lookups.get()
    }
    fn loads(&self) -> (u64, f64) {
        (0, 0.0)
    }
    fn curve(&self) -> Option<Curve> {
        Some(Curve::of_ratios(self.ratios, 0.002, self.limit.get()))
    }
}

impl Fake {
    fn note(&self) {
        let mut peak = self.peak.lock();
        peak.0.insert(self.name.clone(), self.limit.get());
        let sum = peak.0.values().sum();
        peak.1 = peak.1.max(sum);
    }
}

const TOTAL: u64 = 10 << 20;

fn state() -> State {
    let budget = MemoryBudget::new(ByteSize::b(TOTAL));
    budget.set_interval(Duration::from_secs(1));
    budget.state.into_inner()
}

prop_compose! {
    fn ratios()(steps in proptest::array::uniform7(0.0..0.14_f64)) -> [f64; 7] {
        let mut sum = 0.0;
        steps.map(|step| { sum += step; sum })
    }
}

proptest! {
    #[test]
    fn limits_stay_within_the_budget_and_the_bounds_at_every_moment(
        curves in proptest::collection::vec((ratios(), 1_u64..20 << 20, 0_u64..1 << 20, 100_u64..100_000), 1..6),
    ) {
        let peak = Arc::new(Mutex::new((BTreeMap::new(), 0)));
        let fakes: Vec<_> = curves.iter().enumerate().map(|(at, (ratios, limit, _, _))| Fake {
            name: format!("c{at}"),
            limit: Cell::new(*limit),
            floor: 0,
            lookups: Cell::new(0),
            ratios: *ratios,
            peak: Arc::clone(&peak),
        }).collect();
        let mut state = state();
        for (fake, (_, _, min, _)) in fakes.iter().zip(&curves) {
            let bounds = Bounds { min: Some(ByteSize::b(*min)), max: Some(ByteSize::b(8 << 20)), weight: None };
            state.bounds.insert(fake.name.clone(), bounds);
        }
        let all: Vec<&Fake> = fakes.iter().collect();
        state.tick(&all, Duration::ZERO);
        // They came with what they liked; from now on every change is watched.
        for fake in &fakes {
            fake.note();
        }
        peak.lock().1 = 0;
        for second in 1..60 {
            for (fake, (_, _, _, lookups)) in fakes.iter().zip(&curves) {
                fake.lookups.set(fake.lookups.get() + lookups);
            }
            let decision = state.tick(&all, Duration::from_secs(second));
            prop_assert!(peak.lock().1 <= TOTAL);
            for (fake, (_, _, min, _)) in fakes.iter().zip(&curves) {
                prop_assert!((*min..=8 << 20).contains(&fake.limit.get()), "{fake:?}");
                prop_assert_eq!(state.members[&fake.name].limit, fake.limit.get());
            }
            if let Some(decision) = decision {
                prop_assert!(decision.bytes <= TOTAL / 50 && decision.saved > decision.paid);
                prop_assert!(decision.saved - decision.paid > 2.0 * decision.error);
                prop_assert!(decision.from.as_ref() != Some(&decision.to));
            }
        }
        // Who got does not give soon after, and the reverse.
        let moves: Vec<_> = state.decisions.iter().collect();
        for (at, early) in moves.iter().enumerate() {
            for late in &moves[at + 1..] {
                if late.at_seconds - early.at_seconds <= REST as f64 {
                    prop_assert!(late.from.as_ref() != Some(&early.to) && early.from.as_ref() != Some(&late.to));
                }
            }
        }
    }
}

fn fake(name: &str, limit: u64, floor: u64) -> Fake {
    let peak = Arc::new(Mutex::new((BTreeMap::new(), 0)));
    Fake { name: name.to_string(), limit: Cell::new(limit), floor, lookups: Cell::new(0), ratios: [0.5; 7], peak }
}

#[test]
fn a_newcomer_makes_all_give_in_proportion() {
    let (one, two) = (fake("one", 8 << 20, 0), fake("two", 8 << 20, 0));
    let mut state = state();
    state.tick(&[&one], Duration::ZERO);
    assert_eq!((one.limit.get(), state.free()), (8 << 20, 2 << 20));
    state.tick(&[&one, &two], Duration::from_secs(1));
    assert_eq!((one.limit.get(), two.limit.get(), state.free()), (5 << 20, 5 << 20, 0));
    state.tick(&[&two], Duration::from_secs(2));
    assert_eq!(state.free(), 5 << 20, "what has gone leaves its bytes");
}

#[test]
fn a_cache_that_cannot_shrink_is_told_and_the_others_pay() {
    let (stubborn, other) = (fake("a", 9 << 20, 9 << 20), fake("b", 1 << 20, 0));
    let mut state = state();
    state.bounds.insert("b".to_string(), Bounds { min: Some(ByteSize::mib(4)), ..Bounds::default() });
    state.tick(&[&stubborn, &other], Duration::ZERO);
    assert_eq!((stubborn.limit.get(), other.limit.get()), (9 << 20, 1 << 20));
    assert!(state.left_out["a"].contains("smaller than one entry"), "{:?}", state.left_out);
}

#[test]
fn a_least_that_does_not_fit_leaves_a_cache_out_with_the_reason() {
    let (one, two) = (fake("one", 4 << 20, 0), fake("two", 4 << 20, 0));
    let mut state = state();
    for name in ["one", "two"] {
        state.bounds.insert(name.to_string(), Bounds { min: Some(ByteSize::mib(6)), ..Bounds::default() });
    }
    state.tick(&[&one, &two], Duration::ZERO);
    assert_eq!((one.limit.get(), two.limit.get()), (6 << 20, 4 << 20));
    assert!(state.left_out["two"].contains("does not fit"), "{:?}", state.left_out);
}

#[test]
fn a_limit_that_somebody_changes_is_the_new_wish() {
    let one = fake("one", 4 << 20, 0);
    let mut state = state();
    state.tick(&[&one], Duration::ZERO);
    one.limit.set(2 << 20);
    state.tick(&[&one], Duration::from_secs(1));
    assert_eq!((one.limit.get(), state.members["one"].limit), (2 << 20, 2 << 20));
    one.limit.set(40 << 20);
    state.tick(&[&one], Duration::from_secs(2));
    assert_eq!(one.limit.get(), TOTAL);
}
