//! Doubly linked queues through one vector of links, indexed by token: eight bytes an entry, no allocation for one.
//!
//! Several queues share the links, since a token is in one queue at most; which one stands in two bits of its back link.
//! Each queue sums the cost of its members, as the entries' [`Facts`] have it.

use super::Facts;

/// The end of a queue; the two bits above it name the queue.
const NIL: u32 = (1 << 30) - 1;
/// The back link of a token that is in no queue.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// Towards the newer; the top bits are the queue.
    prev: u32,
    /// Towards the older.
    next: u32,
}

/// One queue: where it begins and ends, and what it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    pub(crate) len: usize,
    pub(crate) cost: u64,
}

impl Queue {
    const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0, cost: 0 };

    /// The oldest member.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }
}

/// Up to three queues over the same tokens.
#[derive(Debug)]
pub(crate) struct Queues<const N: usize> {
    queues: [Queue; N],
    links: Vec<Link>,
}

impl<const N: usize> Default for Queues<N> {
    fn default() -> Self {
        const { assert!(N <= 3, "two bits name a queue, and one value means none") };
        Self { queues: [Queue::EMPTY; N], links: Vec::new() }
    }
}

impl<const N: usize> Queues<N> {
    #[inline]
    pub(crate) fn queue(&self, queue: usize) -> &Queue {
        &self.queues[queue]
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.len).sum()
    }

    pub(crate) fn cost(&self) -> u64 {
        self.queues.iter().map(|queue| queue.cost).sum()
    }

    /// Whether a token is in some queue.
    pub(crate) fn contains(&self, token: u32) -> bool {
        self.links.get(token as usize).is_some_and(|link| link.prev != NOWHERE)
    }

    /// Adds a token that is in no queue as the newest.
    #[inline]
    pub(crate) fn push(&mut self, token: u32, queue: usize, facts: &impl Facts) {
        let index = token as usize;
        if index >= self.links.len() {
            // Grown by an eighth, so that little of the largest vector of the policy is unused.
            if index >= self.links.capacity() {
                self.links.reserve_exact(index + 1 - self.links.len() + (self.links.len() / 8).max(16));
            }
            self.links.resize(index + 1, Link { prev: NOWHERE, next: NIL });
        }
        let to = &mut self.queues[queue];
        self.links[index] = Link { prev: NIL | (queue as u32) << 30, next: to.head };
        if to.head == NIL {
            to.tail = token;
        } else {
            let prev = &mut self.links[to.head as usize].prev;
            *prev = *prev & !NIL | token;
        }
        to.head = token;
        to.len += 1;
        to.cost += u64::from(facts.cost(token));
    }

    /// Takes a token out of its queue; does nothing if it is in none.
    #[inline]
    pub(crate) fn unlink(&mut self, token: u32, facts: &impl Facts) {
        let Link { prev, next } = self.links[token as usize];
        if prev == NOWHERE {
            return;
        }
        let (from, prev) = (&mut self.queues[(prev >> 30) as usize], prev & NIL);
        if prev == NIL {
            from.head = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next == NIL {
            from.tail = prev;
        } else {
            let back = &mut self.links[next as usize].prev;
            *back = *back & !NIL | prev;
        }
        from.len -= 1;
        from.cost -= u64::from(facts.cost(token));
        self.links[token as usize].prev = NOWHERE;
    }

    /// Makes a token the newest of a queue.
    #[inline]
    pub(crate) fn shift(&mut self, token: u32, queue: usize, facts: &impl Facts) {
        self.unlink(token, facts);
        self.push(token, queue, facts);
    }

    /// Puts another token, in no queue yet, in the place of one.
    pub(crate) fn replace(&mut self, old: u32, new: u32, facts: &impl Facts) {
        // Makes the link, then takes over the place.
        let queue = (self.links[old as usize].prev >> 30) as usize;
        self.push(new, queue, facts);
        self.unlink_only(new);
        let Link { prev, next } = self.links[old as usize];
        self.links[new as usize] = Link { prev, next };
        self.links[old as usize].prev = NOWHERE;
        let within = &mut self.queues[queue];
        within.len -= 1;
        within.cost -= u64::from(facts.cost(old));
        let prev = prev & NIL;
        if prev == NIL {
            within.head = new;
        } else {
            self.links[prev as usize].next = new;
        }
        if next == NIL {
            within.tail = new;
        } else {
            let back = &mut self.links[next as usize].prev;
            *back = *back & !NIL | new;
        }
    }

    /// Takes the newest of a queue out of the links, but not out of the sums.
    fn unlink_only(&mut self, newest: u32) {
        let Link { prev, next } = self.links[newest as usize];
        let queue = &mut self.queues[(prev >> 30) as usize];
        queue.head = next;
        if next == NIL {
            queue.tail = NIL;
        } else {
            self.links[next as usize].prev |= NIL;
        }
    }

    /// Walks both ways and compares every link, count and sum; answers the number of members.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        for (number, queue) in self.queues.iter().enumerate() {
            let (mut token, mut prev, mut len, mut cost) = (queue.head, NIL, 0, 0);
            while token != NIL {
                let link = self.links[token as usize];
                assert_eq!(link.prev & NIL, prev, "back link of token {token}");
                assert_eq!((link.prev >> 30) as usize, number, "queue of token {token}");
                len += 1;
                cost += u64::from(facts.cost(token));
                assert!(len <= queue.len, "queue {number} is longer than its count of {}", queue.len);
                (prev, token) = (token, link.next);
            }
            assert_eq!((queue.tail, queue.len, queue.cost), (prev, len, cost), "end and sums of queue {number}");
        }
        let linked = self.links.iter().filter(|link| link.prev != NOWHERE).count();
        assert_eq!(linked, self.len(), "tokens in queues");
        linked
    }
}
