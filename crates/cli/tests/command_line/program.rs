//! The program in a folder of its own, with nothing of the environment that could change what it does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that is home, configuration and working folder at once.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lldm"));
        let own = |name: &str| name.starts_with("LLDM_") || ["NO_COLOR", "TERM", "RAYON_NUM_THREADS"].contains(&name);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
            command.env_remove(name);
        }
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.env("HOME", self.path()).env("XDG_CONFIG_HOME", self.path().join("config"));
        command.env("XDG_CACHE_HOME", self.path().join("cache"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.ended(&mut self.command(args))
    }

    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        self.ended(self.command(args).envs(variables.iter().copied()))
    }

    /// Runs the program with a text at stdin.
    pub(crate) fn run_on(&self, stdin: &str, args: &[&str]) -> Ran {
        let input = self.file("stdin", stdin);
        self.ended(self.command(args).stdin(std::fs::File::open(input).unwrap()))
    }

    /// The stdout of a run that must go well.
    pub(crate) fn good(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran.stdout
    }

    fn ended(&self, command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let real = self.path().canonicalize().unwrap();
            let text = text.replace(real.to_str().unwrap(), "[FOLDER]");
            text.replace(self.path().to_str().unwrap(), "[FOLDER]")
        };
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// For snapshots.
    pub(crate) fn told(&self) -> String {
        let stream = |name: &str, text: &str| format!("{name}: {}", text.trim_end()).trim_end().to_string();
        let (stdout, stderr) = (stream("stdout", &self.stdout), stream("stderr", &self.stderr));
        format!("code {}\n{stdout}\n{stderr}", self.code.unwrap())
    }
}
