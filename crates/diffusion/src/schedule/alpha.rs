//! The contract of a schedule: alpha(t), the share of the text that survives until t, its derivative and its inverse.

use super::{Cosine, Geometric, Linear, LogLinear, Sqrt};

/// alpha(t) for t in [0, 1], decreasing from `alpha_max` (at 0) to `alpha_min` (at 1).
pub trait Schedule: Send + Sync {
    /// The schedule's name in configurations.
    fn name(&self) -> &'static str;

    /// The share that survives at t.
    fn alpha(&self, t: f64) -> f64;

    /// d alpha / dt, never positive.
    fn alpha_derivative(&self, t: f64) -> f64;

    /// The t at which alpha(t) = `alpha`, for `alpha` between the endpoints.
    fn time_at(&self, alpha: f64) -> f64;

    /// alpha(0); schedules that do not start at 1 say so here.
    fn alpha_max(&self) -> f64 {
        self.alpha(0.0)
    }

    /// alpha(1); schedules that do not reach 0 say so here.
    fn alpha_min(&self) -> f64 {
        self.alpha(1.0)
    }

    /// The weight of a masked token's cross-entropy in the NELBO, -alpha' / (1 - alpha) (MDLM, Sahoo et al. 2024, eq. 10).
    fn weight(&self, t: f64) -> f64 {
        -self.alpha_derivative(t) / (1.0 - self.alpha(t))
    }

    /// The chance that a cell which is noise at t is written by s < t: (alpha(s) - alpha(t)) / (1 - alpha(t)).
    ///
    /// At s = 0 it is 1 whatever `alpha_max` is: the last step writes all.
    fn reveal(&self, t: f64, s: f64) -> f64 {
        if s <= 0.0 {
            return 1.0;
        }
        ((self.alpha(s) - self.alpha(t)) / (1.0 - self.alpha(t))).clamp(0.0, 1.0)
    }
}

/// The schedule of that name with its default endpoints.
pub fn by_name(name: &str) -> Option<Box<dyn Schedule>> {
    Some(match name {
        "linear" => Box::new(Linear),
        "cosine" => Box::new(Cosine),
        "log_linear" => Box::new(LogLinear::default()),
        "geometric" => Box::new(Geometric::default()),
        "sqrt" => Box::new(Sqrt::default()),
        _ => return None,
    })
}

/// The schedule of that name, or the linear one: for names that a registry has checked.
pub fn or_linear(name: &str) -> Box<dyn Schedule> {
    by_name(name).unwrap_or_else(|| Box::new(Linear))
}

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &["linear", "cosine", "log_linear", "geometric", "sqrt"];

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn name(&self) -> &'static str {
        self.as_ref().name()
    }

    fn alpha(&self, t: f64) -> f64 {
        self.as_ref().alpha(t)
    }

    fn alpha_derivative(&self, t: f64) -> f64 {
        self.as_ref().alpha_derivative(t)
    }

    fn time_at(&self, alpha: f64) -> f64 {
        self.as_ref().time_at(alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_decreases_and_agrees_with_itself() {
        for name in NAMES {
            let schedule = by_name(name).expect("a listed name");
            assert_eq!(schedule.name(), *name);
            let mut last = schedule.alpha_max();
            assert!(last <= 1.0 && schedule.alpha_min() >= 0.0 && schedule.alpha_min() < last);
            for i in 1..100 {
                let t = f64::from(i) / 100.0;
                let alpha = schedule.alpha(t);
                assert!(alpha < last, "{name} at {t}");
                let h = 1e-6;
                let slope = (schedule.alpha(t + h) - schedule.alpha(t - h)) / (2.0 * h);
                assert!((slope - schedule.alpha_derivative(t)).abs() < 1e-5 * slope.abs().max(1.0), "{name} at {t}");
                assert!((schedule.time_at(alpha) - t).abs() < 1e-9, "{name} at {t}");
                last = alpha;
            }
        }
        assert!(by_name("none").is_none());
    }

    #[test]
    fn the_last_step_reveals_everything() {
        for name in NAMES {
            let schedule = by_name(name).expect("a listed name");
            assert_eq!(schedule.reveal(0.2, 0.0), 1.0);
            let half = schedule.reveal(0.6, 0.3);
            assert!(half > 0.0 && half < 1.0);
        }
    }
}
