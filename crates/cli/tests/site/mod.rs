//! A directory of its own for each test of the program: what VMs are made of, and the runtime directory
//! in which their control sockets are. And the processes that are started there.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A runtime directory, and what VMs are made of.
pub struct Site(tempfile::TempDir);

impl Site {
    /// A site with firmwares of these names and instructions, a key and an arbiter.
    pub fn new(firmwares: &[(&str, &[u32])]) -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        std::fs::create_dir(site.path("arbiter")).unwrap();
        std::fs::create_dir(site.path("run")).unwrap();
        for (name, words) in firmwares {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            std::fs::write(site.path(name), bytes).unwrap();
        }
        let key = site.path("key");
        std::fs::write(&key, "11".repeat(32)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        site
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `lockstep` with these words; a word in braces is a path of the site.
    pub fn lockstep(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        for word in words.split_whitespace() {
            match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(word),
            };
        }
        command
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("LC_ALL", "C")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A process of `lockstep` with these words, which goes on.
    pub fn begins(&self, words: &str) -> Running {
        let mut child = self.lockstep(words).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Running { child, errors }
    }

    /// A process of `lockstep` with these words, when it has ended.
    pub fn ends(&self, words: &str) -> Ended {
        Ended(self.lockstep(words).output().unwrap())
    }
}

/// A process that runs a VM. It ends with this value.
pub struct Running {
    /// The process.
    pub child: Child,
    /// What it has still to say on its standard error.
    pub errors: BufReader<ChildStderr>,
}

impl Running {
    /// The next line that has these words in it.
    pub fn says(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.errors.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "it never said `{words}`");
            if line.contains(words) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Kills it with SIGKILL.
    pub fn dies(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that has ended.
pub struct Ended(pub Output);

impl Ended {
    /// Checks the exit code, and gives what was said on both outputs.
    pub fn with(&self, code: i32) -> String {
        let text = [&self.0.stdout[..], &self.0.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(self.0.status.code(), Some(code), "{text}");
        text
    }
}
