//! Doubly linked queues through links that lie with the entries: eight bytes each, and no memory of their own.
//!
//! A link stands in the same cache line as the count of uses that the policy looks at before it moves an entry. Several
//! queues share the links, since a token is in one queue at most; which one stands in two bits of its back link.
//! Each queue sums the cost of its members, as the entries' [`Facts`] have it.

use super::Facts;

/// The end of a queue; the two bits above it name the queue.
const NIL: u32 = (1 << 30) - 1;
/// The back link of a token that is in no queue.
const NOWHERE: u32 = u32::MAX;

/// The neighbours of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Towards the newer; the top bits are the queue.
    pub(crate) prev: u32,
    /// Towards the older.
    pub(crate) next: u32,
}

impl Link {
    /// The link of a token that is in no queue.
    pub(crate) const NONE: Self = Self { prev: NOWHERE, next: NIL };

    /// Whether the token is in some queue.
    pub(crate) fn is_queued(self) -> bool {
        self.prev != NOWHERE
    }

    /// The queue that the token is in.
    pub(crate) fn queue(self) -> Option<usize> {
        self.is_queued().then_some((self.prev >> 30) as usize)
    }
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
}

impl<const N: usize> Default for Queues<N> {
    fn default() -> Self {
        const { assert!(N <= 3, "two bits name a queue, and one value means none") };
        Self { queues: [Queue::EMPTY; N] }
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

    /// The members of a queue, newest first.
    pub(crate) fn members(&self, queue: usize, facts: &impl Facts) -> impl Iterator<Item = u32> {
        let Queue { head, tail, .. } = self.queues[queue];
        let following = move |token: &u32| (*token != tail).then(|| facts.link(*token).next);
        std::iter::successors((head != NIL).then_some(head), following)
    }

    /// Adds a token that is in no queue as the newest.
    #[inline]
    pub(crate) fn push(&mut self, token: u32, queue: usize, facts: &impl Facts) {
        let to = &mut self.queues[queue];
        let mark = (queue as u32) << 30;
        facts.set_link(token, Link { prev: NIL | mark, next: to.head });
        if to.head == NIL {
            to.tail = token;
        } else {
            facts.set_prev(to.head, token | mark);
        }
        to.head = token;
        to.len += 1;
        to.cost += u64::from(facts.cost(token));
    }

    /// Takes the oldest member out.
    ///
    /// The link of the one that is the oldest then is not touched, and goes on naming this one: where a queue ends, its
    /// `tail` says.
    #[inline]
    pub(crate) fn pop(&mut self, queue: usize, facts: &impl Facts) -> Option<u32> {
        let from = &mut self.queues[queue];
        let oldest = from.oldest()?;
        let prev = facts.link(oldest).prev & NIL;
        from.tail = prev;
        if prev == NIL {
            from.head = NIL;
        } else {
            // Its turn comes next, most likely.
            facts.look_ahead(prev);
        }
        from.len -= 1;
        from.cost -= u64::from(facts.cost(oldest));
        facts.set_prev(oldest, NOWHERE);
        Some(oldest)
    }

    /// Makes the oldest member of a queue the newest of one.
    #[inline]
    pub(crate) fn pass_on(&mut self, from: usize, to: usize, facts: &impl Facts) {
        if let Some(token) = self.pop(from, facts) {
            self.push(token, to, facts);
        }
    }

    /// Takes a token out of its queue; does nothing if it is in none.
    #[inline]
    pub(crate) fn unlink(&mut self, token: u32, facts: &impl Facts) {
        let Link { prev, next } = facts.link(token);
        if prev == NOWHERE {
            return;
        }
        let mark = prev & !NIL;
        let (from, prev) = (&mut self.queues[(prev >> 30) as usize], prev & NIL);
        if token == from.tail {
            from.tail = prev;
        } else {
            facts.set_prev(next, prev | mark);
        }
        if prev == NIL {
            from.head = if token == from.head && from.tail == NIL { NIL } else { next };
        } else {
            facts.set_next(prev, next);
        }
        from.len -= 1;
        from.cost -= u64::from(facts.cost(token));
        facts.set_prev(token, NOWHERE);
    }

    /// Makes a token the newest of a queue.
    #[inline]
    pub(crate) fn shift(&mut self, token: u32, queue: usize, facts: &impl Facts) {
        self.unlink(token, facts);
        self.push(token, queue, facts);
    }

    /// Puts another token, in no queue yet, in the place of one that is in a queue.
    pub(crate) fn replace(&mut self, old: u32, new: u32, facts: &impl Facts) {
        let Link { prev, next } = facts.link(old);
        let mark = prev & !NIL;
        let within = &mut self.queues[(prev >> 30) as usize];
        facts.set_link(new, Link { prev, next });
        facts.set_link(old, Link::NONE);
        within.cost = within.cost - u64::from(facts.cost(old)) + u64::from(facts.cost(new));
        if within.tail == old {
            within.tail = new;
        } else {
            facts.set_prev(next, new | mark);
        }
        if prev & NIL == NIL {
            within.head = new;
        } else {
            facts.set_next(prev & NIL, new);
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
            let mut more = token != NIL;
            while more {
                let link = facts.link(token);
                assert_eq!(link.prev & NIL, prev, "back link of token {token}");
                assert_eq!((link.prev >> 30) as usize, number, "queue of token {token}");
                len += 1;
                cost += u64::from(facts.cost(token));
                assert!(len <= queue.len, "queue {number} is longer than its count of {}", queue.len);
                more = token != queue.tail;
                (prev, token) = (token, link.next);
            }
            assert_eq!((queue.tail, queue.len, queue.cost), (prev, len, cost), "end and sums of queue {number}");
        }
        self.len()
    }
}
