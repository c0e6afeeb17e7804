//! Single flight under a checker that tries every interleaving: no waker is lost, and after a leader that gave up one leads.
//!
//! The same source file as in the library, over the checker's lock. Whoever waits sleeps until its waker is called: were a
//! wake-up lost, the checker would find that all threads sleep.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the included file is used in part")]
#![allow(missing_docs, reason = "nothing here is public")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as Shared;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Arc, Notify};
use loom::thread;

#[path = "../src/load/flight.rs"]
mod flight;

mod tags {
    pub(crate) type Tags = Option<Box<[Box<str>]>>;
}

mod store {
    pub(crate) mod sync {
        pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

        impl<T> Mutex<T> {
            pub(crate) fn new(value: T) -> Self {
                Self(loom::sync::Mutex::new(value))
            }

            pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
                self.0.lock().unwrap()
            }
        }
    }
}

use flight::{Flight, Flights, Outcome, Wait};
use store::sync::Mutex;

/// A thread that sleeps until it is woken.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: Shared<Self>) {
        self.0.notify();
    }
}

/// Waits as a task does; with `moves` its waker is another one at each poll, as when a task is moved.
fn wait(flight: Shared<Flight<u64>>, moves: bool) -> Outcome<u64> {
    let mut wait = Wait::new(flight);
    let mut sleeper = Shared::new(Sleeper(Notify::new()));
    loop {
        let waker = Waker::from(sleeper.clone());
        if let Poll::Ready(outcome) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
            return outcome;
        }
        if moves {
            sleeper = Shared::new(Sleeper(Notify::new()));
            let waker = Waker::from(sleeper.clone());
            if let Poll::Ready(outcome) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
                return outcome;
            }
        }
        sleeper.0.wait();
    }
}

/// What a cache does with its flights, in small: joins the one of a key or leads one, until there is a value.
struct Key {
    flights: Mutex<Flights<u8, u64>>,
    value: Mutex<Option<u64>>,
    loads: Mutex<u64>,
}

enum Turn {
    Hit(u64),
    Wait(Shared<Flight<u64>>),
    Lead(Shared<Flight<u64>>),
}

impl Key {
    fn new() -> Arc<Self> {
        Arc::new(Self { flights: Mutex::new(Flights::default()), value: Mutex::new(None), loads: Mutex::new(0) })
    }

    fn turn(&self) -> Turn {
        let mut flights = self.flights.lock();
        if let Some(value) = *self.value.lock() {
            return Turn::Hit(value);
        }
        match flights.find(1, &1) {
            Some(flight) => Turn::Wait(Shared::clone(flight)),
            None => Turn::Lead(flights.begin(1, 1, None)),
        }
    }

    fn end(&self, flight: &Shared<Flight<u64>>, value: Option<u64>) {
        let mut flights = self.flights.lock();
        if let Some(value) = value {
            *self.value.lock() = Some(value);
        }
        let _ = flights.end(1, flight);
        drop(flights);
        flight.settle(value.map_or(Outcome::Abandoned, |value| Outcome::Done(Shared::new(value))));
    }

    /// Loads; with `gives_up` a load that it leads is abandoned, and then it asks no more.
    fn load(&self, gives_up: bool) -> Option<u64> {
        loop {
            match self.turn() {
                Turn::Hit(value) => return Some(value),
                Turn::Wait(flight) => {
                    if let Outcome::Done(value) = wait(flight, false) {
                        return Some(*value);
                    }
                }
                Turn::Lead(flight) => {
                    *self.loads.lock() += 1;
                    self.end(&flight, (!gives_up).then_some(7));
                    return (!gives_up).then_some(7);
                }
            }
        }
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

#[test]
fn a_waker_is_called_whenever_the_end_comes() {
    for moves in [false, true] {
        check(move || {
            let flight = Flights::<u8, u64>::default().begin(1, 1, None);
            let waiter = {
                let flight = flight.clone();
                thread::spawn(move || wait(flight, moves))
            };
            flight.settle(Outcome::Done(Shared::new(7)));
            assert!(matches!(waiter.join().unwrap(), Outcome::Done(value) if *value == 7));
        });
    }
}

#[test]
fn one_waiter_that_goes_takes_no_other_with_it() {
    check(|| {
        let flight = Flights::<u8, u64>::default().begin(1, 1, None);
        let stays = {
            let flight = flight.clone();
            thread::spawn(move || wait(flight, false))
        };
        let goes = {
            let flight = flight.clone();
            thread::spawn(move || {
                let mut wait = Wait::new(flight);
                let _ = Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop()));
            })
        };
        flight.settle(Outcome::Done(Shared::new(7)));
        assert!(matches!(stays.join().unwrap(), Outcome::Done(value) if *value == 7));
        goes.join().unwrap();
    });
}

#[test]
fn callers_at_the_same_time_share_one_load() {
    check(|| {
        let key = Key::new();
        let other = {
            let key = key.clone();
            thread::spawn(move || key.load(false))
        };
        assert_eq!(key.load(false), Some(7));
        assert_eq!(other.join().unwrap(), Some(7));
        assert_eq!(*key.loads.lock(), 1);
    });
}

#[test]
fn after_a_leader_that_gave_up_a_waiter_leads() {
    check(|| {
        let key = Key::new();
        let gives_up = {
            let key = key.clone();
            thread::spawn(move || key.load(true))
        };
        let waits = {
            let key = key.clone();
            thread::spawn(move || key.load(false))
        };
        assert_eq!(key.load(false), Some(7));
        assert_eq!(waits.join().unwrap(), Some(7));
        let gave_up = gives_up.join().unwrap();
        assert_eq!(*key.loads.lock(), 1 + u64::from(gave_up.is_none()));
        assert!(key.flights.lock().find(1, &1).is_none(), "the key is free");
    });
}
