//! A directory of its own for each test of the program: what VMs are made of, and the runtime directory
//! in which their control sockets are.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A runtime directory, and what VMs are made of.
pub struct Site(tempfile::TempDir);

impl Site {
    /// A site with a firmware of this name and these instructions, a key and an arbiter.
    pub fn new(firmware: &str, words: &[u32]) -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        std::fs::create_dir(site.path("arbiter")).unwrap();
        std::fs::create_dir(site.path("run")).unwrap();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(site.path(firmware), bytes).unwrap();
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
}
