//! A recorded canvas as a picture that moves: one self-contained SVG, animated by CSS.
//!
//! Every cell has its place from the beginning, as wide as the text that it ends with, so that nothing jumps. A piece of
//! a cell is visible while its frames are shown. Who cannot or does not want to see movement sees the finished text.

use std::fmt::Write;

use lldm_diffusion::{Frame, Token};

use super::canvas::{END_GLYPH, Look, View, look, status};
use super::timeline::Timeline;
use super::wrap::{columns, harmless};

/// Sizes in pixels.
const WIDTH: f64 = 760.0;
const MARGIN: f64 = 28.0;
const COLUMN: f64 = 9.6;
const LINE: f64 = 38.0;
const BOX: f64 = 28.0;
/// Room left and right of a cell's text.
const PAD: f64 = 2.0;
/// Between two words, and between two cells of one word.
const WORD_GAP: f64 = 9.0;
const CELL_GAP: f64 = 1.0;

const STYLE: &str = "\
svg{--bg:#fbfaf7;--edge:#dcd8cf;--ink:#1f2328;--dim:#7d838c;--noise:#b9b4a8;--draft:#8250df;--tint:#f1e9fd;\
--new:#1a7f37;--on-new:#ffffff;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
font-size:16px}
@media (prefers-color-scheme:dark){svg{--bg:#15181e;--edge:#30363d;--ink:#e6edf3;--dim:#8b949e;--noise:#4a525c;\
--draft:#c297ff;--tint:#2a2140;--new:#3fb950;--on-new:#0d1117}}
.card{fill:var(--bg);stroke:var(--edge)}
.dots{fill:var(--noise)}
.box{rx:5px}
.n{fill:url(#noise)}
.d{fill:var(--tint);stroke:var(--draft);stroke-dasharray:3 3}
.w{fill:var(--new)}
text{fill:var(--ink);white-space:pre}
.td{fill:var(--draft);font-style:italic}
.tw{fill:var(--on-new);font-weight:600}
.tf{text-decoration:underline}
.q{fill:var(--dim)}
.s{fill:var(--dim);font-size:13px}
.bar{fill:var(--edge)}
.done{fill:var(--new);transform-box:fill-box}
.a{opacity:0;animation-timing-function:step-end;animation-iteration-count:infinite}
.z{opacity:1}
@media (prefers-reduced-motion:reduce){.a,.done{animation:none!important}}
";

/// The place of a cell.
#[derive(Clone, Copy, Debug)]
struct Slot {
    canvas: usize,
    at: usize,
    x: f64,
    y: f64,
    width: f64,
    /// Columns of text that fit.
    columns: usize,
}

/// What a cell shows during some frames.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    first: usize,
    /// Exclusive.
    end: usize,
    look: Look,
    text: String,
}

/// The picture.
pub(crate) fn draw(
    prompt: &str,
    frames: &[Frame],
    text_of: &dyn Fn(Token) -> String,
    frames_per_second: f64,
) -> String {
    let mut timeline = Timeline::new(frames, 1.0 / frames_per_second);
    let mut flow = Flow { x: MARGIN, y: MARGIN };
    let mut text = String::new();
    let prompt = harmless(prompt);
    for word in prompt.split_whitespace() {
        let (x, y) = flow.place(columns(word) as f64 * COLUMN, WORD_GAP);
        label(&mut text, "q", x, y + BOX / 2.0, word, None);
    }
    for slot in slots(frames, text_of, &mut flow) {
        for run in runs(frames, &slot, text_of) {
            piece(&mut text, &slot, &run, &mut timeline);
        }
    }
    let bottom = flow.y + LINE + 22.0;
    for (at, frame) in frames.iter().enumerate() {
        let class = timeline.class(at, at + 1);
        let _ = write!(text, "<g class=\"{class}\">");
        label(&mut text, "s", MARGIN, bottom, &status(frame), None);
        text.push_str("</g>\n");
    }
    legend(&mut text, bottom);
    let height = bottom + 40.0;
    let (bar, inner) = (bottom + 16.0, WIDTH - 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\">\n<style>\n{STYLE}",
        escaped(&format!("{prompt} {}", finished(frames, text_of)).replace('\n', " "))
    );
    // Writing into a string cannot fail, here and below.
    let _ = write!(out, "{}</style>\n{NOISE}", timeline.css());
    let _ = writeln!(
        out,
        "<rect class=\"card\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n{text}\
         <rect class=\"bar\" x=\"{MARGIN}\" y=\"{bar}\" width=\"{inner}\" height=\"3\" rx=\"1.5\"/>\n\
         <rect class=\"done\" x=\"{MARGIN}\" y=\"{bar}\" width=\"{inner}\" height=\"3\" rx=\"1.5\"/>\n</svg>",
        WIDTH - 1.0,
        height - 1.0
    );
    out
}

const NOISE: &str = "<defs><pattern id=\"noise\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
<circle class=\"dots\" cx=\"1.5\" cy=\"1.5\" r=\"1.2\"/><circle class=\"dots\" cx=\"4.5\" cy=\"4.5\" r=\"1.2\"/>\
</pattern></defs>\n";

/// Where the next piece goes.
struct Flow {
    x: f64,
    y: f64,
}

impl Flow {
    /// A place of `width`, on the next line where this one has no room, and `gap` behind it.
    fn place(&mut self, width: f64, gap: f64) -> (f64, f64) {
        if self.x > MARGIN && self.x + width > WIDTH - MARGIN {
            self.line_break();
        }
        let place = (self.x, self.y);
        self.x += width + gap;
        place
    }

    fn line_break(&mut self) {
        (self.x, self.y) = (MARGIN, self.y + LINE);
    }
}

/// A place for each cell of each canvas, as wide as what the cell ends with.
fn slots(frames: &[Frame], text_of: &dyn Fn(Token) -> String, flow: &mut Flow) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        if frames.get(index + 1).is_some_and(|next| next.canvas == frame.canvas) {
            continue;
        }
        for (at, cell) in frame.cells.iter().enumerate() {
            let text = harmless(&text_of(cell.token));
            let fits = columns(text.trim()).max(1);
            // The gap before a word belongs to the word.
            if text.starts_with(' ') && flow.x > MARGIN {
                flow.x += WORD_GAP - CELL_GAP;
            }
            let width = fits as f64 * COLUMN + 2.0 * PAD;
            let (x, y) = flow.place(width, CELL_GAP);
            slots.push(Slot { canvas: frame.canvas, at, x, y, width, columns: fits });
            if text.contains('\n') {
                flow.line_break();
            }
        }
    }
    slots
}

/// What the cell shows, frame by frame, with equal neighbours joined.
fn runs(frames: &[Frame], slot: &Slot, text_of: &dyn Fn(Token) -> String) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut previous = None;
    for (index, frame) in frames.iter().enumerate() {
        if frame.canvas >= slot.canvas {
            let run = if frame.canvas == slot.canvas && slot.at < frame.cells.len() {
                let text = harmless(&text_of(frame.cells[slot.at].token));
                let view = View { prompt: "", written: "", previous, frame };
                let look = look(&view, slot.at, text == END_GLYPH);
                let text = if look == Look::Noise { String::new() } else { text.trim().to_string() };
                Run { first: index, end: index + 1, look, text }
            } else {
                let text = runs.last().map(|run| run.text.clone()).unwrap_or_default();
                let ended = runs.last().is_some_and(|run| run.look == Look::End || run.text == END_GLYPH);
                Run { first: index, end: index + 1, look: if ended { Look::End } else { Look::Plain }, text }
            };
            match runs.last_mut() {
                Some(last) if last.look == run.look && last.text == run.text => last.end = run.end,
                _ => runs.push(run),
            }
        }
        previous = Some(frame);
    }
    runs
}

fn piece(out: &mut String, slot: &Slot, run: &Run, timeline: &mut Timeline<'_>) {
    let class = timeline.class(run.first, run.end);
    let (shape, words) = match run.look {
        Look::Noise => (Some("n"), ""),
        Look::Unsure => (Some("n"), "td"),
        Look::Draft(_) => (Some("d"), "td"),
        Look::New => (Some("w"), "tw"),
        Look::Fixed => (None, "tf"),
        Look::End | Look::Prompt => (None, "q"),
        Look::Plain => (None, ""),
    };
    let _ = write!(out, "<g class=\"{class}\">");
    if let Some(shape) = shape {
        let (x, y, width) = (slot.x, slot.y, slot.width);
        let _ = write!(
            out,
            "<rect class=\"box {shape}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BOX}\"/>"
        );
    }
    if run.look != Look::Noise && !run.text.is_empty() {
        let text = shortened(&run.text, slot.columns);
        let opacity = match run.look {
            Look::Unsure => Some(0.55),
            Look::Draft(level) => Some(0.7 + 0.15 * f64::from(level)),
            _ => None,
        };
        let inset = (slot.columns - columns(&text).min(slot.columns)) as f64 * COLUMN / 2.0;
        label(out, words, slot.x + PAD + inset, slot.y + BOX / 2.0, &text, opacity);
    }
    out.push_str("</g>\n");
}

/// What the shapes mean, flush right.
fn legend(out: &mut String, y: f64) {
    const SMALL: f64 = COLUMN * 13.0 / 16.0;
    let items = [("n", "s", "noise"), ("d", "td", "draft"), ("w", "tw", "new"), ("", "", "text")];
    let mut right = WIDTH - MARGIN;
    for (shape, words, name) in items.into_iter().rev() {
        let text = columns(name) as f64 * SMALL;
        // Dots under small letters would hide them, so the name of the noise stands behind its box.
        let (inset, width) = match shape {
            "" => (0.0, 0.0),
            "n" => (26.0, 20.0),
            _ => (6.0, text + 12.0),
        };
        let left = right - (inset + text).max(width);
        if width > 0.0 {
            let top = y - 10.0;
            let _ = write!(
                out,
                "<rect class=\"box {shape}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"20\"/>"
            );
        }
        out.push_str("<g style=\"font-size:13px\">");
        label(out, words, left + inset, y, name, None);
        out.push_str("</g>");
        right = left - 12.0;
    }
    out.push('\n');
}

/// A text whose middle lies at `y`.
fn label(out: &mut String, class: &str, x: f64, y: f64, text: &str, opacity: Option<f64>) {
    let opacity = opacity.map(|opacity| format!(" opacity=\"{opacity:.2}\"")).unwrap_or_default();
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = write!(out, "<text{class} x=\"{x:.1}\" y=\"{:.1}\"{opacity}>{}</text>", y + 5.0, escaped(text));
}

/// A text of at most `limit` columns.
fn shortened(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_string();
    }
    let mut short = String::new();
    for c in text.chars() {
        if columns(&short) + columns(&c.to_string()) + 1 > limit {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

fn finished(frames: &[Frame], text_of: &dyn Fn(Token) -> String) -> String {
    let last = frames
        .iter()
        .enumerate()
        .filter(|(at, frame)| frames.get(at + 1).is_none_or(|next| next.canvas != frame.canvas));
    let text: String = last.flat_map(|(_, frame)| frame.cells.iter().map(|cell| text_of(cell.token))).collect();
    harmless(&text).replace(END_GLYPH, "").trim().to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use lldm_diffusion::{Cell, FrameCell};

    use super::*;

    fn text_of(token: Token) -> String {
        ["<&\"", " sea", "\x1b", "∎"][token as usize].to_string()
    }

    fn frames() -> Vec<Frame> {
        let states = [[Cell::Noisy; 4], [Cell::Draft, Cell::Committed, Cell::Noisy, Cell::Noisy], [Cell::Committed; 4]];
        let frame = |(step, states): (usize, &[Cell; 4])| {
            let cells = (0..).zip(states).map(|(token, state)| FrameCell { state: *state, token, probability: 0.5 });
            let (cells, done) = (cells.collect(), step == 2);
            Frame { sequence: 0, canvas: 0, block: 0, step, time: 1.0, nfe: step, log_z: None, cells, done }
        };
        states.iter().enumerate().map(frame).collect()
    }

    #[test]
    fn the_picture_is_well_formed_and_shows_every_state() {
        let svg = draw("a <prompt> & \"more\"", &frames(), &text_of, 4.0);
        let document = roxmltree::Document::parse(&svg).expect("well-formed XML");
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        let has = |class: &str| {
            document
                .descendants()
                .any(|node| node.attribute("class").is_some_and(|found| found.split(' ').any(|c| c == class)))
        };
        assert!(["n", "d", "w", "q", "z", "a"].iter().all(|class| has(class)), "{svg}");
        assert!(root.attribute("aria-label").expect("a label").ends_with("sea\u{fffd}"));
        assert_eq!(svg.matches("step ").count(), 3);
        assert!(!svg.contains("http://") || svg.matches("http").count() == 1, "nothing is loaded from elsewhere");
    }

    #[test]
    fn equal_frames_are_joined_and_the_last_stays() {
        let slot = Slot { canvas: 0, at: 2, x: 0.0, y: 0.0, width: 1.0, columns: 1 };
        let runs = runs(&frames(), &slot, &text_of);
        assert_eq!(runs.iter().map(|run| (run.first, run.end)).collect::<Vec<_>>(), [(0, 2), (2, 3)]);
    }

    #[test]
    fn long_drafts_are_shortened() {
        assert_eq!(shortened("spaceship", 5), "spac…");
        assert_eq!(shortened("sea", 3), "sea");
        assert_eq!(shortened("sea", 1), "…");
    }
}
