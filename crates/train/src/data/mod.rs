//! The data side of training: which corpora there are, how they reach the disk, how they are split, turned into
//! documents, tokenised and packed into windows.
//!
//! ```text
//! Corpus --locate/get--> folder --load(split)--> Document --BpeTokenizer--> TokenSet --Batches--> Batch of windows
//! ```

pub mod batches;
pub mod corpus;
pub mod csv;
pub mod document;
pub mod download;
pub mod e2e;
pub mod error;
pub mod fetch;
pub mod grammar;
pub mod own_text;
pub mod pack;
pub mod split;
pub mod splitmix;
pub mod stories;
pub mod token_set;
pub mod tokenizer;

pub use batches::{Batch, Batches, BatchesConfig, Layout};
pub use corpus::{Corpus, CorpusFile, Form, Source};
pub use document::{Document, LoadConfig, load};
pub use download::Progress;
pub use error::DataError;
pub use fetch::{Located, Places, get, locate, verify};
pub use grammar::Grammar;
pub use own_text::load_own;
pub use pack::Window;
pub use split::{Split, SplitRule};
pub use token_set::{TokenDocument, TokenSet};
pub use tokenizer::{BpeTokenizer, END, MASK, PAD};
