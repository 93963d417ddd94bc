//! A terminal on which frames are drawn over each other, or a stream on which they follow each other.

use std::io::{IsTerminal, Stderr, Write};
use std::sync::Once;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use lldm_diffusion::{Frame, Token};

use super::canvas::{View, draw};
use crate::failure;

/// Columns where nothing says how many there are.
const COLUMNS: usize = 80;
/// Rows where nothing says how many there are.
const ROWS: usize = 24;

/// Where frames are drawn: stderr, so that stdout holds the result only.
#[derive(Debug)]
pub(crate) struct Screen {
    out: Stderr,
    live: bool,
    colour: bool,
    /// The least time between two frames.
    interval: Duration,
    shown: Option<Instant>,
    lines: usize,
    prompt: String,
    written: String,
    previous: Option<Frame>,
}

/// Whether stderr is a terminal that can be drawn on.
pub(crate) fn is_live() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are wanted: <https://no-color.org>.
pub(crate) fn wants_colour() -> bool {
    is_live() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Screen {
    /// Begins to draw, at most `frames_per_second` frames a second.
    pub(crate) fn open(prompt: &str, frames_per_second: f64) -> Self {
        let live = is_live();
        let mut screen = Self {
            out: std::io::stderr(),
            live,
            colour: wants_colour(),
            interval: Duration::try_from_secs_f64(1.0 / frames_per_second).unwrap_or_default(),
            shown: None,
            lines: 0,
            prompt: prompt.to_string(),
            written: String::new(),
            previous: None,
        };
        if live {
            restore_on_interrupt();
            // A terminal that is gone has nothing to show; the run goes on.
            let _ = queue!(screen.out, Hide);
        }
        screen
    }

    /// Draws a frame over the one before.
    pub(crate) fn show(&mut self, frame: &Frame, text_of: &dyn Fn(Token) -> String) {
        if let Some(previous) = self.previous.as_ref().filter(|previous| previous.canvas != frame.canvas) {
            self.written.extend(previous.cells.iter().map(|cell| text_of(cell.token)));
        }
        let view = View { prompt: &self.prompt, written: &self.written, previous: self.previous.as_ref(), frame };
        let (width, height) = if self.live { size() } else { (COLUMNS, usize::MAX) };
        let drawn = draw(&view, text_of, width, self.colour);
        self.previous = Some(frame.clone());
        if self.live {
            if let Some(wait) = self.shown.and_then(|shown| self.interval.checked_sub(shown.elapsed())) {
                std::thread::sleep(wait);
            }
            self.shown = Some(Instant::now());
        }
        // A terminal that is gone has nothing to show; the run goes on.
        let _ = if self.live { self.redraw(&drawn, height) } else { writeln!(self.out, "{drawn}\n") };
    }

    /// Takes the canvas away.
    pub(crate) fn clear(&mut self) {
        if self.live {
            // As above.
            let _ = self.redraw("", usize::MAX);
        }
    }

    fn redraw(&mut self, drawn: &str, height: usize) -> std::io::Result<()> {
        let lines: Vec<&str> = drawn.split('\n').collect();
        // What has scrolled out of sight cannot be drawn over.
        let lines = &lines[lines.len().saturating_sub(height.saturating_sub(1).max(1))..];
        queue!(self.out, BeginSynchronizedUpdate, MoveToColumn(0))?;
        if self.lines > 1 {
            queue!(self.out, MoveUp(u16::try_from(self.lines - 1).unwrap_or(u16::MAX)))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), Print(lines.join("\r\n")), EndSynchronizedUpdate)?;
        self.lines = lines.len();
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            // As above.
            let _ = queue!(self.out, Show).and_then(|()| self.out.flush());
        }
    }
}

fn size() -> (usize, usize) {
    // Some terminals answer that they have no size.
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (usize::from(columns), usize::from(rows)),
        _ => (COLUMNS, ROWS),
    }
}

/// An interrupt leaves the terminal with its cursor.
fn restore_on_interrupt() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without a handler the cursor stays hidden after an interrupt, which is no reason not to run.
        let _ = ctrlc::set_handler(|| {
            let _ = queue!(std::io::stderr(), EndSynchronizedUpdate, Show, Print("\r\n"));
            std::process::exit(failure::INTERRUPTED);
        });
    });
}
