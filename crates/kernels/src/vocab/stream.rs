//! The random bits of a draw: 64 for each (key, token), the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast
//! splittable pseudorandom number generators", figure 16) on a counter.
//!
//! It is the stream of `lldm-diffusion`'s `rng::stream`, of which this crate knows nothing; `lldm-models` tests that the
//! two agree.

/// What the counter grows by for each token.
pub(super) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// The multipliers of the finaliser.
pub(super) const MULTIPLIERS: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];

/// The 64 random bits of `token` in the stream that starts at `key`.
#[inline(always)]
pub fn stream(key: u64, token: u64) -> u64 {
    finalise(counter(key, token))
}

/// What is hashed for a token; the next token's is [`STEP`] more.
#[inline(always)]
pub(super) fn counter(key: u64, token: u64) -> u64 {
    key.wrapping_add(token.wrapping_add(1).wrapping_mul(STEP))
}

/// The finaliser.
#[inline(always)]
pub(super) fn finalise(counter: u64) -> u64 {
    let z = (counter ^ (counter >> 30)).wrapping_mul(MULTIPLIERS[0]);
    let z = (z ^ (z >> 27)).wrapping_mul(MULTIPLIERS[1]);
    z ^ (z >> 31)
}
