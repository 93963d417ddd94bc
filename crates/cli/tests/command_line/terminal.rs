//! The live canvas, on a terminal of our own (a pseudo-terminal).

use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::Place;

const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

/// The program on a terminal of 40 columns, and the terminal's other end.
fn start(place: &Place, variables: &[(&str, &str)], args: &[&str]) -> (Child, File) {
    let size = Winsize { ws_row: 12, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0 };
    let ends = openpty(&size, None).unwrap();
    let side = || Stdio::from(ends.slave.try_clone().unwrap());
    let mut command = place.command(args);
    command.env("TERM", "xterm").envs(variables.iter().copied()).stdin(side()).stdout(side()).stderr(side());
    (command.spawn().unwrap(), File::from(ends.master))
}

/// All that the program writes on the terminal, until it ends.
fn screen(mut terminal: File) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    // The end of a terminal is an error on Linux.
    while let Ok(read @ 1..) = terminal.read(&mut buffer) {
        text.extend(&buffer[..read]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn run(variables: &[(&str, &str)], args: &[&str]) -> String {
    let place = Place::new();
    let (mut child, terminal) = start(&place, variables, args);
    let text = screen(terminal);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    text
}

const TOY: &[&str] = &["run", "-m", "toy", "--seed", "7", "the"];

#[test]
fn the_canvas_is_drawn_in_place_and_the_text_stays() {
    let text = run(&[], TOY);
    assert!(text.starts_with(HIDE) && text.matches("\x1b[?2026h").count() == 12, "{text:?}");
    assert!(text.contains("\x1b[30;42m") && text.contains("\x1b[90m░"), "{text:?}");
    let (_, end) = text.rsplit_once(SHOW).unwrap();
    assert!(end.starts_with("\x1b[2mthe\x1b[0m the old captain counted every boat on the lake\r\n"), "{end:?}");
    assert!(end.contains("9 tokens, ") && end.ends_with("to load)\r\n"), "{end:?}");
    // No line is wider than the terminal.
    let frames = text.split("\x1b[J").skip(1).filter(|frame| frame.contains("noise"));
    for line in frames.flat_map(|frame| frame.split("\x1b[?2026l").next().unwrap().split("\r\n")) {
        let mut plain = String::new();
        for (n, part) in line.split("\x1b[").enumerate() {
            plain.push_str(if n == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert!(plain.chars().count() <= 40, "{plain}");
    }
}

#[test]
fn without_colours_shapes_remain() {
    let text = run(&[("NO_COLOR", "1")], TOY);
    assert!(text.contains("[captain]") && text.contains("‹captain›") && text.contains("░░░"), "{text:?}");
    let colour = text.split("\x1b[").skip(1).any(|part| {
        part.split(|c: char| c.is_ascii_alphabetic()).next().is_some_and(|code| part[code.len()..].starts_with('m'))
    });
    assert!(!colour, "{text:?}");
    assert!(text.contains(SHOW) && text.contains("the the old captain counted every boat on the lake\r\n"));
}

#[test]
fn a_dumb_terminal_gets_the_text() {
    let text = run(&[("TERM", "dumb")], TOY);
    assert!(
        !text.contains('\x1b') && text.starts_with("the old captain counted every boat on the lake\r\n9 tokens"),
        "{text:?}"
    );
    let quiet = run(&[], &[TOY, &["--show", "text", "--quiet"]].concat());
    assert_eq!(quiet, "the old captain counted every boat on the lake\r\n");
}

#[test]
fn a_trace_is_replayed_in_place() {
    let place = Place::new();
    place.good(&["run", "-m", "toy", "--seed", "7", "the", "--trace", "run.jsonl"]);
    let (mut child, terminal) = start(&place, &[], &["trace", "run.jsonl", "--fps", "200"]);
    let text = screen(terminal);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(text.starts_with(HIDE) && text.ends_with(&format!("{SHOW}\r\n")), "{text:?}");
    assert_eq!(text.matches("\x1b[?2026h").count(), 11);
}

#[test]
fn an_interrupt_gives_the_cursor_back() {
    let place = Place::new();
    let (mut child, mut terminal) = start(&place, &[], &[TOY, &["--fps", "1"]].concat());
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&text).contains("step 0") {
        let read = terminal.read(&mut buffer).unwrap();
        text.extend(&buffer[..read]);
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(screen(terminal).contains(SHOW));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
