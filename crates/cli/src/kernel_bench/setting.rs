//! How a measurement is made: turns of a fixed time, medians, the peaks of the same run.

use std::time::{Duration, Instant};

use anyhow::Result;
use lldm_eval::median;
use lldm_kernels::peak::{Peak, peaks, run_loop};

use crate::render::plain;

/// The least time of a turn: pools of threads that spin after their work must not reach into the next one's.
const TURN: Duration = Duration::from_millis(20);

/// Runs of a peak's loop in one call, some milliseconds.
const LOOPS: usize = 100;

/// What all measurements share.
pub(crate) struct Setting {
    /// Threads at once.
    pub(crate) threads: usize,
    /// Seconds for each row.
    pub(crate) seconds: f64,
    /// What the names of the kernels wanted begin with; all where nothing is said.
    pub(crate) only: Vec<String>,
    /// The peaks of this CPU.
    pub(crate) peaks: Vec<Peak>,
}

/// Something that is timed.
pub(crate) type Run<'a> = &'a mut dyn FnMut() -> Result<()>;

impl Setting {
    /// Measures the peaks.
    pub(crate) fn new(threads: usize, seconds: f64, only: Vec<String>) -> Self {
        plain::note(&format!("measuring what {threads} threads can reach"));
        Self { threads, seconds, only, peaks: peaks(threads, seconds.min(0.5)) }
    }

    /// Whether a kernel is wanted.
    pub(crate) fn wants(&self, kernel: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| kernel.starts_with(start.as_str()))
    }

    /// Whether any kernel whose name begins so may be wanted.
    pub(crate) fn wants_any(&self, group: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|start| start.starts_with(group) || group.starts_with(start.as_str()))
    }

    /// The highest peak of a type of inputs; NaN where this CPU has no instruction for it.
    pub(crate) fn peak(&self, dtype: &str) -> Peak {
        let fits = self.peaks.iter().filter(|peak| peak.dtype == dtype);
        let none = Peak { instruction: "none", dtype: "none", gops: f64::NAN };
        fits.copied().max_by(|a, b| a.gops.total_cmp(&b.gops)).unwrap_or(none)
    }

    /// The peak of an instruction; where it is not measured, the highest of the type.
    pub(crate) fn peak_of(&self, instruction: &str, dtype: &str) -> Peak {
        let own = self.peaks.iter().find(|peak| peak.instruction == instruction);
        own.copied().unwrap_or_else(|| self.peak(dtype))
    }

    /// As [`Self::in_turn`], with a further turn for the loop of the peak, which comes back as that turn's median has it: what the core
    /// holds at the time, beside whatever else the machine does, not the best of its life.
    pub(crate) fn beside(&self, peak: Peak, runs: &mut [Run<'_>]) -> Result<(Vec<f64>, Peak)> {
        let mut operations = 0.0;
        let mut reach = || {
            operations = run_loop(peak.instruction, self.threads, LOOPS);
            Ok(())
        };
        let mut all: Vec<Run<'_>> = Vec::with_capacity(runs.len() + 1);
        all.extend(runs.iter_mut().map(|run| &mut **run as Run<'_>));
        all.push(&mut reach);
        let mut seconds = self.in_turn(&mut all)?;
        let last = seconds.pop().unwrap_or(f64::NAN);
        Ok((seconds, Peak { gops: if operations > 0.0 { operations / last * 1e-9 } else { peak.gops }, ..peak }))
    }

    /// The seconds that one call of each takes: they take turns of some milliseconds, each rate is the median of its turns, of which
    /// there are three at least.
    pub(crate) fn in_turn(&self, runs: &mut [Run<'_>]) -> Result<Vec<f64>> {
        let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); runs.len()];
        for run in &mut *runs {
            run()?;
        }
        let start = Instant::now();
        while seconds.iter().any(|turns| turns.len() < 3) || start.elapsed().as_secs_f64() < self.seconds {
            for (run, turns) in runs.iter_mut().zip(&mut seconds) {
                let (start, mut calls) = (Instant::now(), 0);
                while calls == 0 || start.elapsed() < TURN {
                    run()?;
                    calls += 1;
                }
                turns.push(start.elapsed().as_secs_f64() / f64::from(calls));
            }
        }
        Ok(seconds.into_iter().map(median).collect())
    }
}

/// Values between -1 and 1 that do not repeat soon.
pub(crate) fn values(length: usize) -> Vec<f32> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_by_their_beginnings() {
        let setting = |only: &[&str]| Setting {
            threads: 1,
            seconds: 0.0,
            only: only.iter().map(ToString::to_string).collect(),
            peaks: vec![
                Peak { instruction: "a", dtype: "f32", gops: 1.0 },
                Peak { instruction: "b", dtype: "f32", gops: 2.0 },
            ],
        };
        assert!(setting(&[]).wants("gemm_q8_0"));
        let some = setting(&["gemm_q8", "experts"]);
        assert!(some.wants("gemm_q8_0") && !some.wants("gemm_q4_k") && some.wants("experts_q4_k"));
        assert!(some.wants_any("gemm_q") && some.wants_any("experts_") && !some.wants_any("gemm_bf16"));
        assert_eq!(some.peak("f32").instruction, "b");
        assert!(some.peak("int8").gops.is_nan());
        assert_eq!((some.peak_of("a", "f32").instruction, some.peak_of("c", "f32").instruction), ("a", "b"));
        let mut calls = [0, 0];
        let [first, second] = &mut calls;
        let seconds = some
            .in_turn(&mut [
                &mut || {
                    *first += 1;
                    Ok(())
                },
                &mut || {
                    *second += 1;
                    Ok(())
                },
            ])
            .expect("nothing fails");
        assert!(seconds.iter().all(|seconds| *seconds >= 0.0) && calls.iter().all(|calls| *calls >= 4));
        assert!(values(1000).iter().all(|x| (-1.0..1.0).contains(x)));
    }
}
