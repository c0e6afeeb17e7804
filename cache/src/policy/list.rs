//! Doubly linked lists through one vector of nodes, indexed by token: no allocation per entry, no pointer to keep valid.
//!
//! Several lists share the nodes, since a token is in exactly one list at a time. Each list sums the cost of its members.

/// The end of a list.
const NIL: u32 = u32::MAX;

/// Links and facts of one token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    prev: u32,
    next: u32,
    /// Enough of the key's hash for the frequency sketch.
    pub(crate) hash: u32,
    /// 1, or bytes; at most `u32::MAX`, since only proportions matter to a policy.
    pub(crate) cost: u32,
    /// Which list the token is in; the meaning is the owner's.
    pub(crate) segment: u8,
}

/// The nodes that several lists share.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Vec<Node>);

impl Nodes {
    /// Makes room for a token and forgets what was known under it.
    pub(crate) fn enter(&mut self, token: u32, hash: u32, cost: u32) {
        let blank = Node { prev: NIL, next: NIL, hash, cost, segment: 0 };
        let index = token as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Node { hash: 0, cost: 0, ..blank });
        }
        self.0[index] = blank;
    }

    pub(crate) fn get(&self, token: u32) -> &Node {
        &self.0[token as usize]
    }

    pub(crate) fn get_mut(&mut self, token: u32) -> &mut Node {
        &mut self.0[token as usize]
    }
}

/// One list, most recent first.
#[derive(Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: usize,
    cost: u64,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, len: 0, cost: 0 }
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sum of the members' costs.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// The least recent member.
    pub(crate) fn back(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }

    /// The members, most recent first.
    pub(crate) fn iter<'a>(&self, nodes: &'a Nodes) -> impl Iterator<Item = u32> + use<'a> {
        let following = move |token: u32| (token != NIL).then_some(token);
        std::iter::successors(following(self.head), move |token| following(nodes.get(*token).next))
    }

    pub(crate) fn push_front(&mut self, nodes: &mut Nodes, token: u32) {
        let head = self.head;
        let node = nodes.get_mut(token);
        node.prev = NIL;
        node.next = head;
        self.cost += u64::from(node.cost);
        if head == NIL {
            self.tail = token;
        } else {
            nodes.get_mut(head).prev = token;
        }
        self.head = token;
        self.len += 1;
    }

    pub(crate) fn push_back(&mut self, nodes: &mut Nodes, token: u32) {
        let tail = self.tail;
        let node = nodes.get_mut(token);
        node.next = NIL;
        node.prev = tail;
        self.cost += u64::from(node.cost);
        if tail == NIL {
            self.head = token;
        } else {
            nodes.get_mut(tail).next = token;
        }
        self.tail = token;
        self.len += 1;
    }

    pub(crate) fn unlink(&mut self, nodes: &mut Nodes, token: u32) {
        let Node { prev, next, cost, .. } = *nodes.get(token);
        if prev == NIL {
            self.head = next;
        } else {
            nodes.get_mut(prev).next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            nodes.get_mut(next).prev = prev;
        }
        self.len -= 1;
        self.cost -= u64::from(cost);
    }

    pub(crate) fn move_to_front(&mut self, nodes: &mut Nodes, token: u32) {
        if self.head != token {
            self.unlink(nodes, token);
            self.push_front(nodes, token);
        }
    }

    /// Changes the cost of a member.
    pub(crate) fn reweigh(&mut self, nodes: &mut Nodes, token: u32, cost: u32) {
        let node = nodes.get_mut(token);
        self.cost = self.cost - u64::from(node.cost) + u64::from(cost);
        node.cost = cost;
    }

    /// Walks both ways and compares every link, the count and the sum; answers the number of members.
    pub(crate) fn validate(&self, nodes: &Nodes, segment: u8) -> usize {
        let (mut token, mut prev, mut len, mut cost) = (self.head, NIL, 0, 0);
        while token != NIL {
            let node = nodes.get(token);
            assert_eq!(node.prev, prev, "back link of token {token}");
            assert_eq!(node.segment, segment, "segment of token {token}");
            len += 1;
            cost += u64::from(node.cost);
            assert!(len <= self.len, "the list is longer than its count of {}", self.len);
            (prev, token) = (token, node.next);
        }
        assert_eq!((self.tail, self.len, self.cost), (prev, len, cost), "tail, length and cost of segment {segment}");
        len
    }
}
