//! The Aho–Corasick automaton all views search with (Aho and Corasick, "Efficient String Matching", CACM 1975).
//!
//! A state stands for the longest end of the text so far which is the beginning of a secret; its depth is that length.
//! States are numbered by depth, then by their text, so that the children of one are neighbours and need no links: 29 bytes for
//! a byte of a needle, so that a secret of a mebibyte is no burden. Failure links make the time linear, whatever text and
//! secrets repeat.

#![forbid(unsafe_code)]

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
    /// The first of its children, which the next node's first child ends.
    children: State,
    /// The longest proper end of this node's text that is a node, too.
    fail: State,
    /// The first of these that goes on with another byte than this node: where to look when this one does not go on. Knuth, Morris
    /// and Pratt's stronger failure function ("Fast Pattern Matching in Strings", 1977), without which a needle that repeats
    /// itself costs its length for each letter that is typed over.
    leap: State,
    /// For each text, one more than the number of the longest needle that this node's text ends with; 0 for none.
    hit: [u32; 2],
    depth: u32,
    /// For each text, whether a needle goes on behind this node.
    grows: [bool; 2],
}

pub(crate) struct Automaton {
    /// One more than there are states.
    nodes: Vec<Node>,
    /// The last byte of each state's text.
    bytes: Vec<u8>,
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
            nodes: Vec::new(),
            bytes: Vec::new(),
            first: [ROOT; 256],
            lens: needles
                .iter()
                .map(|needle| needle.bytes.len() as u32)
                .collect(),
            longest: longest
                .max_by_key(|hit| hit.len)
                .unwrap_or(Hit { needle: 0, len: 0 }),
        };
        automaton.grow(needles);
        automaton.link();
        automaton
    }

    /// Makes the nodes, one depth after the other.
    #[inline(never)]
    fn grow(&mut self, needles: &[Needle]) {
        let mut branches: Vec<Branch> = (0..).zip(needles).map(Branch::new).collect();
        branches.sort_by(|one, other| {
            let first = one.first.cmp(&other.first);
            first.then_with(|| one.bytes.cmp(other.bytes))
        });
        for index in 1..branches.len() {
            let before = branches[index - 1].bytes.iter();
            let same = before.zip(branches[index].bytes);
            branches[index].shared = same.take_while(|(one, other)| one == other).count();
        }
        let shared = branches.iter().map(|branch| branch.shared).sum::<usize>();
        let all = branches
            .iter()
            .map(|branch| branch.bytes.len())
            .sum::<usize>();
        self.nodes.reserve_exact(all - shared + 2);
        self.bytes.reserve_exact(all - shared + 1);
        self.nodes.push(Node::default());
        self.bytes.push(0);
        let mut depth = 0;
        while !branches.is_empty() {
            // What ends leaves its common part with the next one to whoever follows.
            let mut left = usize::MAX;
            let mut node = usize::MAX;
            branches.retain_mut(|branch| {
                let shared = branch.shared.min(left);
                let Some(&byte) = branch.bytes.get(depth) else {
                    left = shared;
                    return false;
                };
                branch.shared = shared;
                left = usize::MAX;
                // Sorted, so that it can only be the one before.
                let is_new = node == usize::MAX || shared <= depth;
                if is_new {
                    node = self.nodes.len();
                }
                let parent = &mut self.nodes[branch.state as usize];
                for (grows, searched) in parent.grows.iter_mut().zip(branch.searched) {
                    *grows |= searched;
                }
                if parent.children == ROOT {
                    parent.children = node as State;
                }
                if is_new {
                    self.nodes.push(Node {
                        depth: depth as u32 + 1,
                        ..Node::default()
                    });
                    self.bytes.push(byte);
                }
                branch.state = node as State;
                if depth + 1 == branch.bytes.len() {
                    self.end(branch);
                }
                true
            });
            depth += 1;
        }
        // A node without children ends where the next one's begin.
        let mut behind = self.nodes.len() as State;
        self.nodes.push(Node {
            children: behind,
            ..Node::default()
        });
        for node in self.nodes.iter_mut().rev() {
            if node.children == ROOT {
                node.children = behind;
            }
            behind = node.children;
        }
        for child in self.children(ROOT) {
            self.first[usize::from(self.bytes[child as usize])] = child;
        }
    }

    fn end(&mut self, branch: &Branch) {
        let hit = &mut self.nodes[branch.state as usize].hit;
        for (hit, searched) in hit.iter_mut().zip(branch.searched) {
            if searched && (*hit == 0 || branch.number < *hit) {
                *hit = branch.number;
            }
        }
    }

    /// The state after one more byte of text.
    #[inline]
    pub(crate) fn next(&self, mut state: State, byte: u8) -> State {
        loop {
            let child = self.child(state, byte);
            if child != ROOT || state == ROOT {
                return child;
            }
            state = self.node(state).leap;
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
        let byte = self.bytes[child as usize];
        (node.grows[decoded] || node.hit[decoded] != 0) && byte >> (8 - known) == bits
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
        let children = self.children(state);
        let bytes = &self.bytes[children.start as usize..children.end as usize];
        let index = bytes.iter().position(|&known| known == byte);
        index.map_or(ROOT, |index| children.start + index as State)
    }

    /// The byte with which a state goes on, if there is only one.
    fn only_byte(&self, state: State) -> Option<u8> {
        let children = self.children(state);
        (state != ROOT && children.len() == 1).then(|| self.bytes[children.start as usize])
    }

    #[inline]
    fn children(&self, state: State) -> std::ops::Range<State> {
        self.node(state).children..self.node(state + 1).children
    }

    /// Sets the failure links; shorter texts have theirs already.
    #[inline(never)]
    fn link(&mut self) {
        for state in 1..self.bytes.len() as State {
            let fail = self.node(state).fail;
            self.nodes[state as usize].leap = match self.only_byte(fail) {
                byte @ Some(_) if byte == self.only_byte(state) => self.node(fail).leap,
                _ => fail,
            };
            for child in self.children(state) {
                let fail = self.next(fail, self.bytes[child as usize]);
                let known = self.node(fail).hit;
                let node = &mut self.nodes[child as usize];
                node.fail = fail;
                for (hit, known) in node.hit.iter_mut().zip(known) {
                    if *hit == 0 {
                        *hit = known;
                    }
                }
            }
        }
    }
}

/// A needle on its way into the automaton.
struct Branch<'a> {
    bytes: &'a [u8],
    /// The first of them, as they are sorted.
    first: u64,
    /// One more than its number.
    number: u32,
    searched: [bool; 2],
    /// Bytes that it begins like the one before.
    shared: usize,
    /// What stands for its bytes so far.
    state: State,
}

impl<'a> Branch<'a> {
    fn new((number, needle): (u32, &'a Needle)) -> Self {
        let mut first = [0; 8];
        let count = needle.bytes.len().min(first.len());
        first[..count].copy_from_slice(&needle.bytes[..count]);
        Self {
            bytes: &needle.bytes,
            first: u64::from_be_bytes(first),
            number: number + 1,
            searched: [needle.raw, needle.decoded],
            shared: 0,
            state: ROOT,
        }
    }
}
