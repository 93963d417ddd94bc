//! The rounding step of families that work on vectors: their prediction of the tokens, drawn jointly under a constraint.
//!
//! Such a process carries no tokens until its end, where the answer p(x_i) of the last step is rounded (Li et al. 2022, "Diffusion-LM",
//! section 4.2; Han et al. 2022, "SSD-LM", section 3.3, likewise at each step). The cells are independent given the vectors, as they
//! are given a canvas of masks, so the same chain draws from p(x | the text is valid).

use lldm_diffusion::rng::Purpose;
use lldm_diffusion::{
    Canvas, Cell, Constraint, ConstraintRun, ConstraintView, LogitTransform, Prediction, Proposal, Result, StepRng,
    Token,
};

/// Draws the tokens of a canvas jointly: a proposal for each of its L cells, whose tokens make a valid text or leave one possible.
/// `run` is the constraint at work on the text, `prediction` has a row for each cell, `given` are tokens that stand behind the
/// canvas, so far behind its last cell. Cells that are fixed or committed keep their
/// tokens; what the open ones hold is not read. At temperature 0 the most probable text is taken.
///
/// # Errors
/// [`lldm_diffusion::Error::Infeasible`] where no valid text fits, and the prediction's.
pub fn round(
    constraint: &dyn Constraint,
    run: &mut dyn ConstraintRun,
    (canvas, given): (&Canvas, &[(usize, Token)]),
    prediction: &dyn Prediction,
    transform: &LogitTransform,
    rng: &StepRng,
) -> Result<Vec<Proposal>> {
    let cells = canvas.cells();
    let rows: Vec<_> =
        (0..cells.len()).filter(|at| cells[*at].is_open()).map(|at| (at, rng.bits(at, Purpose::Token))).collect();
    let found = prediction.class_stats(constraint.class_of(), constraint.classes(), &rows, transform)?;
    let mut stats = vec![Vec::new(); cells.len()];
    for ((at, _), found) in rows.into_iter().zip(found) {
        stats[at] = found;
    }
    // What is given belongs to the text.
    let fixed = (0..cells.len()).rfind(|at| cells[*at] == Cell::Fixed).unwrap_or(0);
    let ends_from = if given.is_empty() { fixed } else { cells.len() };
    run.draw(&ConstraintView {
        canvas,
        given,
        stats: &stats,
        leans: &vec![None; cells.len()],
        banned: &transform.banned,
        ends_from,
        greedy: transform.temperature == 0.0,
        rng,
        purpose: Purpose::Constraint,
    })
}
