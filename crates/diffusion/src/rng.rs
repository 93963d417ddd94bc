//! Counter-based randomness: every draw is a pure function of (seed, sequence, block, step, position, purpose).
//!
//! So the text does not depend on how sequences are batched, on the number of threads, or on the order in which cells
//! are visited. The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

/// What a draw is for; draws of different purposes at the same place are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// The token of a cell.
    Token = 0,
    /// Whether a cell is committed.
    Commit = 1,
    /// The time of the next step.
    Time = 2,
    /// Which cell is chosen.
    Position = 3,
    /// Noise from the prior.
    Prior = 4,
    /// The joint draw of a constraint.
    Constraint = 5,
    /// Noise added while training or measuring.
    Corrupt = 6,
    /// The joint draw that makes what a sampler commits a valid text.
    Settle = 7,
    /// Which particles go on, and which one is taken in the end.
    Resample = 8,
}

/// The random source of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    sequence: u32,
}

/// The random source of one step of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRng {
    rng: Rng,
    block: u32,
    step: u32,
}

impl Rng {
    /// The source for sequence number `sequence` under `seed`.
    pub fn new(seed: u64, sequence: u64) -> Self {
        // The upper half of a long sequence number is folded into the key, so that no two sequences share a stream.
        Self { seed: seed ^ (sequence >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15), sequence: sequence as u32 }
    }

    /// The source for a step of a block.
    pub fn at(&self, block: usize, step: usize) -> StepRng {
        StepRng { rng: *self, block: block as u32, step: step as u32 }
    }
}

impl StepRng {
    /// 64 random bits for a position.
    pub fn bits(&self, position: usize, purpose: Purpose) -> u64 {
        let place = ((position as u32) << 4) | purpose as u32;
        let key = [self.rng.seed as u32, (self.rng.seed >> 32) as u32];
        let out = philox4x32([self.rng.sequence, self.block, self.step, place], key);
        u64::from(out[0]) | (u64::from(out[1]) << 32)
    }

    /// A uniform number in (0, 1) for a position.
    pub fn uniform(&self, position: usize, purpose: Purpose) -> f64 {
        open_unit(self.bits(position, purpose))
    }

    /// A uniform choice among `count` for a position.
    pub fn choice(&self, position: usize, purpose: Purpose, count: usize) -> usize {
        // The multiply-shift of Lemire; its bias is below count / 2^64.
        ((u128::from(self.bits(position, purpose)) * count as u128) >> 64) as usize
    }
}

/// Maps 64 random bits to (0, 1), both ends excluded, with 52 bits of resolution.
pub fn open_unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) * 2f64.powi(-52)
}

/// The `index`-th member of the stream that starts at `key`: the finaliser of SplitMix64.
///
/// One call a vocabulary entry, where a Philox block each would cost more than the softmax.
pub fn stream(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9E37_79B9);
            key[1] = key[1].wrapping_add(0xBB67_AE85);
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the Random123 distribution.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn uniforms_stay_inside_the_open_interval() {
        assert!(open_unit(0) > 0.0);
        assert!(open_unit(u64::MAX) < 1.0);
    }

    #[test]
    fn every_coordinate_matters() {
        let base = Rng::new(1, 2).at(3, 4).bits(5, Purpose::Token);
        assert_ne!(base, Rng::new(2, 2).at(3, 4).bits(5, Purpose::Token));
        assert_ne!(base, Rng::new(1, 3).at(3, 4).bits(5, Purpose::Token));
        assert_ne!(base, Rng::new(1, 2 + (1 << 32)).at(3, 4).bits(5, Purpose::Token));
        assert_ne!(base, Rng::new(1, 2).at(4, 4).bits(5, Purpose::Token));
        assert_ne!(base, Rng::new(1, 2).at(3, 5).bits(5, Purpose::Token));
        assert_ne!(base, Rng::new(1, 2).at(3, 4).bits(6, Purpose::Token));
        assert_ne!(base, Rng::new(1, 2).at(3, 4).bits(5, Purpose::Commit));
    }
}
