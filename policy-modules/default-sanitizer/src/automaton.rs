//! The Aho–Corasick automaton all views search with (Aho and Corasick, "Efficient String Matching", CACM 1975).
//!
//! A state stands for the longest end of the text so far which is the beginning of a secret; its depth is that length.
//! The trie keeps lists of children instead of tables: 28 bytes for a byte of a needle, so that a secret of a mebibyte
//! is no burden. Failure links make the time linear, whatever text and secrets repeat.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::needles::Needle;

/// Number of a node; 0 is the root.
pub(crate) type State = u32;

/// The state before any text.
pub(crate) const ROOT: State = 0;

/// The text in which a needle is searched.
#[derive(Clone, Copy)]
pub(crate) enum Text {
    /// As it came, or what is left of it in a view that only leaves things out.
    Raw,
    /// What digits and escapes stand for.
    Decoded,
}

/// An end of the text that is a whole needle.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    /// Number of the needle.
    pub(crate) needle: u32,
    /// Bytes of the needle.
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Default)]
struct Node {
    child: State,
    sibling: State,
    /// The longest proper end of this node's text that is a node, too.
    fail: State,
    /// For each text, one more than the number of the longest needle that this node's text ends with; 0 for none.
    hit: [u32; 2],
    depth: u32,
    byte: u8,
    /// For each text, whether a needle goes on behind this node.
    grows: [bool; 2],
}

pub(crate) struct Automaton {
    nodes: Vec<Node>,
    /// Children of the root by byte.
    first: [State; 256],
    /// Bytes of each needle.
    lens: Vec<u32>,
    /// The longest needle that is searched in what was decoded.
    longest: Hit,
}

impl Automaton {
    /// Builds the automaton of needles, none of which is empty, with less than 2^32 bytes in all. Of equal ones the first
    /// is the one that is found.
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let longest = (0_u32..).zip(needles).filter(|(_, needle)| needle.decoded);
        let longest = longest.map(|(needle, known)| Hit {
            needle,
            len: known.bytes.len() as u32,
        });
        let mut automaton = Self {
            nodes: Vec::with_capacity(
                1 + needles
                    .iter()
                    .map(|needle| needle.bytes.len())
                    .sum::<usize>(),
            ),
            first: [ROOT; 256],
            lens: needles
                .iter()
                .map(|needle| needle.bytes.len() as u32)
                .collect(),
            longest: longest
                .max_by_key(|hit| hit.len)
                .unwrap_or(Hit { needle: 0, len: 0 }),
        };
        automaton.nodes.push(Node::default());
        for (number, needle) in needles.iter().enumerate() {
            automaton.insert(number as u32, needle);
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

    /// The state after one more byte of the decoded text that a needle begins with, if one does.
    pub(crate) fn descend(&self, state: State, byte: u8) -> Option<State> {
        if !self.grows(state) {
            return None;
        }
        Some(self.child(state, byte)).filter(|&child| child != ROOT)
    }

    /// Whether a needle goes on behind the whole decoded text of `state`.
    pub(crate) fn grows(&self, state: State) -> bool {
        self.node(state).grows[Text::Decoded as usize]
    }

    /// Whether there is no needle.
    pub(crate) fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// The longest needle that is searched in what was decoded.
    pub(crate) fn longest_hit(&self) -> Hit {
        self.longest
    }

    /// The longest needle that the text of `state` ends with.
    #[inline]
    pub(crate) fn hit(&self, state: State, text: Text) -> Option<Hit> {
        let needle = self.node(state).hit[text as usize].checked_sub(1)?;
        Some(Hit {
            needle,
            len: self.lens[needle as usize],
        })
    }

    /// Bytes of the longest end of the text that is the beginning of a needle.
    #[inline]
    pub(crate) fn depth(&self, state: State) -> u32 {
        self.node(state).depth
    }

    /// Bytes of the longest end of the text that a needle may go on from.
    pub(crate) fn live(&self, mut state: State, text: Text) -> u32 {
        while state != ROOT && !self.node(state).grows[text as usize] {
            state = self.node(state).fail;
        }
        self.node(state).depth
    }

    /// Like `live` in what was decoded, where the upper bits of the next byte are known: `known` of them, in `bits`. None
    /// when no needle, not even one that begins with those bits, goes on. May err towards a longer end.
    pub(crate) fn live_bits(&self, mut state: State, known: u32, bits: u8) -> Option<u32> {
        // Self-similar needles have long chains of ends; giving up early keeps a push at constant cost.
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
        let decoded = Text::Decoded as usize;
        (node.grows[decoded] || node.hit[decoded] != 0) && node.byte >> (8 - known) == bits
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

    fn insert(&mut self, number: u32, needle: &Needle) {
        let searched = [needle.raw, needle.decoded];
        let mut state = ROOT;
        for &byte in needle.bytes.iter() {
            let grows = &mut self.nodes[state as usize].grows;
            for text in 0..searched.len() {
                grows[text] |= searched[text];
            }
            state = match self.child(state, byte) {
                ROOT => self.add(state, byte),
                child => child,
            };
        }
        let hit = &mut self.nodes[state as usize].hit;
        for text in 0..searched.len() {
            if searched[text] && hit[text] == 0 {
                hit[text] = number + 1;
            }
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
            for text in 0..2 {
                if self.node(state).hit[text] == 0 {
                    self.nodes[state as usize].hit[text] = self.node(fail).hit[text];
                }
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
