//! What the compilation of a constraint may cost: states, bytes and time. Whatever a user writes, it ends.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The limits of one compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most states of any automaton on the way.
    pub states: usize,
    /// The most bytes of any table on the way.
    pub bytes: usize,
    /// The most time.
    pub time: Duration,
}

/// A compilation at work.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    budget: Budget,
    start: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self { states: 50_000, bytes: 256 << 20, time: Duration::from_secs(20) }
    }
}

impl Budget {
    /// Starts the clock.
    pub fn meter(self) -> Meter {
        Meter { budget: self, start: Instant::now() }
    }
}

impl Meter {
    /// The limits.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Fails where there are too many states of `bytes_per_state` each, or the time is over.
    pub fn check(&self, states: usize, bytes_per_state: usize) -> Result<()> {
        let Budget { states: most, bytes, time } = self.budget;
        if states > most {
            return Err(Error::States { limit: most });
        }
        if states.saturating_mul(bytes_per_state) > bytes {
            return Err(Error::Bytes { limit: bytes });
        }
        if self.start.elapsed() > time {
            return Err(Error::Time { limit: time });
        }
        Ok(())
    }

    /// The time that is left; at least a moment, so that a limit can be set by it.
    pub fn left(&self) -> Duration {
        self.budget.time.saturating_sub(self.start.elapsed()).max(Duration::from_millis(1))
    }
}
