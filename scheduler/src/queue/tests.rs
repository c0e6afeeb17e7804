//! The queue against a naive one: a list, searched from one end to the other.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Item {
    id: u32,
    submitted: Nanos,
    deadline: Nanos,
    level: usize,
    weight: u64,
    live: Rc<Cell<bool>>,
}

impl Queued for Item {
    fn submitted(&self) -> Nanos {
        self.submitted
    }

    fn deadline(&self) -> Nanos {
        self.deadline
    }

    fn level(&self) -> usize {
        self.level
    }

    fn weight(&self) -> u64 {
        self.weight
    }

    fn live(&self) -> bool {
        self.live.get()
    }
}

/// The same rules, without cleverness.
#[derive(Default)]
struct Naive {
    items: Vec<Item>,
    turn: u8,
}

const PATIENCE: Nanos = 50;

impl Naive {
    fn next(&self, now: Nanos) -> Option<(u32, bool)> {
        if self.turn + 1 >= TURN {
            let undated = self.items.iter().filter(|item| item.deadline == NEVER);
            // The oldest; of two that came at the same time, the more important, then the one that came first.
            let oldest = undated.min_by_key(|item| (item.submitted, item.level, item.id));
            if let Some(oldest) = oldest
                && now - oldest.submitted > PATIENCE
            {
                return Some((oldest.id, true));
            }
        }
        let first = self.items.iter().min_by_key(|item| (item.level, item.deadline, item.id))?;
        Some((first.id, false))
    }

    fn remove(&mut self, id: u32) -> Item {
        let at = self.items.iter().position(|item| item.id == id).expect("it is there");
        self.items.remove(at)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push { level: usize, deadline: Option<Nanos>, weight: u64 },
    Take,
    Cancel(prop::sample::Index),
    Expire,
    Shed { level: usize },
    Wait(Nanos),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5_usize, prop::option::of(1..200_u64), 0..9_u64)
            .prop_map(|(level, deadline, weight)| Step::Push { level, deadline, weight }),
        5 => Just(Step::Take),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => Just(Step::Expire),
        1 => (0..5_usize).prop_map(|level| Step::Shed { level }),
        2 => (1..40_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_a_searched_list_does(steps in prop::collection::vec(step(), 1..300)) {
        let mut queue = Queue::new(PATIENCE);
        let mut naive = Naive::default();
        let (mut now, mut id) = (1, 0);
        for step in steps {
            match step {
                Step::Push { level, deadline, weight } => {
                    id += 1;
                    let deadline = deadline.map_or(NEVER, |after| now + after);
                    let live = Rc::new(Cell::new(true));
                    let item = Item { id, submitted: now, deadline, level, weight, live };
                    naive.items.push(item.clone());
                    queue.push(item);
                }
                Step::Take => {
                    let expected = naive.next(now);
                    let pick = queue.pick(now, LEVELS);
                    let taken = pick.map(|pick| {
                        let peeked = queue.peek(pick).expect("a pick is there").id;
                        let item = queue.take(pick).expect("a pick is there");
                        assert_eq!(item.id, peeked);
                        (item.id, pick.aged)
                    });
                    prop_assert_eq!(taken, expected);
                    if let Some((id, aged)) = taken {
                        naive.remove(id);
                        naive.turn = if aged { 0 } else { (naive.turn + 1).min(TURN) };
                    }
                }
                Step::Cancel(index) => {
                    if !naive.items.is_empty() {
                        let item = naive.items.remove(index.index(naive.items.len()));
                        item.live.set(false);
                        queue.forget(&item);
                    }
                }
                Step::Expire => {
                    let mut expired = Vec::new();
                    while let Some(item) = queue.expired(now, |_| 0) {
                        expired.push(item.id);
                    }
                    expired.sort_unstable();
                    let late: Vec<u32> =
                        naive.items.iter().filter(|item| item.deadline <= now).map(|item| item.id).collect();
                    prop_assert_eq!(&expired, &late);
                    naive.items.retain(|item| item.deadline > now);
                }
                Step::Shed { level } => {
                    let victim = naive
                        .items
                        .iter()
                        .filter(|item| item.level > level)
                        .max_by_key(|item| (item.level, item.deadline, item.id))
                        .map(|item| item.id);
                    let shed = queue.least(level).map(|item| item.id);
                    prop_assert_eq!(shed, victim);
                    if let Some(id) = shed {
                        naive.remove(id);
                    }
                }
                Step::Wait(time) => now += time,
            }
            prop_assert_eq!(queue.len(), naive.items.len());
            prop_assert_eq!(queue.bytes(), naive.items.iter().map(|item| item.weight).sum::<u64>());
            for level in 0..LEVELS {
                prop_assert_eq!(queue.live()[level], naive.items.iter().filter(|item| item.level == level).count());
            }
        }
        let mut rest: Vec<u32> = queue.iter().map(|item| item.id).collect();
        rest.sort_unstable();
        let mut expected: Vec<u32> = naive.items.iter().map(|item| item.id).collect();
        expected.sort_unstable();
        prop_assert_eq!(rest, expected);
        prop_assert_eq!(queue.drain().len(), naive.items.len());
    }
}

fn item(id: u32, level: usize) -> Item {
    Item { id, submitted: 1 + Nanos::from(id), deadline: NEVER, level, weight: 1, live: Rc::new(Cell::new(true)) }
}

#[test]
fn who_has_waited_long_starts_within_eight_starts_whatever_arrives() {
    let mut queue = Queue::new(PATIENCE);
    queue.push(item(0, 4));
    let started = (1..=u32::from(TURN)).any(|arrival| {
        queue.push(item(arrival, 0));
        let pick = queue.pick(1000, LEVELS).unwrap();
        queue.take(pick).unwrap().id == 0
    });
    assert!(started);
}

#[test]
fn shells_of_cancelled_jobs_do_not_pile_up() {
    let mut queue = Queue::new(PATIENCE);
    queue.push(item(0, 0));
    for id in 1..10_000 {
        let item = item(id, 3);
        queue.push(item.clone());
        item.live.set(false);
        queue.forget(&item);
    }
    assert_eq!(queue.len(), 1);
    assert!(queue.levels[3].fifo.len() <= 2 * SHELLS, "{}", queue.levels[3].fifo.len());
}
