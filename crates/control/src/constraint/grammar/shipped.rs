//! Grammars that come with the program.

use lldm_diffusion::registry::nearest;

use super::context_free::Grammar;
use crate::error::{Error, Result};

/// A grammar by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The name.
    pub name: &'static str,
    /// What its texts are, in one line.
    pub description: &'static str,
    /// Levels of depth that keep its automaton at some thousands of states; brackets within one another take one each.
    pub depth: u32,
    /// The grammar, in the form of Lark.
    pub text: &'static str,
}

/// All of them.
pub const SHIPPED: [Shipped; 3] = [
    Shipped {
        name: "json",
        description: "JSON (RFC 8259)",
        depth: 4,
        text: include_str!("../../../grammars/json.lark"),
    },
    Shipped {
        name: "python-expression",
        description: "an expression of Python 3: names, literals, calls, operators, tuples, lists, dictionaries",
        depth: 2,
        text: include_str!("../../../grammars/python-expression.lark"),
    },
    Shipped {
        name: "sql-select",
        description: "a SELECT statement of SQL without subqueries",
        depth: 1,
        text: include_str!("../../../grammars/sql-select.lark"),
    },
];

/// The grammar of a name, to its usual depth.
///
/// # Errors
/// [`Error::NoGrammar`], with the nearest name.
pub fn shipped(name: &str) -> Result<Grammar> {
    let names = SHIPPED.map(|shipped| shipped.name);
    let Some(found) = SHIPPED.iter().find(|shipped| shipped.name == name) else {
        let advice = match nearest(name, &names) {
            Some(near) => format!("is `{near}` meant?"),
            None => format!("there are {}", names.join(", ")),
        };
        return Err(Error::NoGrammar { name: name.to_string(), advice });
    };
    Ok(Grammar::lark(found.text)?.with_depth(found.depth))
}
