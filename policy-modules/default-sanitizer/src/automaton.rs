//! The Aho–Corasick automaton all views search with (Aho and Corasick, "Efficient String Matching", CACM 1975).
//!
//! A state stands for the longest end of the text so far which is the beginning of a secret; its depth is that length.
//! The trie keeps lists of children instead of tables: 24 bytes for a byte of a secret, so that a secret of a mebibyte
//! is no burden. Failure links make the time linear, whatever text and secrets repeat.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Encoded forms of shorter secrets are not searched: they would be found by chance in ordinary text.
pub(crate) const ENCODED_MIN_BYTES: usize = 6;

/// Number of a node; 0 is the root.
pub(crate) type State = u32;

/// The state before any text.
pub(crate) const ROOT: State = 0;

/// An end of the text that is a whole secret.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) subject: u32,
    /// Bytes of the secret.
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Default)]
struct Node {
    child: State,
    sibling: State,
    /// The longest proper end of this node's text that is a node, too.
    fail: State,
    /// One more than the subject of the longest secret that this node's text ends with; 0 for none.
    hit: u32,
    depth: u32,
    byte: u8,
    /// Whether a secret long enough for encoded forms goes on behind this node.
    grows: bool,
}

pub(crate) struct Automaton {
    nodes: Vec<Node>,
    /// Children of the root by byte.
    first: [State; 256],
    /// Bytes of each secret, by subject.
    lens: Vec<u32>,
}

impl Automaton {
    /// Builds the automaton of `values`, none of which is empty, with less than 2^32 bytes in all. Of equal values the
    /// first is the one that is found.
    pub(crate) fn new(values: &[&[u8]]) -> Self {
        let mut automaton = Self {
            nodes: vec![Node::default()],
            first: [ROOT; 256],
            lens: values.iter().map(|value| value.len() as u32).collect(),
        };
        for (subject, value) in values.iter().enumerate() {
            automaton.insert(subject as u32, value);
        }
        automaton.link();
        automaton
    }

    /// The state after one more byte of text.
    #[inline]
    pub(crate) fn next(&self, mut state: State, byte: u8) -> State {
        loop {
            let child = self.child(state, byte);
            if child != ROOT || state == ROOT {
                return child;
            }
            state = self.node(state).fail;
        }
    }

    /// The state after one more byte of the text that a secret begins with, if one long enough for encoded forms does.
    pub(crate) fn descend(&self, state: State, byte: u8) -> Option<State> {
        if !self.node(state).grows {
            return None;
        }
        Some(self.child(state, byte)).filter(|&child| child != ROOT)
    }

    /// Whether a secret long enough for encoded forms goes on behind the whole text of `state`.
    pub(crate) fn grows(&self, state: State) -> bool {
        self.node(state).grows
    }

    /// The longest secret there is.
    pub(crate) fn longest_hit(&self) -> Hit {
        let longest = (0_u32..).zip(&self.lens).max_by_key(|&(_, len)| len);
        let (subject, &len) = longest.unwrap_or((0, &0));
        Hit { subject, len }
    }

    /// The longest secret that the text of `state` ends with.
    #[inline]
    pub(crate) fn hit(&self, state: State) -> Option<Hit> {
        let subject = self.node(state).hit.checked_sub(1)?;
        Some(Hit {
            subject,
            len: self.lens[subject as usize],
        })
    }

    /// Bytes of the longest end of the text that is the beginning of a secret.
    #[inline]
    pub(crate) fn depth(&self, state: State) -> u32 {
        self.node(state).depth
    }

    /// Bytes of the longest end of the text that a raw secret may go on from.
    pub(crate) fn live(&self, state: State) -> u32 {
        self.longest(state, |node| node.child != ROOT)
    }

    /// Like `live`, for secrets long enough for encoded forms.
    pub(crate) fn live_encoded(&self, state: State) -> u32 {
        self.longest(state, |node| node.grows)
    }

    /// Like `live_encoded` where the upper bits of the next byte are known: `known` of them, in `bits`. None when no
    /// secret, not even one that begins with those bits, goes on. May err towards a longer end.
    pub(crate) fn live_bits(&self, mut state: State, known: u32, bits: u8) -> Option<u32> {
        // Self-similar secrets have long chains of ends; giving up early keeps a push at constant cost.
        const STEPS_MAX: usize = 16;
        for _ in 0..STEPS_MAX {
            if self
                .children(state)
                .any(|child| self.goes_on(child, known, bits))
            {
                return Some(self.node(state).depth);
            }
            if state == ROOT {
                return None;
            }
            state = self.node(state).fail;
        }
        Some(self.node(state).depth)
    }

    fn goes_on(&self, child: State, known: u32, bits: u8) -> bool {
        let node = self.node(child);
        let long = node.grows || self.lens_at(child) >= ENCODED_MIN_BYTES as u32;
        long && node.byte >> (8 - known) == bits
    }

    /// Bytes of the secret whose end `state` is; 0 when it is inside of secrets only.
    fn lens_at(&self, state: State) -> u32 {
        self.hit(state).map_or(0, |hit| hit.len)
    }

    fn longest(&self, mut state: State, goes_on: impl Fn(&Node) -> bool) -> u32 {
        while state != ROOT && !goes_on(self.node(state)) {
            state = self.node(state).fail;
        }
        self.node(state).depth
    }

    #[inline]
    fn node(&self, state: State) -> &Node {
        &self.nodes[state as usize]
    }

    #[inline]
    fn child(&self, state: State, byte: u8) -> State {
        if state == ROOT {
            return self.first[usize::from(byte)];
        }
        let mut child = self.node(state).child;
        while child != ROOT && self.node(child).byte != byte {
            child = self.node(child).sibling;
        }
        child
    }

    fn children(&self, state: State) -> impl Iterator<Item = State> + '_ {
        let first = self.node(state).child;
        std::iter::successors(Some(first), |&child| Some(self.node(child).sibling))
            .take_while(|&child| child != ROOT)
    }

    fn insert(&mut self, subject: u32, value: &[u8]) {
        let mut state = ROOT;
        for &byte in value {
            self.nodes[state as usize].grows |= value.len() >= ENCODED_MIN_BYTES;
            state = match self.child(state, byte) {
                ROOT => self.add(state, byte),
                child => child,
            };
        }
        let end = &mut self.nodes[state as usize];
        if end.hit == 0 {
            end.hit = subject + 1;
        }
    }

    fn add(&mut self, parent: State, byte: u8) -> State {
        let state = self.nodes.len() as State;
        let Node { child, depth, .. } = self.nodes[parent as usize];
        self.nodes.push(Node {
            byte,
            depth: depth + 1,
            sibling: child,
            ..Node::default()
        });
        self.nodes[parent as usize].child = state;
        if parent == ROOT {
            self.first[usize::from(byte)] = state;
        }
        state
    }

    /// Sets the failure links breadth first, so that shorter texts have theirs already.
    fn link(&mut self) {
        let mut queue: VecDeque<State> = self.children(ROOT).collect();
        while let Some(state) = queue.pop_front() {
            let fail = self.node(state).fail;
            if self.node(state).hit == 0 {
                self.nodes[state as usize].hit = self.node(fail).hit;
            }
            let mut child = self.node(state).child;
            while child != ROOT {
                self.nodes[child as usize].fail = self.next(fail, self.node(child).byte);
                queue.push_back(child);
                child = self.node(child).sibling;
            }
        }
    }
}
