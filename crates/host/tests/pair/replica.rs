//! Replicas in processes of their own: the body of such a process, and what a test sees of it.
//!
//! A child is this test binary again, with one test and its orders in the environment; it tells on its
//! standard output, in lines that begin with a word, what becomes of it. Tests read these lines, events and
//! frames, and never look into a process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use console::ConsoleSpec;
use host::run::Build;
use host::{Alone, AttendSpec, PairSpec, Pairing, ProtectSpec, VmSpec};
use link::KeyFile;
use machine::{Config, Machine};
use replica::{Guest, Hello, OnSlow, Span, VmName};
use report::Line;
use serde::de::DeserializeOwned;

use crate::guest;
use crate::site::{Cable, Site, Toy, vm};

/// Which replica a child is to be: `run`, `record`, `primary` or `backup`; or `owner`, which runs alone and
/// can get a backup, or `host`, which waits for such a VM. Without it a child is not one.
const ROLE: &str = "LOCKSTEP_TEST_ROLE";
/// The directory of a child's site.
const DIR: &str = "LOCKSTEP_TEST_DIR";
/// Where a primary finds its backup.
const PEER: &str = "LOCKSTEP_TEST_PEER";
/// Set if the guest is to compute without end.
const SPINS: &str = "LOCKSTEP_TEST_SPINS";
/// Set if the guest is to be a real machine that sends back what is typed at `ROLE.socket`; to `keys` if the
/// socket has the escape key.
pub const ECHOES: &str = "LOCKSTEP_TEST_ECHOES";
/// Another name of the VM than that of all others.
pub const NAME: &str = "LOCKSTEP_TEST_NAME";
/// Another arbiter directory than that of the site.
pub const ARBITER: &str = "LOCKSTEP_TEST_ARBITER";
/// Another disk than that of the site.
pub const DISK: &str = "LOCKSTEP_TEST_DISK";
/// Another disk than that of the site, which the guest may only read.
pub const COPY: &str = "LOCKSTEP_TEST_COPY";

/// The body of a child; among the tests it does nothing.
#[test]
fn child_that_is_a_replica() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    let role = role.into_string().unwrap();
    // A test sets a limit of the file size; a write beyond it is to be an error and not the end.
    let beyond = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, beyond).unwrap();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let spins = std::env::var_os(SPINS).is_some();
    let mut spec = vm(&dir, &role);
    if let Ok(name) = std::env::var(NAME) {
        spec.name = VmName::new(&name).unwrap();
    }
    if let Some(disk) = std::env::var_os(DISK) {
        spec.disks[0].file.path = disk.into();
    }
    if let Some(disk) = std::env::var_os(COPY) {
        spec.disks[0].file.path = disk.into();
        spec.disks[0].read_only = true;
    }
    let pair = PairSpec {
        address: std::env::var(PEER)
            .unwrap_or("127.0.0.1:0".into())
            .parse()
            .unwrap(),
        key: Some(KeyFile {
            path: dir.join("key"),
            though_open: false,
        }),
        arbiter: arbiter::Place::Directory(
            std::env::var_os(ARBITER).map_or(dir.join("arbiter"), PathBuf::from),
        ),
        // Long, because the tests run beside others; a takeover takes this long (the lease of the primary).
        timeout: Span::from_ms(3_000),
        patience: Span::from_ms(60_000),
        timeout_only: false,
        on_slow: OnSlow::default(),
        watcher: Vec::new(),
    };
    if let Some(socket) = std::env::var_os(ECHOES) {
        let path = dir.join(format!("{role}.socket"));
        spec.serial = if socket == "keys" {
            ConsoleSpec::Keys(path)
        } else {
            ConsoleSpec::Socket(path)
        };
        spec.memory = 8 << 20;
        let mut build = |config: &Config| {
            Machine::new(config.clone(), guest::engine(None)).map_err(|error| error.to_string())
        };
        return be(&role, &spec, &pair, &dir, &mut build);
    }
    if role == "owner" {
        spec.alone = Alone::Arbiter {
            place: pair.arbiter.clone(),
            patience: Duration::ZERO,
        };
        spec.protect = Some(ProtectSpec {
            key: pair.key.clone(),
            timeout: pair.timeout,
            settings: String::new(),
            timeout_only: true,
            on_slow: OnSlow::default(),
            watcher: Vec::new(),
        });
    }
    let mut build = |_: &Config| Ok(Toy::new().that_answers().that_spins(spins));
    be(&role, &spec, &pair, &dir, &mut build);
}

/// Runs a replica to its end and tells of it.
fn be<G: Guest>(role: &str, spec: &VmSpec, pair: &PairSpec, dir: &Path, build: Build<'_, G>) {
    let mut progress = |progress: &Pairing<'_>| match progress {
        Pairing::Listening(address) => println!("\nlistening {address}"),
        Pairing::Paired { epoch, .. } => println!("\npaired {}", epoch.0),
        Pairing::Refused(error) => println!("\nrefused {}", os::error::chain(*error)),
        Pairing::Calling { .. } | Pairing::RefusedMore(_) => {}
    };
    let result = match role {
        "run" | "owner" => host::run(spec, None, None, build),
        "record" => host::run(spec, Some(&dir.join("log")), None, build),
        "primary" => host::primary(spec, pair, build, &mut progress),
        "host" => {
            let attend = AttendSpec {
                address: pair.address,
                key: pair.key.clone(),
                timeout: pair.timeout,
                images: dir.to_owned(),
                patience: None,
            };
            let mut consider = |_: &Hello| Ok((spec.clone(), pair.clone()));
            host::attend(&attend, &mut consider, build, &mut progress)
        }
        _ => host::backup(spec, pair, build, &mut progress),
    };
    match result {
        Ok(outcome) => println!("\nended {:?}", outcome.halt),
        Err(error) => println!("\nfailed {}", os::error::chain(&error)),
    }
}

/// A replica in a process of its own; the process is killed with this.
pub struct Replica {
    pub child: Child,
    /// Its standard output.
    lines: BufReader<ChildStdout>,
}

impl Replica {
    /// Starts a replica at this site. `peer` is where a primary finds its backup.
    pub fn start(role: &str, dir: &Path, peer: Option<&str>, spins: bool) -> Replica {
        Replica::start_with(role, dir, peer, spins, &[])
    }

    /// The same, with other orders in the environment, by their names above.
    pub fn start_with(
        role: &str,
        dir: &Path,
        peer: Option<&str>,
        spins: bool,
        other: &[(&str, &Path)],
    ) -> Replica {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "replica::child_that_is_a_replica", "--nocapture"]);
        command.env(ROLE, role).env(DIR, dir).stdout(Stdio::piped());
        if let Some(peer) = peer {
            command.env(PEER, peer);
        }
        if spins {
            command.env(SPINS, "1");
        }
        command.envs(other.iter().copied());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Replica { child, lines }
    }

    /// The rest of the next line that begins with `word`.
    pub fn says(&mut self, word: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "it never said '{word}' but: {seen}"
            );
            if let Some(rest) = line.trim().strip_prefix(word) {
                return rest.trim().to_owned();
            }
            seen += &line;
        }
    }

    /// Kills the process, as SIGKILL does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    /// Starts a replica here.
    pub fn start(&self, role: &str, peer: Option<&str>, spins: bool) -> Replica {
        Replica::start(role, self.dir.path(), peer, spins)
    }

    /// A pair that has formed: the primary, the backup, and the primary's cable.
    pub fn pair(&self, spins: bool) -> (Replica, Replica, Cable) {
        self.pair_in(spins, "1")
    }

    /// The same; its epoch must be this one.
    pub fn pair_in(&self, spins: bool, epoch: &str) -> (Replica, Replica, Cable) {
        let mut backup = self.start("backup", None, spins);
        let address = backup.says("listening");
        let mut primary = self.start("primary", Some(&address), spins);
        let cable = self.gateway.accept();
        assert_eq!(primary.says("paired"), epoch);
        assert_eq!(backup.says("paired"), epoch);
        (primary, backup, cable)
    }

    /// The events that a replica has told so far, as a program of somebody else reads them.
    pub fn events(&self, who: &str) -> Vec<serde_json::Value> {
        self.told(who)
    }

    /// The events that a replica has told so far, as `host` reads them.
    pub fn lines(&self, who: &str) -> Vec<Line> {
        self.told(who)
    }

    fn told<T: DeserializeOwned>(&self, who: &str) -> Vec<T> {
        let text = std::fs::read_to_string(self.dir.path().join(format!("{who}.events"))).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The roles that a replica has had, in their order.
    pub fn roles(&self, who: &str) -> Vec<String> {
        let events = self.events(who);
        let roles = events.iter().filter(|event| event["event"] == "role");
        roles
            .map(|event| event["role"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What is in a sector of the disk file.
    pub fn disk(&self, sector: usize) -> Vec<u8> {
        let disk = std::fs::read(self.dir.path().join("disk")).unwrap();
        disk[sector * 512..(sector + 1) * 512].to_vec()
    }
}

/// Asks the guest and checks that the answer is to this request. The number of answers that the guest has
/// given so far; `None`: the replica is gone.
pub fn ask(cable: &mut Cable, request: &[u8]) -> Option<u64> {
    cable.send(request).ok()?;
    let answer = cable.receive()?;
    assert_eq!(answer[..request.len()], *request);
    let count = answer.last_chunk::<8>().unwrap();
    Some(u64::from_le_bytes(*count))
}
