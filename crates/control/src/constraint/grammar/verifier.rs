//! A grammar of any depth, judged by llguidance's Earley parser: whether a text of tokens is derived, and what may follow a prefix.
//!
//! It has a lexer: a terminal ends where no terminal that may stand there goes on. So it refuses some texts that the automaton of a
//! grammar accepts (`/a+/ "a"`), and of grammars that are written letter by letter it needs more time. It answers with an error where
//! a grammar is too ambiguous for its limits.

use std::fmt::Display;
use std::sync::Arc;

use lldm_diffusion::Token;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use super::context_free::Grammar;
use crate::error::{Error, Result};

/// A byte that begins the names of special tokens there, and no text here.
const SPECIAL: u8 = 0xff;

/// The judge of one grammar over the V tokens of a vocabulary.
pub struct Verifier {
    fresh: Prefix,
}

/// A text that has begun; a copy goes on by itself.
#[derive(Clone)]
pub struct Prefix {
    matcher: Matcher,
    /// Of each of the V tokens, whether it can stand in a text.
    spelled: Arc<[bool]>,
    end: Arc<[Token]>,
}

impl Verifier {
    /// From the bytes of each of the V tokens (`None` for a special one, or one without bytes), and the tokens that end a text.
    ///
    /// # Errors
    /// [`Error::Verifier`] where llguidance cannot use the grammar.
    pub fn new<B: AsRef<[u8]>>(grammar: &Grammar, tokens: &[Option<B>], end: &[Token]) -> Result<Self> {
        let bytes = |(token, bytes): (usize, &Option<B>)| {
            let bytes = bytes.as_ref().map(|bytes| bytes.as_ref()).filter(|bytes| bytes.first() != Some(&SPECIAL));
            bytes.filter(|_| !end.contains(&(token as Token))).map(<[u8]>::to_vec).unwrap_or_default()
        };
        let mut words: Vec<Vec<u8>> = tokens.iter().enumerate().map(bytes).collect();
        let spelled = words.iter().map(|bytes| !bytes.is_empty()).collect();
        // The end of a text has a number of its own, behind all others.
        words.push(Vec::new());
        let info = TokRxInfo::new(words.len() as u32, tokens.len() as u32);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &[]).map_err(failed)?;
        factory.quiet();
        let parser = factory.create_parser(TopLevelGrammar::from_lark(grammar.to_lark()));
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(failed(error)),
            None => Ok(Self { fresh: Prefix { matcher, spelled, end: end.into() } }),
        }
    }

    /// Whether a whole text of tokens, without an end token, is derived.
    ///
    /// # Errors
    /// [`Error::Verifier`] where the text is beyond the limits.
    pub fn accepts(&self, text: &[Token]) -> Result<bool> {
        let mut prefix = self.start();
        for token in text {
            if !prefix.push(*token)? {
                return Ok(false);
            }
        }
        prefix.may_end()
    }

    /// The empty text.
    pub fn start(&self) -> Prefix {
        self.fresh.clone()
    }
}

impl Prefix {
    /// Goes on by a token, if a derived text can; whether it did.
    ///
    /// # Errors
    /// [`Error::Verifier`] where the text is beyond the limits.
    pub fn push(&mut self, token: Token) -> Result<bool> {
        if !self.spelled.get(token as usize).is_some_and(|spelled| *spelled) || self.matcher.is_stopped() {
            return self.sound(false);
        }
        Ok(self.matcher.try_consume_tokens(&[token]).map_err(failed)? == 1)
    }

    /// Goes back by so many tokens.
    ///
    /// # Errors
    /// [`Error::Verifier`] where there are not so many.
    pub fn pop(&mut self, count: usize) -> Result<()> {
        self.matcher.rollback(count).map_err(failed)
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// [`Error::Verifier`] where the text is beyond the limits.
    pub fn may_end(&mut self) -> Result<bool> {
        self.matcher.is_accepting().map_err(failed)
    }

    /// Of each of the V tokens, whether it may follow; an end token where the text may end.
    ///
    /// # Errors
    /// [`Error::Verifier`] where the text is beyond the limits.
    pub fn allowed(&mut self) -> Result<Vec<bool>> {
        let mut allowed = vec![false; self.spelled.len()];
        if !self.matcher.is_stopped() {
            let mask = self.matcher.compute_mask().map_err(failed)?;
            for (token, spelled) in self.spelled.iter().enumerate() {
                allowed[token] = *spelled && mask.is_allowed(token as u32);
            }
        }
        let end = self.may_end()?;
        for token in self.end.iter().filter(|token| (**token as usize) < self.spelled.len()) {
            allowed[*token as usize] = end;
        }
        Ok(allowed)
    }

    /// The answer, unless an earlier error has spoiled the prefix.
    fn sound(&self, answer: bool) -> Result<bool> {
        self.matcher.get_error().map_or(Ok(answer), |error| Err(failed(error)))
    }
}

/// The first line says what is wrong; pictures of the grammar and of its parser's state are below it.
fn failed(error: impl Display) -> Error {
    let text = format!("{error:#}");
    let message = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says not why").trim().to_string();
    Error::Verifier { message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The bytes, a special token, one that ends a text, and pieces of several bytes.
    fn vocabulary() -> (Vec<Option<Vec<u8>>>, Vec<Token>) {
        let mut tokens: Vec<Option<Vec<u8>>> = (0..=255u8).map(|byte| Some(vec![byte])).collect();
        tokens.extend([None, None, Some(b"[1".to_vec()), Some(b"],".to_vec()), Some(b"1]]".to_vec())]);
        (tokens, vec![257])
    }

    fn bytes(text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    #[test]
    fn a_prefix_goes_on_as_derived_texts_do() {
        let grammar = Grammar::gbnf("root ::= \"[\" (root (\",\" root)*)? \"]\" | \"1\"").unwrap();
        let (tokens, end) = vocabulary();
        let verifier = Verifier::new(&grammar, &tokens, &end).unwrap();
        let mut prefix = verifier.start();
        assert!(!prefix.may_end().unwrap());
        assert!(prefix.push(258).unwrap(), "a piece across two terminals");
        let names =
            |allowed: &[bool]| (0..allowed.len() as Token).filter(|token| allowed[*token as usize]).collect::<Vec<_>>();
        assert_eq!(names(&prefix.allowed().unwrap()), [u32::from(b','), u32::from(b']')]);
        for refused in [u32::from(b'1'), 256, 257, 259, 260, 9999] {
            assert!(!prefix.push(refused).unwrap(), "{refused}");
        }
        let mut other = prefix.clone();
        assert!(other.push(b','.into()).unwrap() && other.push(258).unwrap() && other.push(b']'.into()).unwrap());
        assert!(prefix.push(b']'.into()).unwrap());
        assert!(prefix.may_end().unwrap());
        assert_eq!(names(&prefix.allowed().unwrap()), [257], "nothing but an end token follows");
        assert!(!prefix.push(b']'.into()).unwrap());
        prefix.pop(1).unwrap();
        assert!(!prefix.may_end().unwrap() && prefix.push(b','.into()).unwrap());
        assert!(!other.may_end().unwrap() && other.push(b']'.into()).unwrap() && other.may_end().unwrap());
        assert!(prefix.pop(99).is_err());
    }

    #[test]
    fn a_verifier_is_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Verifier>();
        shared::<Prefix>();
    }

    #[test]
    fn what_is_beyond_it_is_an_error_of_one_line() {
        let (tokens, end) = vocabulary();
        let never = Grammar::lark("start: N\nN: \"a\" & \"b\"").unwrap();
        let verifier = Verifier::new(&never, &tokens, &end).unwrap();
        assert_eq!(verifier.accepts(&bytes("a")), Ok(false));
        let large = Grammar::gbnf("root ::= \"a\"{4000000000}").unwrap();
        let error = Verifier::new(&large, &tokens, &end).err().unwrap();
        assert!(matches!(error, Error::Verifier { .. }) && error.to_string().lines().count() == 1, "{error}");
        // A text on which too many ways lie at once.
        let rules: Vec<_> = (0..40).map(|rule| format!("r{rule} ::= root r{} | \"a\"\n", (rule + 1) % 40)).collect();
        let names: Vec<_> = (0..40).map(|rule| format!("r{rule}")).collect();
        let ambiguous = Grammar::gbnf(&format!("root ::= {}\n{}", names.join(" | "), rules.concat())).unwrap();
        let verifier = Verifier::new(&ambiguous, &tokens, &end).unwrap();
        let error = verifier.accepts(&bytes(&"a".repeat(200))).unwrap_err();
        assert!(matches!(error, Error::Verifier { .. }) && error.to_string().lines().count() == 1, "{error}");
    }
}
