//! JSON: its values as languages, and JSON Schema (draft 2020-12) as a constraint.

mod list;
mod number;
mod order;
mod pattern;
mod reference;
mod schema;
mod string;

pub use schema::JsonSchema;
