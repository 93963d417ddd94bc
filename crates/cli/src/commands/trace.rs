//! `lldm trace`: a recorded run again, on a terminal, as lines, or as a picture that moves.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use lldm_diffusion::Token;

use super::run::frames_per_second;
use crate::render::canvas::{END_GLYPH, View, draw_line};
use crate::render::screen::{Screen, is_live};
use crate::render::{plain, svg};
use crate::trace_file::Trace;

/// Frames a second where none are given.
const FPS: f64 = 6.0;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// What `lldm run --trace` wrote
    file: PathBuf,
    /// Frames a second, on a terminal and in a picture [default: 6]
    #[arg(long, value_parser = frames_per_second)]
    fps: Option<f64>,
    /// Make a picture that moves, for a page
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &TraceArgs) -> Result<()> {
    let trace = Trace::read(&args.file)?;
    let fps = args.fps.unwrap_or(FPS);
    let text_of = |token: Token| {
        if trace.header.end.contains(&token) { END_GLYPH.to_string() } else { trace.text_of(token) }
    };
    if let Some(path) = &args.svg {
        let picture = svg::draw(&trace.header.prompt, &trace.frames, &text_of, fps);
        return std::fs::write(path, picture).map_err(|error| anyhow!("cannot write {}: {error}", path.display()));
    }
    if is_live() && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        let mut screen = Screen::open(&trace.header.prompt, fps);
        for frame in &trace.frames {
            screen.show(frame, &text_of);
        }
        drop(screen);
        return Ok(plain::say("")?);
    }
    let mut written = String::new();
    let mut previous = None;
    for frame in &trace.frames {
        if let Some(before) = previous.filter(|before: &&lldm_diffusion::Frame| before.canvas != frame.canvas) {
            written.extend(before.cells.iter().map(|cell| text_of(cell.token)));
        }
        let view = View { prompt: &trace.header.prompt, written: &written, previous, frame };
        let (step, nfe, time) = (frame.step, frame.nfe, frame.time);
        plain::say(&format!("step {step:<3} NFE {nfe:<3} t {time:.2}  {}", draw_line(&view, &text_of)))?;
        previous = Some(frame);
    }
    Ok(())
}
