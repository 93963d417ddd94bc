//! The corpora that are known by name: what each is, under which licence, and which files it consists of.
//!
//! A file that a public address serves with just this sha256 has [`Source::Url`]; one that was made from public files
//! by a step that is not repeated here has [`Source::Manual`] and says where its origin is.

use super::error::{DataError, Result};
use super::split::{HELD_OUT_BOOKS, HELD_OUT_E2E, SplitRule};

/// A corpus that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    pub id: &'static str,
    /// One line.
    pub description: &'static str,
    pub licence: &'static str,
    /// Whom to name where the corpus, or a model made from it, is passed on.
    pub attribution: &'static str,
    pub split: SplitRule,
    /// The sets of files, each of which is the whole corpus; the first that a folder holds is read. Empty for a corpus
    /// that is generated.
    pub forms: &'static [Form],
}

/// One set of files that is the whole corpus.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub name: &'static str,
    pub files: &'static [CorpusFile],
}

/// One file of a corpus.
#[derive(Clone, Copy, Debug)]
pub struct CorpusFile {
    /// Relative to the corpus's folder, with `/`.
    pub path: &'static str,
    pub bytes: u64,
    /// Hexadecimal, lower case.
    pub sha256: &'static str,
    pub source: Source,
}

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address that serves this very file.
    Url(&'static str),
    /// No address serves this very file: the page of its origin, and what was done to it.
    Manual { page: &'static str, note: &'static str },
}

impl Corpus {
    /// All corpora, in the order in which they are listed.
    pub fn all() -> &'static [Corpus] {
        ALL
    }

    /// The corpus with this id; the error names the nearest one.
    pub fn by_id(id: &str) -> Result<&'static Corpus> {
        ALL.iter().find(|corpus| corpus.id == id).ok_or_else(|| DataError::UnknownCorpus {
            id: id.to_owned(),
            suggestion: nearest(id),
            known: ALL.iter().map(|corpus| corpus.id).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether the corpus is made by the program itself, so that nothing is stored.
    pub fn is_generated(&self) -> bool {
        self.forms.is_empty()
    }
}

impl Form {
    /// Whether every file has a public address.
    pub fn is_public(&self) -> bool {
        self.files.iter().all(|file| matches!(file.source, Source::Url(_)))
    }
}

const ALL: &[Corpus] = &[
    Corpus {
        id: "e2e",
        description: "E2E NLG: 42,061 restaurant records with a description each, and 4,672 held out",
        licence: "CC BY-SA 4.0",
        attribution: "Novikova, Dusek, Rieser 2017, \"The E2E Dataset\", github.com/tuetschek/e2e-dataset",
        split: SplitRule::HeldOutFiles(HELD_OUT_E2E),
        forms: E2E,
    },
    Corpus {
        id: "tatoeba-eng",
        description: "Tatoeba: 212,581 short English sentences",
        licence: "CC BY 2.0 FR",
        attribution: "tatoeba.org and www.manythings.org/anki",
        split: SplitRule::LineHash,
        forms: TATOEBA,
    },
    Corpus {
        id: "pd-stories",
        description: "26 books of tales and adventures from before 1929, 11.5 MB",
        licence: "public domain in the USA",
        attribution: "none is needed; the texts are Project Gutenberg's, by way of github.com/GITenberg",
        split: SplitRule::HeldOutFiles(HELD_OUT_BOOKS),
        forms: STORIES,
    },
    Corpus {
        id: "grammar",
        description: "sentences of a small English-like grammar whose probabilities are known, generated from a seed",
        licence: "MIT OR Apache-2.0, as the program",
        attribution: "none is needed",
        split: SplitRule::LineHash,
        forms: &[],
    },
];

const E2E: &[Form] = &[
    Form {
        name: "tsv",
        files: &[
            CorpusFile {
                path: "e2e_train.tsv",
                bytes: 9_176_099,
                sha256: "4e381fb4cdc3959687ed2d887e7eebf235c661429576b9802eef9f1b01e2be9e",
                source: E2E_TSV,
            },
            CorpusFile {
                path: "e2e_valid.tsv",
                bytes: 1_142_694,
                sha256: "f8e2d1d463a531c3870ce72e7256a76a51bf016cb9d7c5c135dee309663bd3c4",
                source: E2E_TSV,
            },
        ],
    },
    // The official release. devset.csv was opened at this address's commit; the bytes and the sha256 of trainset.csv
    // are those that huggingface/datasets published for it (datasets/e2e_nlg/dataset_infos.json), beside the same
    // sha256 for devset.csv.
    Form {
        name: "csv",
        files: &[
            CorpusFile {
                path: "trainset.csv",
                bytes: 9_340_189,
                sha256: "f27d48df45815288ab15619d47a79028c300fbb7f42e373668aba0b98c1d57c6",
                source: Source::Url(
                    "https://raw.githubusercontent.com/tuetschek/e2e-dataset/ab0d967dd5729ce455ef14ba9ffafc456a335264/trainset.csv",
                ),
            },
            CorpusFile {
                path: "devset.csv",
                bytes: 1_161_305,
                sha256: "fc26b78cdb849c80545f513b223d1e051138b43882eeb79e3eb153e689c864f9",
                source: Source::Url(
                    "https://raw.githubusercontent.com/tuetschek/e2e-dataset/ab0d967dd5729ce455ef14ba9ffafc456a335264/devset.csv",
                ),
            },
        ],
    },
];

const E2E_TSV: Source = Source::Manual {
    page: "https://github.com/tuetschek/e2e-dataset",
    note: "one `record TAB text` a line, the text on one line; simpler: fetch the official trainset.csv and devset.csv, \
           which are read as well",
};

const TATOEBA: &[Form] = &[Form {
    name: "txt",
    files: &[CorpusFile {
        path: "tatoeba_eng.txt",
        bytes: 7_202_780,
        sha256: "299ff28d03733c4afeba2c1db1629bbaf8a38551d64e29bf2ca91a7f103cbcae",
        source: Source::Manual {
            page: "https://www.manythings.org/anki/",
            note: "the English column of fra-eng.zip (2019-04-07), deu-eng.zip (2018-04-07) and jpn-eng.zip (2020-11-22), \
                   each sentence once, sorted, one a line, saved as tatoeba_eng.txt; today's archives give another, \
                   larger file, which is read as well",
        },
    }],
}];

/// One book: the file `<number>.txt`, cleaned from Project Gutenberg's book of that number.
macro_rules! book {
    ($number:literal, $bytes:literal, $sha256:literal) => {
        CorpusFile {
            path: concat!($number, ".txt"),
            bytes: $bytes,
            sha256: $sha256,
            source: Source::Manual {
                page: concat!("https://www.gutenberg.org/ebooks/", $number),
                note: "the plain text without Project Gutenberg's header and footer, one paragraph a line, saved as \
                       <number>.txt",
            },
        }
    };
}

#[rustfmt::skip]
const STORIES: &[Form] = &[Form { name: "txt", files: &[
    book!("11", 141_955, "8fad0ed16322b960bb333d43cba0c16218dc84b3c55a9c9e985eabc105e9baa4"),
    book!("113", 426_847, "27c78de81ef369c6b6fe44b43ec3f148b07b0757da4c41ed09cb239f647b02ef"),
    book!("120", 360_465, "3188b82ac6fc8bddecb2eba71c2dec5419a3f5ad88b55072c01f769206721787"),
    book!("1448", 488_280, "0e6e51ea470b385d92164d8bcf41405258252a199e567690b4bc4cb8cb410eab"),
    book!("1597", 296_761, "57ea77c75fdb6a0a66868c67b3943cd24cf6268b9afc8fde672cff794968f76b"),
    book!("16", 255_041, "1a0379821e9ad85fd9b38d4fa823ee0ec7de2514878b0b2350905f583186fdce"),
    book!("1661", 557_507, "a4e7a35a818d6df9dddae6c19e50f6248ebd8ad1b8829f0637897552edb33e7f"),
    book!("1874", 322_870, "577724c4b2d9b1faaff9abcddffe6354187052429e2a97def625d8184aaf04b9"),
    book!("236", 270_374, "fba0215dad64b17e1941d8851ec0dd292b540c503ad59110c53bbc864ac833ad"),
    book!("2435", 505_720, "554e909e80c6f15ad8702579fa0b035340d0e398f7f9b45b49e653e20f06b331"),
    book!("2591", 518_835, "2126c7e2bbf683893d0c109b016890580011ddd39219887f2358cc1386e57b38"),
    book!("271", 301_950, "ed828bdb456649c2915502bf723d2baf6b3106ffd1c35f2fd00ac7954ecbed02"),
    book!("3027", 514_277, "a2c5945eb715c17bc06dd269d12d1a2eb8793e6c3b1a309f2b8a539bf9b22ba2"),
    book!("3282", 507_282, "ffe267ecb2c95608384cd076c0d96d07dd0ca01717edb40114c9886858e956cb"),
    book!("3454", 513_813, "5eea07e0b4a8c20640160b5a96e25e4edf716533b3927ebee0489f28af7714a9"),
    book!("45", 556_562, "7f47516c10c90f9cdbf64519e83f7f257ffde3b551f8ec494d91cc8e1a955bcd"),
    book!("486", 212_124, "9a40161538291b7bca2e9d1402930b3902e6c9994f3339b90798f55c26f2f4e0"),
    book!("503", 727_380, "8bb1ed3cc008fb52dbc7addb74efe488b1e82a8f70499870c6379a78ff9629f3"),
    book!("517", 294_730, "e587e0d72121eb68ce23f6aaf048395c81be13dffe3749e4727d0feb84479a9d"),
    book!("54", 236_409, "d8af65a8b44d69a6a831f39f31e7fc37f951022f4adc2e1f922419006b634962"),
    book!("540", 647_141, "98e064645f3f14cd9e9deaa7449f63693a9e871e0f90d8199044634fbcf78329"),
    book!("55", 206_042, "28721c486c460c5b17c388b6621a5bf708b0b27f274aa5c9356fec330a0f1d66"),
    book!("640", 580_932, "feb63ff2f06b68fd84448f152bc80f2712064032382d05b23a5d5cb538f3f686"),
    book!("641", 529_911, "facd01526d76125a842be3bc479d30065c49fc0540c6177562c5d2502cac55b7"),
    book!("7277", 633_300, "d553138ae6b8d713177c7054600849758423ec7f72ee4761c168e36fcdd3bf6e"),
    book!("955", 310_214, "d322f719d8dacb13537dfeebe9241a47399f50af2de98bb8190c71815561d20f"),
] }];

/// The id that is nearest to what was typed, if any is near.
fn nearest(id: &str) -> Option<&'static str> {
    let typed = id.to_lowercase();
    let part = |known: &str| typed.len() >= 3 && (known.contains(&typed) || typed.contains(known));
    let (distance, known) =
        ALL.iter().map(|c| (if part(c.id) { 0 } else { edit_distance(&typed, c.id) }, c.id)).min()?;
    (distance <= 1 + known.len() / 4).then_some(known)
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole() {
        for corpus in Corpus::all() {
            assert_eq!(Corpus::by_id(corpus.id).unwrap().id, corpus.id);
            assert!(!corpus.description.contains('\n') && !corpus.licence.is_empty() && !corpus.attribution.is_empty());
            for file in corpus.forms.iter().flat_map(|form| form.files) {
                assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit()), "{}", file.path);
                assert!(file.bytes > 0 && !file.path.starts_with('/') && !file.path.contains(".."));
            }
        }
        assert_eq!(Corpus::by_id("pd-stories").unwrap().forms[0].files.len(), 26);
        assert!(Corpus::by_id("e2e").unwrap().forms[1].is_public());
        assert!(Corpus::by_id("grammar").unwrap().is_generated());
    }

    #[test]
    fn what_a_split_rule_names_is_there() {
        for corpus in Corpus::all() {
            let SplitRule::HeldOutFiles(held) = corpus.split else { continue };
            for form in corpus.forms {
                assert!(form.files.iter().any(|file| held.contains(&file.path)), "{} {}", corpus.id, form.name);
            }
        }
    }

    #[test]
    fn an_unknown_id_names_the_nearest() {
        for (typed, near) in
            [("tatoeba", "tatoeba-eng"), ("E2E", "e2e"), ("stories", "pd-stories"), ("gramar", "grammar")]
        {
            let message = Corpus::by_id(typed).unwrap_err().to_string();
            assert!(message.contains(&format!("did you mean `{near}`?")), "{message}");
        }
        let message = Corpus::by_id("wikipedia").unwrap_err().to_string();
        assert!(!message.contains("did you mean") && message.contains("tatoeba-eng"), "{message}");
    }

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
