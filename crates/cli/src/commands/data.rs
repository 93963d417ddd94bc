//! `lldm data`: the corpora that recipes name, and how to get them.

use std::io::IsTerminal;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lldm_train::data::{Corpus, DataError, Places, Progress, get, locate, verify};
use serde_json::{Value, json};

use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// List them: licence, origin, and whether they are here
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring one into the cache and check its files
    Get {
        /// The corpus
        id: String,
        /// Take every file from this address, followed by the corpus's id and the file's name
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// Use no network: only look whether it is here
        #[arg(long)]
        offline: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: &DataArgs) -> Result<()> {
    let mut places = Places::from_env()?;
    match &args.command {
        DataCommand::List { json } => list(&places, *json),
        DataCommand::Get { id, mirror, offline } => {
            places.offline |= offline;
            fetch(Corpus::by_id(id)?, &places, mirror.as_deref())
        }
    }
}

/// An error that says which command mends it.
pub(crate) fn explained(error: &DataError) -> anyhow::Error {
    match error {
        DataError::Missing { corpus, .. } if is_public(corpus) => {
            anyhow!("{error}\nthe command is `lldm data get {corpus}`")
        }
        error => anyhow!("{error}"),
    }
}

fn is_public(corpus: &str) -> bool {
    Corpus::by_id(corpus).is_ok_and(|corpus| corpus.forms.iter().any(lldm_train::data::Form::is_public))
}

fn list(places: &Places, json: bool) -> Result<()> {
    if json {
        let corpora = Corpus::all().iter().map(|corpus| {
            let (state, folder) = state(corpus, places);
            json!({
                "id": corpus.id,
                "description": corpus.description,
                "licence": corpus.licence,
                "attribution": corpus.attribution,
                "state": state,
                "folder": folder,
                "sources": sources(corpus),
            })
        });
        return json_output::say(&corpora.collect::<Vec<_>>());
    }
    let rows: Vec<_> = Corpus::all()
        .iter()
        .map(|corpus| {
            let (state, folder) = state(corpus, places);
            let state = folder.unwrap_or_else(|| state.to_string());
            vec![corpus.id.to_string(), corpus.licence.to_string(), state, corpus.description.to_string()]
        })
        .collect();
    let table = plain::table(&["CORPUS", "LICENCE", "WHERE", "WHAT"], &rows);
    let note = "`lldm data get CORPUS` brings one here, or says how it can be had";
    Ok(plain::say(&format!("{table}\n\n{note}"))?)
}

/// `here` with the folder, `built in`, `public` (can be downloaded) or `by hand`.
fn state(corpus: &'static Corpus, places: &Places) -> (&'static str, Option<String>) {
    if corpus.is_generated() {
        return ("built in", None);
    }
    match locate(corpus, places) {
        Ok(located) => ("here", Some(located.folder.display().to_string())),
        Err(DataError::Missing { .. }) if is_public(corpus.id) => ("not here: public", None),
        Err(DataError::Missing { .. }) => ("not here: to be made by hand", None),
        Err(_) => ("damaged", None),
    }
}

fn sources(corpus: &Corpus) -> Vec<Value> {
    let files = corpus.forms.iter().flat_map(|form| form.files.iter().map(move |file| (form.name, file)));
    files
        .map(|(form, file)| {
            let source = match file.source {
                lldm_train::data::Source::Url(url) => json!({ "url": url }),
                lldm_train::data::Source::Manual { page, note } => json!({ "page": page, "note": note }),
            };
            json!({ "form": form, "path": file.path, "bytes": file.bytes, "sha256": file.sha256, "source": source })
        })
        .collect()
}

fn fetch(corpus: &'static Corpus, places: &Places, mirror: Option<&str>) -> Result<()> {
    if corpus.is_generated() {
        return Ok(plain::say(&format!("{} is built in: there is nothing to get", corpus.id))?);
    }
    plain::note(&format!("licence: {}\nattribution: {}", corpus.licence, corpus.attribution));
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut watch = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.file);
    };
    let found = get(corpus, places, mirror, &mut watch);
    bar.finish_and_clear();
    let located = found.map_err(|error| anyhow!("{error}"))?;
    if let Err(error) = verify(&located) {
        // Files that were made by hand may differ, and are read as well.
        plain::note(&format!("note: {error}"));
    }
    Ok(plain::say(&format!("{}", located.folder.display()))?)
}
