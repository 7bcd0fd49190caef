//! A directory with all that a pair needs, and processes of `lockstep` whose standard streams the test holds.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use report::{HaltCode, Happening, Line};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::guests::echo;

/// A process whose standard streams the test holds.
pub struct Replica {
    pub child: Child,
    pub errors: Option<BufReader<std::process::ChildStderr>>,
    /// All that the process has said on its standard error until now.
    pub said: String,
}

impl Replica {
    pub fn start(command: &mut Command) -> Replica {
        let mut child = command.spawn().unwrap();
        let errors = child.stderr.take().map(BufReader::new);
        Replica {
            child,
            errors,
            said: String::new(),
        }
    }

    /// The next line of standard error that has these words in it.
    pub fn says(&mut self, words: &str) -> String {
        let errors = self.errors.as_mut().expect("its standard error is ours");
        loop {
            let mut line = String::new();
            let length = errors.read_line(&mut line).unwrap();
            self.said += &line;
            assert_ne!(length, 0, "it never said '{words}' but: {}", self.said);
            if line.contains(words) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Types a byte that is not an `o`, and waits until the guest has sent it back.
    pub fn echoes(&mut self, byte: u8) {
        let stdin = self.child.stdin.as_mut().expect("its standard input is ours");
        stdin.write_all(&[byte]).unwrap();
        self.shows(byte);
    }

    /// Waits until the guest has written this byte.
    pub fn shows(&mut self, byte: u8) {
        let stdout = self.child.stdout.as_mut().expect("its standard output is ours");
        let mut read = [0];
        while read != [byte] {
            stdout.read_exact(&mut read).expect("the guest lives");
        }
    }

    pub fn types(&mut self, text: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("its standard input is ours");
        stdin.write_all(text).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the process. All of its threads stand when this returns, as the kernel says.
    pub fn stands_still(&self) {
        self.signal(Signal::STOP);
        let pid = Some(Pid::from_child(&self.child));
        waitpid(pid, WaitOptions::UNTRACED).unwrap();
    }

    /// Waits for the end of the process, and gives all that it said.
    pub fn ends(&mut self) -> (ExitStatus, String) {
        if let Some(mut errors) = self.errors.take() {
            errors.read_to_string(&mut self.said).unwrap();
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.said))
    }

    pub fn ends_well(&mut self) -> String {
        let (status, said) = self.ends();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with all that a pair needs.
pub struct Site {
    directory: tempfile::TempDir,
    /// The arbiter of its VMs, as people write it.
    pub arbiter: String,
}

impl Site {
    /// A site whose arbiter is a directory in it.
    pub fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let arbiter = directory.path().join("arbiter").display().to_string();
        let site = Site { directory, arbiter };
        std::fs::write(site.path("firmware"), echo()).unwrap();
        std::fs::write(site.path("key"), "11".repeat(32)).unwrap();
        std::fs::set_permissions(site.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::create_dir(site.path("arbiter")).unwrap();
        std::fs::create_dir(site.path("run")).unwrap();
        site
    }

    /// A site whose arbiter is somewhere else.
    pub fn with_arbiter(arbiter: String) -> Site {
        Site {
            arbiter,
            ..Site::new()
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `lockstep`, with its standard streams piped to the test. What it keeps on this host, it keeps here.
    pub fn program(&self) -> Command {
        let mut lockstep = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        lockstep
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_CACHE_HOME", self.path("run"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        lockstep
    }

    /// A command of `lockstep` that runs this site's machine.
    pub fn lockstep(&self, command: &str) -> Command {
        let mut lockstep = self.program();
        lockstep.args([command, "--memory", "16M", "--firmware"]);
        lockstep.arg(self.path("firmware"));
        lockstep
    }

    /// The command of one half of a pair, with its events in a file of its name.
    pub fn half(&self, role: &str, address: &str) -> Command {
        let mut half = self.silent_half(role, address);
        half.arg("--events").arg(self.path(role));
        half
    }

    pub fn silent_half(&self, role: &str, address: &str) -> Command {
        // The timeout is long because the tests run beside others; a takeover from a primary that stands
        // still takes this long.
        self.half_within(role, address, "3000")
    }

    /// The command of one half of a pair with this timeout.
    pub fn half_within(&self, role: &str, address: &str, timeout_ms: &str) -> Command {
        let mut half = self.lockstep(role);
        half.args(["--timeout-ms", timeout_ms, "--backup", address, "--key"]);
        half.arg(self.path("key")).arg("--arbiter").arg(&self.arbiter);
        half
    }

    pub fn backup(&self) -> (Replica, String) {
        let mut backup = Replica::start(&mut self.half("backup", "127.0.0.1:0"));
        let line = backup.says("waiting for the primary on");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        (backup, address)
    }

    pub fn pair(&self) -> (Replica, Replica) {
        let (mut backup, address) = self.backup();
        let mut primary = Replica::start(&mut self.half("primary", &address));
        primary.says("paired with");
        backup.says("paired with");
        primary.echoes(b'a');
        (primary, backup)
    }

    /// The events that have reached this half's file.
    ///
    /// A thread of the half's own takes them there, so all of them are there only after its end: a sentence
    /// on standard error may be read before the line of the same happening, or before the end of that line.
    pub fn events(&self, role: &str) -> Vec<Happening> {
        let text = std::fs::read_to_string(self.path(role)).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = whole.map(serde_json::from_str::<Line>);
        lines.map(|line| line.unwrap().happening).collect()
    }

    /// How a half ended, by its last line.
    pub fn code(&self, role: &str) -> HaltCode {
        match self.events(role).pop() {
            Some(Happening::Halt(ending)) => ending.code,
            other => panic!("{other:?}"),
        }
    }
}
