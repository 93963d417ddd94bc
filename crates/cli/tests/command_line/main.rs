//! The real binary, from the outside: what it prints, what it leaves on the disk, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod constraints;
mod convert;
mod devices;
mod evaluation;
mod files;
mod lines;
mod mistakes;
mod pages;
mod program;
#[cfg(unix)]
mod terminal;
mod toy;
mod trained;
mod training;
