//! Random members of a language, by seed: walks over an automaton that choose among the states that follow, and that go straight to
//! the end once they are long.

use std::collections::BTreeMap;

use lldm_control::ByteDfa;

pub(crate) struct Members<'a> {
    dfa: &'a ByteDfa,
    /// The fewest bytes from each state to acceptance.
    distance: Vec<usize>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(dfa: &'a ByteDfa) -> Self {
        let states = dfa.states() as u32;
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); dfa.states()];
        for state in 0..states {
            let mut next: Vec<u32> = (0..=255).filter_map(|byte| dfa.next(state, byte)).collect();
            next.sort_unstable();
            next.dedup();
            next.iter().for_each(|to| sources[*to as usize].push(state));
        }
        let mut distance = vec![usize::MAX; dfa.states()];
        let mut level: Vec<u32> = (0..states).filter(|state| dfa.is_accepting(*state)).collect();
        for steps in 0.. {
            level.retain(|state| distance[*state as usize] == usize::MAX);
            if level.is_empty() {
                break;
            }
            level.iter().for_each(|state| distance[*state as usize] = steps);
            level = level.iter().flat_map(|state| sources[*state as usize].clone()).collect();
            level.sort_unstable();
            level.dedup();
        }
        Self { dfa, distance }
    }

    /// A member; its length is that of the seed's draw, more or less.
    pub(crate) fn draw(&self, seed: u64) -> Vec<u8> {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D);
        let length = 10 + random.below(150);
        let (mut state, mut text) = (0, Vec::new());
        while text.len() < length || !self.dfa.is_accepting(state) {
            let mut next: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            for byte in 0..=255 {
                if let Some(to) = self.dfa.next(state, byte) {
                    next.entry(to).or_default().push(byte);
                }
            }
            if text.len() + self.distance[state as usize] >= length {
                let distance = self.distance[state as usize];
                next.retain(|to, _| self.distance[*to as usize] < distance || distance == 0);
            }
            let Some((to, bytes)) = next.iter().nth(random.below(next.len().max(1))) else { break };
            text.push(bytes[random.below(bytes.len())]);
            state = *to;
        }
        text
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
