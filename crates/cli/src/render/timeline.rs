//! The time of a moving picture: which pieces are visible when, as CSS.

use std::collections::BTreeSet;
use std::fmt::Write;

use lldm_diffusion::{Cell, Frame};

/// How long the last frame is shown.
const PAUSE_S: f64 = 3.0;

/// The frames of a picture that begins again and again, and the spans of them that its pieces need.
#[derive(Debug)]
pub(crate) struct Timeline<'a> {
    frames: &'a [Frame],
    frame_s: f64,
    /// First frame and, exclusive, the end.
    spans: BTreeSet<(usize, usize)>,
}

impl<'a> Timeline<'a> {
    /// Every frame is shown for `frame_s` seconds.
    pub(crate) fn new(frames: &'a [Frame], frame_s: f64) -> Self {
        Self { frames, frame_s, spans: BTreeSet::new() }
    }

    /// The classes of what is visible in the frames `first..end`: `a` is hidden where nothing moves, `z` is not.
    pub(crate) fn class(&mut self, first: usize, end: usize) -> String {
        if (first, end) == (0, self.frames.len()) {
            return "z".to_string();
        }
        self.spans.insert((first, end));
        let last = if end == self.frames.len() { " z" } else { "" };
        format!("a{last} i{first}-{end}")
    }

    /// The rules that the classes need, and `done`, a bar that grows with the written part of the canvas.
    pub(crate) fn css(&self) -> String {
        let total_s = self.total_s();
        let mut css = String::new();
        // Writing into a string cannot fail, here and below.
        for (first, end) in &self.spans {
            let before = if *first == 0 { String::new() } else { "0%{opacity:0}".to_string() };
            let after = if *end == self.frames.len() {
                "100%{opacity:1}".to_string()
            } else {
                format!("{},100%{{opacity:0}}", self.percent(*end))
            };
            let (name, begin) = (format!("{first}-{end}"), self.percent(*first));
            let _ = writeln!(
                css,
                "@keyframes k{name}{{{before}{begin}{{opacity:1}}{after}}}\
                 .i{name}{{animation-name:k{name};animation-duration:{total_s:.2}s}}"
            );
        }
        css.push_str("@keyframes bar{");
        for (at, frame) in self.frames.iter().enumerate() {
            let open = frame.cells.iter().filter(|cell| matches!(cell.state, Cell::Noisy | Cell::Draft)).count();
            let share = 1.0 - open as f64 / frame.cells.len().max(1) as f64;
            let _ = write!(css, "{}{{transform:scaleX({share:.3})}}", self.percent(at));
        }
        let _ = writeln!(css, "100%{{transform:scaleX(1)}}}}.done{{animation:bar {total_s:.2}s step-end infinite}}");
        css
    }

    fn total_s(&self) -> f64 {
        self.frames.len() as f64 * self.frame_s + PAUSE_S
    }

    fn percent(&self, frame: usize) -> String {
        format!("{:.3}%", 100.0 * frame as f64 * self.frame_s / self.total_s())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_become_keyframes_and_the_last_frame_stays() {
        let frame = Frame {
            sequence: 0,
            canvas: 0,
            block: 0,
            step: 0,
            time: 0.0,
            nfe: 0,
            log_z: None,
            cells: Vec::new(),
            done: false,
        };
        let frames = [frame.clone(), frame.clone(), frame];
        let mut timeline = Timeline::new(&frames, 1.0);
        assert_eq!(timeline.class(2, 3), "a z i2-3");
        assert_eq!(timeline.class(0, 1), "a i0-1");
        assert_eq!(timeline.class(0, 3), "z");
        let css = timeline.css();
        assert!(css.contains("@keyframes k2-3{0%{opacity:0}33.333%{opacity:1}100%{opacity:1}}"), "{css}");
        assert!(css.contains("@keyframes k0-1{0.000%{opacity:1}16.667%,100%{opacity:0}}"), "{css}");
        assert!(!css.contains("k0-3"), "what is always visible needs no rule");
    }
}
