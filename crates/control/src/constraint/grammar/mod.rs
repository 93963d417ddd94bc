//! Context-free grammars, to a bounded depth of nesting.

mod context_free;
mod cursor;
mod expand;
mod fragment;
mod gbnf;
mod lark;
mod lark_terminals;
mod lark_text;
mod network;
mod recursion;
mod shipped;
mod syntax;
mod terminal;
#[cfg(feature = "verifier")]
mod verifier;
mod written;

pub use context_free::{Grammar, Level};
pub use shipped::{SHIPPED, Shipped, shipped};
#[cfg(feature = "verifier")]
pub use verifier::{Prefix, Verifier};
