//! The shipped grammars against parsers that others wrote: what they derive is read, and what people write is derived.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod members;

use lldm_control::constraint::{SHIPPED, shipped};
use lldm_control::{Budget, ByteDfa, Error};
use lldm_diffusion::Guarantee;
use members::Members;
use sqlparser::dialect::{AnsiDialect, Dialect, GenericDialect, PostgreSqlDialect};

/// Members of each grammar that are put before its judge.
const MEMBERS: u64 = 200;

fn compiled(name: &str) -> ByteDfa {
    shipped(name).unwrap().compile(&Budget::default().meter()).unwrap_or_else(|error| panic!("{name}: {error}")).0
}

#[track_caller]
fn check(name: &str, judge: fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str]) {
    let dfa = compiled(name);
    for text in good {
        assert_eq!(judge(text), Ok(()), "{text}");
        assert!(dfa.accepts(text.as_bytes()), "{text:?} belongs to {name}");
    }
    for text in bad {
        assert!(!dfa.accepts(text.as_bytes()), "{text:?} does not belong to {name}");
    }
    let members = Members::new(&dfa);
    let mut lengths = Vec::new();
    for seed in 0..MEMBERS {
        let text = String::from_utf8(members.draw(seed)).unwrap();
        assert_eq!(judge(&text), Ok(()), "member {seed} of {name}: {text}");
        lengths.push(text.len());
    }
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] > 20, "short texts alone prove little: {lengths:?}");
}

fn json(text: &str) -> Result<(), String> {
    serde_json::from_str::<serde_json::Value>(text).map(drop).map_err(|error| error.to_string())
}

fn python(text: &str) -> Result<(), String> {
    rustpython_ruff_python_parser::parse_expression(text).map(drop).map_err(|error| error.to_string())
}

/// One query, whoever reads it.
fn sql(text: &str) -> Result<(), String> {
    let dialects: [&dyn Dialect; 3] = [&GenericDialect {}, &AnsiDialect {}, &PostgreSqlDialect {}];
    for dialect in dialects {
        let parsed =
            sqlparser::parser::Parser::parse_sql(dialect, text).map_err(|error| format!("{dialect:?}: {error}"))?;
        if !matches!(parsed.as_slice(), [sqlparser::ast::Statement::Query(_)]) {
            return Err(format!("{dialect:?}: {} statements", parsed.len()));
        }
    }
    Ok(())
}

#[test]
fn members_of_json_are_json() {
    check(
        "json",
        json,
        &[
            "null",
            " true ",
            "-0.5e+3",
            "[]",
            "{}",
            "\"a\\n\\\"\u{e9}\\u001f\\ud83d\\ude00\"",
            "[ 1 ,\n2]",
            "{\"a\": [{\"b\": {}}], \"\": -0}",
            "[[[[[]]]]]",
        ],
        &[
            "",
            "nul",
            "01",
            "1.",
            ".5",
            "+1",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{a: 1}",
            "\"\n\"",
            "\"\\x\"",
            "1 2",
            "[1 2]",
            "\"a",
            "'a'",
            "\"\\ud83d\"",
            "[[[[[[]]]]]]",
            "tru e",
        ],
    );
}

#[test]
fn members_of_python_expressions_are_python() {
    check(
        "python-expression",
        python,
        &[
            "x",
            "1 + 2*x ** -3.5e-2",
            "a.b.c(1, 'two', [3])[0]",
            "not a and (b or c)",
            "a if b else c if d else e",
            "x not in y is not z < 3",
            "{'a': 1, \"b\": (2,)}",
            "()",
            "f(g(1), {})",
            "''.join(xs)[i//2]",
            "f(a if b else (c if d else e), [1]) if x else [(y if z else x)]",
            "-~x % 3 == 0",
            "iffy or nota",
            "[x, y,]",
            "match == case",
            "'it\\'s \u{e9}'",
        ],
        &[
            "",
            "if",
            "a if b",
            "a ifb else c",
            "aif b else c",
            "x y",
            "1x",
            "lambda",
            "class",
            "f(",
            "f)",
            "a..b",
            "1.real",
            "{a}",
            "(,)",
            "'a",
            "'\n'",
            "a not b",
            "not",
            "01",
            "a = b",
            "f(x=1)",
            "a[]",
            "None.x",
            "x.if",
            "a and not",
            "f(g(h(1)))",
            "[a if b else c]",
            "{f(x): 1}",
        ],
    );
}

#[test]
fn members_of_sql_are_sql() {
    check(
        "sql-select",
        sql,
        &[
            "SELECT * FROM users",
            "select distinct name, age from users where age >= 18 order by age desc, name limit 10 offset 5",
            "SELECT u.name AS n, COUNT(*) FROM users AS u LEFT OUTER JOIN orders AS o ON u.id = o.user_id\nWHERE o.total > 9.5 AND NOT \
             u.name LIKE 'a%' GROUP BY u.name HAVING SUM(o.total) > 100",
            "SELECT a FROM t WHERE b IN (1, 2, -3) OR c IS NOT NULL AND d NOT BETWEEN 1 AND 2",
            "SELECT ROUND(a * b + 1) * (a - 2), 'it''s' FROM t WHERE (a, b) = (1, 2)",
            "SELECT COUNT(DISTINCT a) FROM t JOIN s ON t.x = s.x INNER JOIN r ON TRUE",
            "SELECT selected, fromage FROM groups",
        ],
        &[
            "",
            "SELECT",
            "SELECT FROM t",
            "SELECT * FROM",
            "SELECT a FROM t WHERE",
            "SELECT a, FROM t",
            "SELECT a b c FROM t",
            "SELECT select FROM t",
            "SELECT a FROM group",
            "SELECT a FROM t ORDER a",
            "SELECT a FROM t LIMIT x",
            "SELECT a FROM t GROUP BY a WHERE b",
            "SELECT --1 FROM t",
            "SELECT a FROM t WHERE a = 'b",
            "SELECT\u{17f} a FROM t",
            "\u{17f}elect a FROM t",
            "SELECT a FROM t; DROP",
            "SELECT ROUND((a)) FROM t",
        ],
    );
}

/// Every word that the parser has a meaning for, where a name may stand.
#[test]
fn words_of_sql_are_no_names_where_they_mean_something() {
    let dfa = compiled("sql-select");
    let mut names = 0;
    for word in sqlparser::keywords::ALL_KEYWORDS {
        for text in [
            format!("SELECT {word} FROM t"),
            format!("SELECT {word}(a, b) AS {word}, -{word}() FROM {word} AS {word}"),
            format!("SELECT a FROM {word} JOIN {word} ON {word}.{word} = {word} ORDER BY {word}"),
        ] {
            if dfa.accepts(text.as_bytes()) {
                assert_eq!(sql(&text), Ok(()), "{text}");
                names += 1;
            }
        }
    }
    assert!(names > 1000, "{names}");
}

#[test]
fn shipped_grammars_say_what_they_are() {
    for entry in SHIPPED {
        let (dfa, guarantee) = shipped(entry.name).unwrap().compile(&Budget::default().meter()).unwrap();
        assert_eq!(guarantee, Guarantee::ExactBoundedDepth(entry.depth), "{}", entry.name);
        assert!(dfa.states() < 12_000, "{} has {} states", entry.name, dfa.states());
    }
    assert_eq!(shipped("jsno").unwrap_err().to_string(), "there is no grammar `jsno`: is `json` meant?");
    let error = shipped("haskell").unwrap_err();
    assert!(matches!(error, Error::NoGrammar { .. }), "{error}");
}
