//! The house rules that no compiler checks, one file each.

mod file_length;
mod finding;
mod floors;
mod inspect;
mod licences;
mod markers;
mod mod_file;
mod names;
mod outside_paths;
mod tree;
mod where_is;
mod white_space;
mod workspace;

pub use inspect::inspect;
