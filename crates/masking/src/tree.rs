//! Collocations as sequences of tokens.

use hashbrown::HashMap;
use lyceum_core::Result;
use rayon::prelude::*;
use rustc_hash::FxBuildHasher;
use tokenizers::Tokenizer;

use crate::{
    tokens::{self, Kind, Tokens},
    vocabulary::Vocabulary,
    words::Punctuation,
};

/// Collocations as sequences of tokens, made for finding them in text where most tokens begin none.
#[derive(Debug, Clone)]
pub struct TokenTree {
    /// The node of each first token.
    roots: Vec<Node>,
    /// By the hash of node and token, at the first free place from there on; twice as many places as edges and more.
    edges: Vec<Edge>,
    /// A bit for each first two tokens, at a place that their hash gives.
    pairs: Vec<u64>,
    /// Signs between words are passed over.
    skip: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Edge {
    from: Node,
    token: u32,
    to: Node,
}

/// A number, and in its last two bits whether tokens go on from here and whether a collocation ends here. No node is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Node(u32);

impl Node {
    fn new(number: u32, goes_on: bool, ends: bool) -> Self {
        Self(number << 2 | u32::from(goes_on) << 1 | u32::from(ends))
    }

    fn goes_on(self) -> bool {
        self.0 & 2 != 0
    }

    fn ends(self) -> bool {
        self.0 & 1 != 0
    }
}

impl TokenTree {
    /// The collocations of a vocabulary; those with a word that the tokeniser does not know are left out.
    pub fn new(vocabulary: &Vocabulary, tokenizer: &Tokenizer, tokens: &Tokens) -> Result<Self> {
        let entries: Vec<Vec<&str>> = (0..vocabulary.len() as u32).map(|number| vocabulary.get(number).words).collect();
        let mut words: Vec<&str> = entries.iter().flatten().copied().collect();
        words.par_sort_unstable();
        words.dedup();
        let tokenizer = tokens::whole(tokenizer);
        let encoded: Vec<Vec<Vec<u32>>> = words.par_iter().map(|word| tokens.of_word(&tokenizer, word)).collect::<Result<_>>()?;
        let skip = vocabulary.about().splitting.punctuation == Punctuation::Skip;
        let mut children = Children::default();
        let mut ends = vec![false];
        for entry in &entries {
            // Inside, a word stands after a space; after a sign too where signs are passed over.
            let mut nodes = vec![0];
            for (place, word) in entry.iter().enumerate() {
                let forms = &encoded[words.binary_search(word).unwrap_or(0)];
                let forms = if place == 0 || skip { forms.as_slice() } else { &forms[..forms.len().min(1)] };
                let mut next = Vec::new();
                for node in nodes {
                    for form in forms {
                        next.push(form.iter().fold(node, |node, token| {
                            let node = *children.entry((node, *token)).or_insert(ends.len() as u32);
                            if node as usize == ends.len() {
                                ends.push(false);
                            }
                            node
                        }));
                    }
                }
                nodes = next;
            }
            nodes.into_iter().for_each(|node| ends[node as usize] = true);
        }
        Ok(Self::frozen(&children, &ends, skip))
    }

    fn frozen(children: &Children, ends: &[bool], skip: bool) -> Self {
        let mut goes_on = vec![false; ends.len()];
        let mut is_first = vec![false; ends.len()];
        for ((from, _), to) in children {
            goes_on[*from as usize] = true;
            is_first[*to as usize] = *from == 0;
        }
        let node = |number: u32| Node::new(number, goes_on[number as usize], ends[number as usize]);
        let tokens = children.keys().map(|(_, token)| *token as usize + 1).max().unwrap_or(0);
        let mut tree = Self {
            roots: vec![Node::default(); tokens],
            edges: vec![Edge::default(); (2 * children.len() + 1).next_power_of_two()],
            // Few of the pairs that begin nothing have a bit, and all bits are in a cache.
            pairs: vec![0; (children.len() + 1).div_ceil(16).next_power_of_two()],
            skip,
        };
        for ((from, token), to) in children.iter().map(|((from, token), to)| ((*from, *token), *to)) {
            if from == 0 {
                tree.roots[token as usize] = node(to);
                continue;
            }
            let hash = hash(node(from), token);
            if is_first[from as usize] {
                let (word, bit) = tree.bit(hash);
                tree.pairs[word] |= bit;
            }
            let mut place = tree.place(hash);
            while tree.edges[place].to != Node::default() {
                place = tree.after(place);
            }
            tree.edges[place] = Edge { from: node(from), token, to: node(to) };
        }
        tree
    }

    fn root(&self, token: i64) -> Node {
        self.roots.get(token as usize).copied().unwrap_or_default()
    }

    fn next(&self, from: Node, token: u32) -> Node {
        let mut place = self.place(hash(from, token));
        loop {
            let edge = self.edges[place];
            if (edge.from == from && edge.token == token) || edge.to == Node::default() {
                return edge.to;
            }
            place = self.after(place);
        }
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.edges.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.edges.len() - 1)
    }

    fn bit(&self, hash: u64) -> (usize, u64) {
        ((hash >> 6) as usize & (self.pairs.len() - 1), 1 << (hash & 63))
    }

    /// Whether a collocation may begin with these two tokens, as far as a small table tells.
    #[inline]
    #[allow(clippy::needless_bitwise_bool, reason = "part of a sweep without branches")]
    pub(crate) fn may_begin(&self, first: i64, second: i64) -> bool {
        let root = self.root(first);
        let known = root != Node::default();
        // Tokens that begin nothing all look at the same place.
        let (word, bit) = self.bit(hash(root, second as u32) & u64::from(known).wrapping_neg());
        known & (self.skip | (self.pairs[word] & bit != 0))
    }

    /// The same as far as the first look at the large table tells, which is then at hand for [`longest`](Self::longest).
    #[inline]
    pub(crate) fn seems_to_begin(&self, first: i64, second: i64) -> bool {
        self.skip | (self.edges[self.place(hash(self.root(first), second as u32))].to != Node::default())
    }

    /// How many tokens the longest collocation has that begins with the first of these tokens and ends where a word ends; 0
    /// where there is none.
    pub fn longest(&self, ids: &[i64], tokens: &Tokens) -> usize {
        let is = |at: usize, kind: Kind| ids.get(at).is_some_and(|id| tokens.kind(*id as u32) == kind);
        let mut node = ids.first().map_or(Node::default(), |first| self.root(*first));
        let (mut length, mut longest) = (1, 0);
        loop {
            let kind = |at: usize| ids.get(at).map_or(Kind::Special, |id| tokens.kind(*id as u32));
            if node.ends() && !kind(length).goes_on(kind(length - 1)) {
                longest = length;
            }
            while self.skip && is(length, Kind::Sign) {
                length += 1;
            }
            match ids.get(length) {
                Some(token) if node.goes_on() => node = self.next(node, *token as u32),
                _ => return longest,
            }
            length += 1;
        }
    }
}

/// The number that a node has while the tree grows, and a token, to the number of the next; the tree begins with 0.
type Children = HashMap<(u32, u32), u32, FxBuildHasher>;

/// Fibonacci hashing: the upper bits are the good ones, and come down.
fn hash(from: Node, token: u32) -> u64 {
    (u64::from(from.0) << 32 | u64::from(token)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24
}
