//! The canvas as text: each state has a shape of its own, and a colour where colours are wanted.
//!
//! | state | with colours | without |
//! |---|---|---|
//! | noise | grey `░` | `░` |
//! | draft of low probability | purple `▒` | `▒` |
//! | draft | purple italics, the surer the brighter | `‹text›` |
//! | written in this step | black on green | `[text]` |
//! | written | plain | plain |
//! | fixed | underlined | `_text_` |

use lldm_diffusion::{Cell, Frame, Token};

use super::wrap::{Span, harmless, wrap};

/// A draft below this probability is shown as a shade, not as text.
pub(crate) const UNSURE: f32 = 0.3;
/// What an end token looks like.
pub(crate) const END_GLYPH: &str = "∎";

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The prompt.
    pub(crate) prompt: &'a str,
    /// The text of the canvases before this one.
    pub(crate) written: &'a str,
    /// The frame before, which tells what is new.
    pub(crate) previous: Option<&'a Frame>,
    /// The frame.
    pub(crate) frame: &'a Frame,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    Prompt,
    Noise,
    Unsure,
    /// 0 to 2, the surest last.
    Draft(u8),
    New,
    Plain,
    Fixed,
    End,
}

/// The canvas in lines of at most `width` columns, and below it where the process stands.
pub(crate) fn draw(view: &View<'_>, text_of: &dyn Fn(Token) -> String, width: usize, colour: bool) -> String {
    let mut lines = wrap(&body(view, text_of, colour), width);
    lines.push(Vec::new());
    lines.extend(wrap(&[(Look::Prompt, status(view.frame))], width));
    lines.extend(wrap(&legend(colour), width));
    lines.iter().map(|line| painted(line, colour)).collect::<Vec<_>>().join("\n")
}

/// The canvas alone, on one line and without colours.
pub(crate) fn draw_line(view: &View<'_>, text_of: &dyn Fn(Token) -> String) -> String {
    let text: String = body(view, text_of, false).into_iter().map(|(_, text)| text).collect();
    text.trim().replace('\n', "↵")
}

/// The look of a cell, and whether it was another in the frame before.
pub(crate) fn look(view: &View<'_>, at: usize, end: bool) -> Look {
    let cell = view.frame.cells[at];
    let before = view.previous.filter(|previous| previous.canvas == view.frame.canvas);
    let before = before.and_then(|previous| previous.cells.get(at));
    match cell.state {
        Cell::Noisy => Look::Noise,
        Cell::Fixed => Look::Fixed,
        Cell::Draft if cell.probability < UNSURE => Look::Unsure,
        Cell::Draft => Look::Draft(if cell.probability < 0.6 { 0 } else { 1 + u8::from(cell.probability >= 0.9) }),
        Cell::Committed if end => Look::End,
        Cell::Committed => match before {
            Some(before) if before.state == Cell::Committed && before.token == cell.token => Look::Plain,
            // What was there when the canvas came into view is not new.
            None if view.frame.done => Look::Plain,
            _ => Look::New,
        },
    }
}

/// Where the process stands.
pub(crate) fn status(frame: &Frame) -> String {
    let open = frame.cells.iter().filter(|cell| matches!(cell.state, Cell::Noisy | Cell::Draft)).count();
    let (step, nfe, time, total) = (frame.step, frame.nfe, frame.time, frame.cells.len());
    let canvas = if frame.canvas > 0 { format!("   canvas {}", frame.canvas + 1) } else { String::new() };
    format!("step {step:<3} NFE {nfe:<3} t {time:.2}   {} of {total} written{canvas}", total - open)
}

fn body(view: &View<'_>, text_of: &dyn Fn(Token) -> String, colour: bool) -> Vec<Span<Look>> {
    let mut spans =
        vec![(Look::Prompt, harmless(view.prompt)), (Look::Plain, harmless(view.written).replace(END_GLYPH, ""))];
    for (at, cell) in view.frame.cells.iter().enumerate() {
        let text = harmless(&text_of(cell.token));
        let look = look(view, at, text == END_GLYPH);
        let word = text.trim_start_matches(' ');
        let space = &text[..text.len() - word.len()];
        let open = matches!(look, Look::Draft(_) | Look::New);
        // A canvas must not jump because of a line break that is only proposed.
        let shown = if open { word.replace('\n', "↵") } else { word.to_string() };
        let shown = if open && shown.is_empty() { "·".to_string() } else { shown };
        let shown = match look {
            Look::Noise => "░".to_string(),
            Look::Unsure => "▒".to_string(),
            Look::Draft(_) if !colour => format!("‹{shown}›"),
            Look::New if !colour => format!("[{shown}]"),
            Look::Fixed if !colour => format!("_{shown}_"),
            _ => shown,
        };
        // Noise has no space before it; between the text and the first cell one is shown.
        let covered = matches!(look, Look::Noise | Look::Unsure);
        let apart = at == 0
            && !view.prompt.is_empty()
            && view.written.is_empty()
            && !view.prompt.ends_with(char::is_whitespace);
        if !covered || apart {
            spans.push((Look::Plain, if covered { " " } else { space }.to_string()));
        }
        spans.push((look, shown));
    }
    if view.prompt.is_empty() && view.written.is_empty() {
        // The first word of a text needs no space before it.
        if let Some(first) = spans.iter_mut().find(|(_, text)| !text.is_empty()) {
            first.1 = first.1.trim_start_matches(' ').to_string();
        }
    }
    spans
}

fn legend(colour: bool) -> Vec<Span<Look>> {
    let (draft, new) = if colour { ("draft", "new") } else { ("‹draft›", "[new]") };
    let items = [(Look::Noise, "░"), (Look::Unsure, "▒"), (Look::Draft(1), draft), (Look::New, new)];
    let words = [" noise   ", " unsure   ", "   ", "   "];
    let mut spans = Vec::new();
    for ((look, text), word) in items.into_iter().zip(words) {
        spans.extend([(look, text.to_string()), (Look::Prompt, word.to_string())]);
    }
    spans.push((Look::Plain, "text".to_string()));
    spans
}

fn painted(line: &[Span<Look>], colour: bool) -> String {
    line.iter()
        .map(|(look, text)| match code(*look) {
            Some(code) if colour => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.clone(),
        })
        .collect()
}

/// SGR codes of the sixteen colours that every scheme makes readable.
fn code(look: Look) -> Option<&'static str> {
    match look {
        Look::Prompt | Look::End => Some("2"),
        Look::Noise => Some("90"),
        Look::Unsure => Some("2;35"),
        Look::Draft(0) => Some("2;3;35"),
        Look::Draft(1) => Some("3;35"),
        Look::Draft(_) => Some("1;3;35"),
        Look::New => Some("30;42"),
        Look::Plain => None,
        Look::Fixed => Some("4"),
    }
}

#[cfg(test)]
mod tests {
    use lldm_diffusion::FrameCell;

    use super::*;

    const WORDS: &[&str] = &["∎", " the", " cold", " ocean", " of", " stars", "\n", " "];

    fn text_of(token: Token) -> String {
        WORDS[token as usize].to_string()
    }

    fn frame(step: usize, cells: &[(Cell, Token, f32)]) -> Frame {
        let cells = cells.iter().map(|(state, token, p)| FrameCell { state: *state, token: *token, probability: *p });
        Frame {
            sequence: 0,
            canvas: 0,
            block: 0,
            step,
            time: 0.5,
            nfe: step,
            log_z: None,
            cells: cells.collect(),
            done: false,
        }
    }

    /// One cell of each kind.
    fn two_frames() -> (Frame, Frame) {
        use Cell::{Committed, Draft, Fixed, Noisy};
        let before = [(Noisy, 0, 0.0), (Fixed, 1, 1.0), (Draft, 2, 0.4), (Committed, 3, 0.9), (Draft, 4, 0.2)];
        let after = [(Noisy, 0, 0.0), (Fixed, 1, 1.0), (Committed, 2, 0.8), (Committed, 3, 0.9), (Draft, 4, 0.2)];
        let rest = [(Draft, 5, 0.95), (Draft, 6, 0.7), (Draft, 7, 0.5), (Committed, 0, 1.0)];
        let frame_of = |step, first: &[(Cell, Token, f32)]| frame(step, &[first, &rest].concat());
        (frame_of(1, &before), frame_of(2, &after))
    }

    #[test]
    fn shapes_alone_tell_the_states_apart() {
        let (previous, frame) = two_frames();
        let view = View { prompt: "Once", written: " upon", previous: Some(&previous), frame: &frame };
        insta::assert_snapshot!(draw(&view, &text_of, 60, false), @r"
        Once upon░ _the_ [cold] ocean▒ ‹stars›‹↵› ‹·›∎

        step 2   NFE 2   t 0.50   4 of 9 written
        ░ noise   ▒ unsure   ‹draft›   [new]   text
        ");
    }

    #[test]
    fn colours_come_on_top() {
        let (previous, frame) = two_frames();
        let view = View { prompt: "Once", written: "", previous: Some(&previous), frame: &frame };
        let drawn = draw(&view, &text_of, 60, true).replace('\x1b', "^");
        let first = drawn.lines().next().expect("a line");
        insta::assert_snapshot!(first, @"^[2mOnce^[0m ^[90m░^[0m ^[4mthe^[0m ^[30;42mcold^[0m ocean^[2;35m▒^[0m ^[1;3;35mstars^[0m^[3;35m↵^[0m ^[2;3;35m·^[0m^[2m∎^[0m");
    }

    #[test]
    fn a_narrow_terminal_breaks_lines() {
        let (previous, frame) = two_frames();
        let view = View { prompt: "", written: "", previous: Some(&previous), frame: &frame };
        let drawn = draw(&view, &text_of, 12, false);
        assert!(drawn.lines().all(|line| super::super::wrap::columns(line) <= 12), "{drawn}");
        insta::assert_snapshot!(drawn, @r"
        ░ _the_
        [cold]
        ocean▒
        ‹stars›‹↵›
        ‹·›∎

        step 2   NFE
        2   t 0.50
        4 of 9
        written
        ░ noise   ▒
        unsure
        ‹draft›
        [new]   text
        ");
    }

    #[test]
    fn a_line_holds_a_whole_canvas() {
        let (previous, frame) = two_frames();
        let view = View { prompt: "", written: "", previous: Some(&previous), frame: &frame };
        assert_eq!(draw_line(&view, &text_of), "░ _the_ [cold] ocean▒ ‹stars›‹↵› ‹·›∎");
    }
}
