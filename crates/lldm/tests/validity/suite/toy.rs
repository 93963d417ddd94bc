//! Toys that can spell any text: single bytes and some longer pieces, and a denoiser whose answers are a hash of what it sees.

use std::sync::{Arc, OnceLock};

use lldm::control::Vocabulary;
use lldm::diffusion::noise::Noise;
use lldm::diffusion::toy::Table;
use lldm::diffusion::{
    Context, Denoiser, DenoiserInfo, Logits, Prediction, Result as DiffusionResult, StepInput, Token,
};

use super::dice::{Dice, mixed};

/// Ends a text.
pub(crate) const END: Token = 0;
/// The mask, the last token.
pub(crate) const MASK: Token = (1 + 256 + PIECES.len()) as Token;
/// V.
pub(crate) const SIZE: usize = MASK as usize + 1;

/// Tokens of several bytes, and doubles of single ones.
const PIECES: [&str; 60] = [
    " the", "the", " a", "ing", "er", "and", " of", "ocean", "space", "ship", "night", "ab", "ba", "aba", "aa", "nan",
    ". ", ", ", "! ", "  ", "\n\n", " \"", ".\"", "New", " York", "{\"", "\":", "\": ", "\",\"", "\"}", "\"]", "{}",
    "[]", "[{", "}]", "},", "true", "false", "null", "00", "12", "0.", "-1", "name", "type", "id", "value", "ü", "ä",
    "ß", "é", "日", "😀", "де", "αβ", "Dear", "a", "e", "0", "\"",
];

/// The bytes of each token but the end and the mask.
pub(crate) fn pieces() -> &'static [Vec<u8>] {
    static PIECES_AS_BYTES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    PIECES_AS_BYTES.get_or_init(|| {
        let single = (0..=255u8).map(|byte| vec![byte]);
        single.chain(PIECES.iter().map(|piece| piece.as_bytes().to_vec())).collect()
    })
}

/// The tokens as constraints read them.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        let spelled = pieces().iter().map(|piece| Some(piece.as_slice()));
        let all: Vec<_> = std::iter::once(None).chain(spelled).chain([None]).collect();
        Vocabulary::new(&all, &[END])
    })
}

/// The bytes of a text.
pub(crate) fn bytes(tokens: &[Token]) -> Vec<u8> {
    tokens.iter().flat_map(|token| pieces()[*token as usize - 1].iter().copied()).collect()
}

/// A denoiser that gives some probability to every token. Its logits are a hash of the cell, the token, the canvas and all that was
/// written before; some cells are flat, others so sure of a token that float32 has nothing left for the rest.
pub(crate) struct Hashed {
    info: DenoiserInfo,
    seed: u64,
}

impl Hashed {
    /// For a process; `dice` says how it answers.
    pub(crate) fn new(noise: &dyn Noise, dice: &mut Dice) -> Self {
        let info = DenoiserInfo {
            vocabulary: SIZE,
            mask: noise.mask(),
            end: vec![END],
            max_length: 4096,
            canvas_length: None,
            canvas_grid: None,
            time_dependent: dice.chance(0.5),
            self_conditioned: false,
            weighs_held: dice.chance(0.5),
        };
        Self { info, seed: dice.bits() }
    }
}

impl Denoiser for Hashed {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> DiffusionResult<Context> {
        Ok(Context::plain(prefix))
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> DiffusionResult<()> {
        context.tokens.extend(tokens);
        Ok(())
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> DiffusionResult<Box<dyn Prediction>> {
        let canvas = input.state.tokens()?;
        let seen = context.tokens.iter().chain(canvas);
        let seen = seen.fold(self.seed, |hash, token| mixed(hash ^ u64::from(*token)));
        let mut values = Vec::with_capacity(canvas.len() * SIZE);
        for cell in 0..canvas.len() {
            let key = mixed(seen ^ (cell as u64) << 32);
            let scale = [0.1, 3.0, 12.0, 200.0][key as usize % 4];
            let logit = |token: u64| (mixed(key ^ token) >> 40) as f32 / (1u64 << 24) as f32 * scale;
            values.extend((0..SIZE as u64).map(logit));
        }
        Ok(Box::new(Logits::new(values, SIZE)?))
    }
}

/// The exact denoiser of a few texts of `length` tokens, all else having no probability; `known` is one of them, if it is given.
pub(crate) fn table(
    noise: &Arc<dyn Noise>,
    length: usize,
    known: Option<&[Token]>,
    dice: &mut Dice,
) -> DiffusionResult<Table> {
    let mut texts = Vec::new();
    for text in 0..dice.between(2, 8) {
        let tokens = match (known, text) {
            (Some(known), 0) => known.to_vec(),
            _ => (0..dice.below(length + 1)).map(|_| dice.between(1, MASK as usize - 1) as Token).collect(),
        };
        let end = std::iter::repeat(END);
        texts.push((tokens.into_iter().chain(end).take(length).collect(), 0.1 + dice.unit()));
    }
    let table = Table::new(SIZE, MASK, vec![END], texts)?;
    // Masked noise needs no process.
    Ok(if noise.name() == "masked" && dice.chance(0.5) { table } else { table.under(noise.clone()) })
}
