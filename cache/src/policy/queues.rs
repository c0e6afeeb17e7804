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

/// Lets the newer neighbour of something be `token`.
#[inline]
fn set_prev(of: u32, token: u32, facts: &impl Facts) {
    let Link { prev, next } = facts.link(of);
    facts.set_link(of, Link { prev: prev & !NIL | token, next });
}

/// Lets the older neighbour of something be `token`.
#[inline]
fn set_next(of: u32, token: u32, facts: &impl Facts) {
    let Link { prev, .. } = facts.link(of);
    facts.set_link(of, Link { prev, next: token });
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
        let following = |token: u32| (token != NIL).then_some(token);
        std::iter::successors(following(self.queues[queue].head), move |token| following(facts.link(*token).next))
    }

    /// Adds a token that is in no queue as the newest.
    #[inline]
    pub(crate) fn push(&mut self, token: u32, queue: usize, facts: &impl Facts) {
        let to = &mut self.queues[queue];
        facts.set_link(token, Link { prev: NIL | (queue as u32) << 30, next: to.head });
        if to.head == NIL {
            to.tail = token;
        } else {
            set_prev(to.head, token, facts);
        }
        to.head = token;
        to.len += 1;
        to.cost += u64::from(facts.cost(token));
    }

    /// Takes a token out of its queue; does nothing if it is in none.
    #[inline]
    pub(crate) fn unlink(&mut self, token: u32, facts: &impl Facts) {
        let Link { prev, next } = facts.link(token);
        if prev == NOWHERE {
            return;
        }
        let (from, prev) = (&mut self.queues[(prev >> 30) as usize], prev & NIL);
        if prev == NIL {
            from.head = next;
        } else {
            set_next(prev, next, facts);
        }
        if next == NIL {
            from.tail = prev;
        } else {
            set_prev(next, prev, facts);
        }
        from.len -= 1;
        from.cost -= u64::from(facts.cost(token));
        facts.set_link(token, Link::NONE);
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
        let within = &mut self.queues[(prev >> 30) as usize];
        facts.set_link(new, Link { prev, next });
        facts.set_link(old, Link::NONE);
        within.cost = within.cost - u64::from(facts.cost(old)) + u64::from(facts.cost(new));
        if prev & NIL == NIL {
            within.head = new;
        } else {
            set_next(prev & NIL, new, facts);
        }
        if next == NIL {
            within.tail = new;
        } else {
            set_prev(next, new, facts);
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
                let link = facts.link(token);
                assert_eq!(link.prev & NIL, prev, "back link of token {token}");
                assert_eq!((link.prev >> 30) as usize, number, "queue of token {token}");
                len += 1;
                cost += u64::from(facts.cost(token));
                assert!(len <= queue.len, "queue {number} is longer than its count of {}", queue.len);
                (prev, token) = (token, link.next);
            }
            assert_eq!((queue.tail, queue.len, queue.cost), (prev, len, cost), "end and sums of queue {number}");
        }
        self.len()
    }
}
