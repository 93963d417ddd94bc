//! Stop rules: when a text is finished before the budget is used up.

use crate::canvas::{Cell, Token};
use crate::contract::{Stop, StopRule, StopView};

/// Stops as soon as an end token is written and nothing to its left is open any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndOfText {
    /// The tokens that end a text.
    pub end: Vec<Token>,
}

/// Never stops early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Never;

impl StopRule for EndOfText {
    fn after_step(&self, view: StopView<'_>) -> Stop {
        let cells = view.canvas.cells().iter().zip(view.canvas.tokens());
        for (position, (cell, token)) in cells.enumerate() {
            match cell {
                Cell::Noisy | Cell::Draft => return Stop::Continue,
                Cell::Fixed | Cell::Committed if self.end.contains(token) => return Stop::Text(position),
                Cell::Fixed | Cell::Committed => {}
            }
        }
        Stop::Continue
    }
}

impl StopRule for Never {
    fn after_step(&self, _: StopView<'_>) -> Stop {
        Stop::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::Canvas;

    #[test]
    fn an_end_token_counts_only_when_its_left_is_written() {
        let rule = EndOfText { end: vec![1] };
        let mut canvas = Canvas::noisy(vec![0; 3]);
        canvas.commit(1, 1);
        assert_eq!(rule.after_step(StopView { canvas: &canvas, steps: 1 }), Stop::Continue);
        canvas.commit(0, 7);
        assert_eq!(rule.after_step(StopView { canvas: &canvas, steps: 2 }), Stop::Text(1));
        assert_eq!(Never.after_step(StopView { canvas: &canvas, steps: 2 }), Stop::Continue);
    }
}
