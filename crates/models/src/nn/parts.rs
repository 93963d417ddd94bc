//! Where the time of a pass goes: layers say which part of the network they are, and a measurement adds up each part's time.
//!
//! Nothing is timed unless somebody measures; then a part's time is that of the thread that runs it. One measurement at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Tokens to vectors.
    Embedding,
    /// Norms of the residual stream.
    Norms,
    /// The projections to queries, keys and values, and that of the attention's output.
    Projections,
    /// Norms of heads, rotary positions, scores and weighted sums.
    Attention,
    /// The feed-forward layers.
    FeedForward,
    /// What the layers add to the residual stream.
    Residual,
    /// The projection to logits.
    Logits,
    /// The pass over the vocabulary.
    Vocabulary,
}

static MEASURING: AtomicBool = AtomicBool::new(false);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NANOSECONDS: [AtomicU64; Part::ALL.len()] = [const { AtomicU64::new(0) }; Part::ALL.len()];

impl Part {
    /// All parts, in the order of a pass.
    pub const ALL: [Self; 8] = [
        Self::Embedding,
        Self::Norms,
        Self::Projections,
        Self::Attention,
        Self::FeedForward,
        Self::Residual,
        Self::Logits,
        Self::Vocabulary,
    ];

    /// The name for a reader.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Norms => "norms",
            Self::Projections => "projections",
            Self::Attention => "attention",
            Self::FeedForward => "feed-forward",
            Self::Residual => "residual stream",
            Self::Logits => "logits",
            Self::Vocabulary => "vocabulary pass",
        }
    }

    /// Runs `f` as this part.
    pub(crate) fn time<T>(self, f: impl FnOnce() -> T) -> T {
        if !MEASURING.load(Ordering::Relaxed) {
            return f();
        }
        let start = Instant::now();
        let result = f();
        NANOSECONDS[self as usize].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

/// Runs `f` and adds up the time of each part, in the order of [`Part::ALL`].
pub fn measure_parts<T>(f: impl FnOnce() -> T) -> (T, [Duration; Part::ALL.len()]) {
    let guard = ONE_AT_A_TIME.lock();
    NANOSECONDS.iter().for_each(|sum| sum.store(0, Ordering::Relaxed));
    MEASURING.store(true, Ordering::Relaxed);
    let result = f();
    MEASURING.store(false, Ordering::Relaxed);
    drop(guard);
    let mut times = [Duration::ZERO; Part::ALL.len()];
    times
        .iter_mut()
        .zip(&NANOSECONDS)
        .for_each(|(time, sum)| *time = Duration::from_nanos(sum.load(Ordering::Relaxed)));
    (result, times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_up_while_somebody_measures() {
        let sleep = || Part::Attention.time(|| std::thread::sleep(Duration::from_millis(2)));
        sleep();
        let ((), times) = measure_parts(|| {
            sleep();
            sleep();
        });
        assert!(times[Part::Attention as usize] >= Duration::from_millis(4));
        assert_eq!(times[Part::FeedForward as usize], Duration::ZERO);
        assert!(Part::ALL.iter().enumerate().all(|(at, part)| *part as usize == at));
    }
}
