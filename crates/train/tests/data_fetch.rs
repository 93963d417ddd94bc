//! Finding and downloading corpora, against a server on the loopback device that answers Range requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use lldm_train::data::download::Download;
use lldm_train::data::{Corpus, CorpusFile, DataError, Form, Places, Progress, Source, SplitRule, get, locate, verify};
use sha2::{Digest, Sha256};

/// How the server treats its one file.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Ranges,
    /// Answers 200 with everything whatever is asked.
    NoRanges,
    /// Closes the connection after half of what is asked.
    Breaks,
}

/// A server of `contents` under `path`; all requests, as "<path> <range>", end in the list.
struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(path: &'static str, contents: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, path, &contents, manner, &seen);
            }
        });
        Self { base, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, path: &str, contents: &[u8], manner: Manner, seen: &Mutex<Vec<String>>) {
    let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(asked) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let range = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned));
    seen.lock().unwrap().push(format!("{asked} {}", range.clone().unwrap_or("all".to_owned())));
    let from: Option<usize> = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let size = contents.len();
    let (status, extra, body) = match from {
        _ if asked != path => ("404 Not Found", String::new(), &b"no such file"[..]),
        Some(from) if manner != Manner::NoRanges && from >= size => {
            ("416 Range Not Satisfiable", String::new(), &b""[..])
        }
        Some(from) if manner != Manner::NoRanges => {
            ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{size}\r\n", size - 1), &contents[from..])
        }
        _ => ("200 OK", String::new(), contents),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n", body.len());
    let sent = if manner == Manner::Breaks { &body[..body.len() / 2] } else { body };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

fn contents() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sha256(contents: &[u8]) -> String {
    Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn download(server: &Server, folder: &Path) -> Download {
    let contents = contents();
    Download {
        url: format!("{}/file.txt", server.base),
        to: folder.join("deep/file.txt"),
        bytes: contents.len() as u64,
        sha256: sha256(&contents),
    }
}

/// A corpus of the one file, for as long as the tests run.
fn corpus(source: Source) -> &'static Corpus {
    let sha256: &'static str = sha256(&contents()).leak();
    let files = vec![CorpusFile { path: "file.txt", bytes: contents().len() as u64, sha256, source }];
    let forms = vec![Form { name: "txt", files: files.leak() }];
    Box::leak(Box::new(Corpus {
        id: "test-corpus",
        description: "numbers",
        licence: "none",
        attribution: "none",
        split: SplitRule::LineHash,
        forms: forms.leak(),
    }))
}

fn places(folder: &Path, offline: bool) -> Places {
    Places { data: Some(folder.join("data")), cache: folder.join("cache"), offline }
}

const MANUAL: Source = Source::Manual { page: "https://example.org/page", note: "made by hand" };

#[test]
fn a_whole_download_with_progress() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/file.txt", contents(), Manner::Ranges);
    let download = download(&server, folder.path());
    let mut progress: Vec<Progress> = Vec::new();
    download.run(&mut |now| progress.push(now)).unwrap();
    assert_eq!(fs::read(&download.to).unwrap(), contents());
    assert!(!download.partial().exists());
    assert_eq!(server.requests(), ["/file.txt all"]);
    assert!(progress.windows(2).all(|pair| pair[0].done < pair[1].done));
    let last = progress.last().unwrap();
    assert_eq!((last.file.as_str(), last.done, last.total), ("file.txt", 300_000, 300_000));
}

#[test]
fn a_resumed_download_asks_for_the_rest_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/file.txt", contents(), Manner::Ranges);
    let download = download(&server, folder.path());
    fs::create_dir_all(download.to.parent().unwrap()).unwrap();
    fs::write(download.partial(), &contents()[..123_456]).unwrap();
    let mut first = None;
    download.run(&mut |now| first = first.or(Some(now.done))).unwrap();
    assert_eq!(fs::read(&download.to).unwrap(), contents());
    assert_eq!(server.requests(), ["/file.txt bytes=123456-"]);
    assert_eq!(first, Some(123_456));
}

#[test]
fn a_whole_partial_file_needs_no_request_and_a_longer_one_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/file.txt", contents(), Manner::Ranges);
    let download = download(&server, folder.path());
    fs::create_dir_all(download.to.parent().unwrap()).unwrap();
    fs::write(download.partial(), contents()).unwrap();
    download.run(&mut |_| ()).unwrap();
    assert!(server.requests().is_empty() && download.to.is_file());
    fs::write(download.partial(), [contents(), vec![1]].concat()).unwrap();
    download.run(&mut |_| ()).unwrap();
    assert_eq!(server.requests(), ["/file.txt all"]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/file.txt", contents(), Manner::NoRanges);
    let download = download(&server, folder.path());
    fs::create_dir_all(download.to.parent().unwrap()).unwrap();
    fs::write(download.partial(), b"something else").unwrap();
    download.run(&mut |_| ()).unwrap();
    assert_eq!(fs::read(&download.to).unwrap(), contents());
}

#[test]
fn a_broken_connection_is_continued_by_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Server::start("/file.txt", contents(), Manner::Breaks);
    let first = download(&broken, folder.path());
    let error = first.run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Network { have: 150_000, expected: 300_000, .. }), "{error}");
    let whole = Server::start("/file.txt", contents(), Manner::Ranges);
    download(&whole, folder.path()).run(&mut |_| ()).unwrap();
    assert_eq!(whole.requests(), ["/file.txt bytes=150000-"]);
    assert_eq!(fs::read(&first.to).unwrap(), contents());
}

#[test]
fn a_wrong_file_is_removed_and_both_hashes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for other in [vec![7; 300_000], vec![7; 10], vec![7; 400_000]] {
        let server = Server::start("/file.txt", other.clone(), Manner::Ranges);
        let download = download(&server, folder.path());
        let error = download.run(&mut |_| ()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, DataError::WrongDownload { .. }), "{said}");
        assert!(
            said.contains(&sha256(&contents())) && said.contains("removed") && said.contains("run the command again"),
            "{said}"
        );
        assert!(other.len() > 300_000 || said.contains(&sha256(&other)), "{said}");
        assert!(!download.to.exists() && !download.partial().exists());
    }
}

#[test]
fn a_missing_address_and_a_silent_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/elsewhere.txt", contents(), Manner::Ranges);
    let error = download(&server, folder.path()).run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Status { status: 404, .. }), "{error}");
    assert!(error.to_string().contains("/file.txt answered 404"), "{error}");
    // A port on which nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Server { base: format!("http://{port}"), requests: Arc::default() };
    let error = download(&nobody, folder.path()).run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Network { have: 0, .. }), "{error}");
}

#[test]
fn a_corpus_is_fetched_into_the_cache_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/test-corpus/file.txt", contents(), Manner::Ranges);
    let corpus = corpus(MANUAL);
    let places = places(folder.path(), false);
    assert!(matches!(locate(corpus, &places), Err(DataError::Missing { .. })));
    assert!(matches!(get(corpus, &places, None, &mut |_| ()), Err(DataError::Missing { .. })), "no public address");
    for _ in 0..2 {
        let located = get(corpus, &places, Some(&format!("{}/", server.base)), &mut |_| ()).unwrap();
        assert_eq!(located.folder, folder.path().join("cache/test-corpus"));
        verify(&located).unwrap();
    }
    assert_eq!(server.requests(), ["/test-corpus/file.txt all"]);
}

#[test]
fn a_public_address_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/raw/file.txt", contents(), Manner::Ranges);
    let corpus = corpus(Source::Url(format!("{}/raw/file.txt", server.base).leak()));
    get(corpus, &places(folder.path(), false), None, &mut |_| ()).unwrap();
    assert_eq!(server.requests(), ["/raw/file.txt all"]);
}

#[test]
fn offline_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("/raw/file.txt", contents(), Manner::Ranges);
    let url: &str = format!("{}/raw/file.txt", server.base).leak();
    let error = get(corpus(Source::Url(url)), &places(folder.path(), true), None, &mut |_| ()).unwrap_err();
    assert!(matches!(error, DataError::Offline { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(url) && said.contains("LLDM_OFFLINE") && said.contains("file.txt"), "{said}");
    assert!(server.requests().is_empty());
}

#[test]
fn what_is_missing_is_told_with_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let said = locate(corpus(MANUAL), &places(folder.path(), false)).unwrap_err().to_string();
    for part in ["data/test-corpus", "cache/test-corpus", "file.txt", "https://example.org/page", "made by hand"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let e2e = Corpus::by_id("e2e").unwrap();
    let without_data = Places { data: None, ..places(folder.path(), false) };
    let said = locate(e2e, &without_data).unwrap_err().to_string();
    for part in ["e2e_train.tsv", "trainset.csv", "LLDM_DATA", "2 of 2 missing"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let generated = Corpus::by_id("grammar").unwrap();
    assert!(matches!(locate(generated, &without_data), Err(DataError::Generated { .. })));
}

#[test]
fn the_users_folder_comes_first_and_is_verified_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path(), false);
    let own = folder.path().join("data/test-corpus");
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(folder.path().join("cache/test-corpus")).unwrap();
    fs::write(folder.path().join("cache/test-corpus/file.txt"), contents()).unwrap();
    fs::write(own.join("file.txt"), "my own making").unwrap();
    let located = locate(corpus(MANUAL), &places).unwrap();
    assert_eq!(located.folder, own);
    let error = verify(&located).unwrap_err();
    assert!(error.to_string().contains(&sha256(b"my own making")), "{error}");
    // A file with a public address must have its size: half a copy is not taken for the corpus.
    let error = locate(corpus(Source::Url("http://localhost/none")), &places).unwrap_err();
    assert!(matches!(error, DataError::WrongFile { found_bytes: 13, .. }), "{error}");
}
