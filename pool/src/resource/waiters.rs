//! Who waits for a resource: three first-in-first-out queues in one slab, one for each priority.
//!
//! A waiter is a number. What it waits for is put into its node by whoever gives it, so that a resource on its way to a
//! waiter is never in nobody's hands: a future that is dropped after it was served finds the resource here and passes it
//! on. Queueing, leaving and serving are constant time and allocate nothing once the slab has grown.
//!
//! Higher priorities are served first, but every eighth turn goes to the oldest of all, so that nobody starves.

use std::panic::Location;
use std::task::Waker;

use tokio::time::Instant;

/// Which waiters are served first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After all others: background work.
    Low,
    /// The usual one.
    #[default]
    Normal,
    /// Before all others: health checks, work that frees resources.
    High,
}

const LEVELS: usize = 3;
/// One turn of so many goes to the oldest waiter, whatever its priority.
const FAIR_TURN: u32 = 8;
const NONE: u32 = u32::MAX;

/// A waiter's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// Who waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) priority: Priority,
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
    pub(crate) location: &'static Location<'static>,
}

#[derive(Debug)]
enum State<T, E> {
    Waiting(Waker),
    Served(T),
    Refused(E),
    Free,
}

#[derive(Debug)]
struct Node<T, E> {
    waiter: Waiter,
    state: State<T, E>,
    prev: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
}

/// What a waiter finds when it looks.
#[derive(Debug)]
pub(crate) enum Look<T, E> {
    StillWaiting,
    Served(T),
    Refused(E),
}

/// The queues.
#[derive(Debug)]
pub(crate) struct Waiters<T, E> {
    nodes: Vec<Node<T, E>>,
    free: Vec<u32>,
    queues: [Queue; LEVELS],
    waiting: usize,
    turn: u32,
}

impl<T, E> Default for Waiters<T, E> {
    fn default() -> Self {
        let queue = Queue { head: NONE, tail: NONE };
        Self { nodes: Vec::new(), free: Vec::new(), queues: [queue; LEVELS], waiting: 0, turn: 0 }
    }
}

impl<T, E> Waiters<T, E> {
    /// How many wait and were not answered yet.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queues at the end of its priority.
    pub(crate) fn push(&mut self, waiter: Waiter, waker: Waker) -> Ticket {
        let level = waiter.priority as usize;
        let tail = self.queues[level].tail;
        let node = Node { waiter, state: State::Waiting(waker), prev: tail, next: NONE };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            at
        } else {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        };
        if tail == NONE {
            self.queues[level].head = at;
        } else {
            self.nodes[tail as usize].next = at;
        }
        self.queues[level].tail = at;
        self.waiting += 1;
        Ticket(at)
    }

    /// Since when a waiter has been here.
    #[inline]
    pub(crate) fn since(&self, ticket: Ticket) -> Instant {
        self.nodes[ticket.0 as usize].waiter.since
    }

    /// The answer for a waiter, if there is one; it takes the answer away and the ticket ends. Else `waker` is kept.
    pub(crate) fn look(&mut self, ticket: Ticket, waker: &Waker) -> Look<T, E> {
        let node = &mut self.nodes[ticket.0 as usize];
        if let State::Waiting(kept) = &mut node.state {
            kept.clone_from(waker);
            return Look::StillWaiting;
        }
        self.end(ticket)
    }

    /// A waiter goes away, with what it was given meanwhile.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Look<T, E> {
        if matches!(self.nodes[ticket.0 as usize].state, State::Waiting(_)) {
            self.unlink(ticket.0);
        }
        self.end(ticket)
    }

    fn end(&mut self, ticket: Ticket) -> Look<T, E> {
        let state = std::mem::replace(&mut self.nodes[ticket.0 as usize].state, State::Free);
        self.free.push(ticket.0);
        match state {
            State::Served(given) => Look::Served(given),
            State::Refused(reason) => Look::Refused(reason),
            State::Waiting(_) | State::Free => Look::StillWaiting,
        }
    }

    fn unlink(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let (level, prev, next) = (node.waiter.priority as usize, node.prev, node.next);
        if prev == NONE {
            self.queues[level].head = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NONE {
            self.queues[level].tail = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
        self.waiting -= 1;
    }

    /// Whose turn it is.
    fn first(&mut self) -> Option<u32> {
        let heads = self.queues.map(|queue| queue.head);
        let mut taken = heads.iter().filter(|head| **head != NONE);
        let first = *taken.next()?;
        if taken.next().is_none() {
            return Some(first);
        }
        self.turn = (self.turn + 1) % FAIR_TURN;
        let heads = heads.into_iter().filter(|head| *head != NONE);
        if self.turn == 0 {
            heads.min_by_key(|head| self.nodes[*head as usize].waiter.since)
        } else {
            heads.max_by_key(|head| self.nodes[*head as usize].waiter.priority)
        }
    }

    /// Serves the waiter whose turn it is: `give` makes what it gets. Answers whom to wake.
    #[inline]
    pub(crate) fn serve(&mut self, give: impl FnOnce(&Waiter) -> T) -> Option<Waker> {
        if self.waiting == 0 {
            return None;
        }
        let at = self.first()?;
        self.unlink(at);
        let node = &mut self.nodes[at as usize];
        let given = give(&node.waiter);
        match std::mem::replace(&mut node.state, State::Served(given)) {
            State::Waiting(waker) => Some(waker),
            _ => None,
        }
    }

    /// Refuses all whom `pick` names.
    pub(crate) fn refuse(
        &mut self,
        wake: &mut Vec<Waker>,
        pick: impl Fn(&Waiter) -> bool,
        reason: impl Fn(&Waiter) -> E,
    ) {
        for level in 0..LEVELS {
            let mut at = self.queues[level].head;
            while at != NONE {
                let next = self.nodes[at as usize].next;
                if pick(&self.nodes[at as usize].waiter) {
                    self.unlink(at);
                    let node = &mut self.nodes[at as usize];
                    let refused = State::Refused(reason(&node.waiter));
                    if let State::Waiting(waker) = std::mem::replace(&mut node.state, refused) {
                        wake.push(waker);
                    }
                }
                at = next;
            }
        }
    }

    /// Everybody who waits, in no promised order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.nodes.iter().filter(|node| matches!(node.state, State::Waiting(_))).map(|node| &node.waiter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn waiter(priority: Priority, since: Instant) -> Waiter {
        Waiter { priority, since, deadline: since, location: Location::caller() }
    }

    /// Ticket, number, answer.
    type Modelled = (Ticket, u64, Option<Result<u64, ()>>);

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Serve,
        Leave(usize),
        Look(usize),
        RefuseOld(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            3 => Just(Step::Serve),
            1 => (0_usize..8).prop_map(Step::Leave),
            2 => (0_usize..8).prop_map(Step::Look),
            1 => (0_u64..40).prop_map(Step::RefuseOld),
        ];
        proptest::collection::vec(step, 0..80)
    }

    proptest! {
        /// Against a list: everybody is answered at most once, in order, and nothing given is ever lost.
        #[test]
        fn waiters_behave_like_a_list(steps in steps()) {
            let start = Instant::now();
            let mut waiters: Waiters<u64, &str> = Waiters::default();
            let mut model: Vec<Modelled> = Vec::new();
            let (mut number, mut given, mut back) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Push => {
                        let who = waiter(Priority::Normal, start + Duration::from_secs(number));
                        model.push((waiters.push(who, Waker::noop().clone()), number, None));
                        number += 1;
                    }
                    Step::Serve => {
                        let first = model.iter_mut().filter(|(.., answer)| answer.is_none()).min_by_key(|entry| entry.1);
                        let served = waiters.serve(|_| given);
                        prop_assert_eq!(served.is_some(), first.is_some());
                        if let Some(entry) = first {
                            entry.2 = Some(Ok(given));
                            given += 1;
                        }
                    }
                    Step::Leave(at) if at < model.len() => {
                        let (ticket, _, answer) = model.remove(at);
                        match (waiters.leave(ticket), answer) {
                            (Look::Served(a), Some(Ok(b))) => { prop_assert_eq!(a, b); back += 1; }
                            (Look::Refused(_), Some(Err(()))) | (Look::StillWaiting, None) => {}
                            other => prop_assert!(false, "{other:?}"),
                        }
                    }
                    Step::Look(at) if at < model.len() => {
                        let (ticket, _, answer) = model[at];
                        match (waiters.look(ticket, Waker::noop()), answer) {
                            (Look::Served(a), Some(Ok(b))) => { prop_assert_eq!(a, b); back += 1; model.remove(at); }
                            (Look::Refused(_), Some(Err(()))) => { model.remove(at); }
                            (Look::StillWaiting, None) => {}
                            other => prop_assert!(false, "{other:?}"),
                        }
                    }
                    Step::RefuseOld(before) => {
                        let limit = start + Duration::from_secs(before);
                        waiters.refuse(&mut Vec::new(), |waiter| waiter.since < limit, |_| "late");
                        for entry in model.iter_mut().filter(|entry| entry.2.is_none() && entry.1 < before) {
                            entry.2 = Some(Err(()));
                        }
                    }
                    Step::Leave(_) | Step::Look(_) => {}
                }
                prop_assert_eq!(waiters.waiting(), model.iter().filter(|entry| entry.2.is_none()).count());
                prop_assert_eq!(waiters.iter().count(), waiters.waiting());
            }
            let pending = model.iter().filter(|entry| matches!(entry.2, Some(Ok(_)))).count() as u64;
            prop_assert_eq!(given, back + pending);
        }
    }

    #[test]
    fn high_goes_first_and_the_oldest_is_never_forgotten() {
        let start = Instant::now();
        let mut waiters: Waiters<u32, ()> = Waiters::default();
        let old = waiters.push(waiter(Priority::Low, start), Waker::noop().clone());
        let high: Vec<Ticket> = (0..20)
            .map(|_| waiters.push(waiter(Priority::High, start + Duration::from_secs(1)), Waker::noop().clone()))
            .collect();
        for turn in 0..8 {
            waiters.serve(|_| turn);
        }
        assert!(matches!(waiters.look(old, Waker::noop()), Look::Served(7)), "one turn of eight is the oldest's");
        for (turn, ticket) in high.iter().take(7).enumerate() {
            assert!(matches!(waiters.look(*ticket, Waker::noop()), Look::Served(at) if at as usize == turn));
        }
    }
}
