//! One file for each command: its arguments and what it does.

pub(crate) mod bench;
mod bench_constraints;
mod bench_fluency;
mod bench_kernels;
mod bench_model;
mod bench_report;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod fill;
pub(crate) mod man;
pub(crate) mod methods;
pub(crate) mod noises;
pub(crate) mod objectives;
pub(crate) mod recipes;
pub(crate) mod run;
mod run_lines;
pub(crate) mod samplers;
pub(crate) mod score;
pub(crate) mod show;
pub(crate) mod trace;
pub(crate) mod train;
