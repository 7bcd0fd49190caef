//! `Processes`: the processes of VMs on this host. The agent starts them so that they outlive it, finds those
//! that run by their control sockets, and never ends one by force: a process is the truth about its VM.
//!
//! What a process says on its standard streams is kept in a file, of which the last words are told when the
//! process has ended.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use messages::vm_name::VmName;

use crate::Program;
use crate::limits::{LAST_WORDS_BYTES, LOGS_KEPT, RESERVATION, TRIAL_FIGURES_EVERY_MS};
use membership::config::Config;

/// What a process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the VM from power-on.
    Run,
    /// To wait for the VM, and be its backup.
    Wait {
        /// Where it waits.
        address: SocketAddr,
    },
}

/// A process that this agent has started.
#[derive(Debug)]
struct Started {
    vm: VmName,
    purpose: Purpose,
    child: Child,
    log: PathBuf,
}

/// That a process has ended which this agent has started.
#[derive(Debug)]
pub struct Exit {
    /// Name of its VM.
    pub vm: VmName,
    /// What it was started for.
    pub purpose: Purpose,
    /// How it has ended.
    pub status: ExitStatus,
    /// The last line that it has said.
    pub words: String,
}

/// The processes of VMs on this host.
#[derive(Debug)]
pub struct Processes {
    /// The program itself.
    executable: PathBuf,
    /// The sockets' directory, of which the parent is what processes take for their user's.
    runtime: Option<PathBuf>,
    state: PathBuf,
    config: Config,
    /// As [`Program::trial`].
    trial: Option<PathBuf>,
    started: Vec<Started>,
    /// The port that is tried first for the next process that waits.
    next_port: u16,
}

impl Processes {
    /// The processes of the host that this file is for; each is started from `program`'s file.
    ///
    /// # Errors
    /// The directories for what they say cannot be made.
    pub fn new(config: &Config, program: &Program) -> std::io::Result<Processes> {
        for part in ["vms", "logs", "consoles"] {
            let directory = config.state_dir.join(part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        if let Some(run_dir) = &config.run_dir {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(run_dir.join("lockstep"))?;
        }
        Ok(Processes {
            executable: program.executable.clone(),
            runtime: config.run_dir.clone(),
            state: config.state_dir.clone(),
            config: config.clone(),
            trial: program.trial.clone(),
            started: Vec::new(),
            next_port: config.pair.first_port,
        })
    }

    /// Starts the process of a VM whose settings are these, and gives its number. `has_console`: the settings
    /// say where its console is.
    ///
    /// # Errors
    /// The settings cannot be written, or this host gives no more processes.
    pub fn run(&mut self, vm: &VmName, toml: &str, has_console: bool) -> std::io::Result<u32> {
        let file = self.state.join("vms").join(format!("{vm}.toml"));
        let part = file.with_extension("part");
        fs::write(&part, toml)?;
        fs::rename(&part, &file)?;
        let mut command = self.command("run");
        command.arg(&file);
        if !has_console {
            command.arg("--serial").arg(self.console(vm));
        }
        command
            .arg("--arbiter")
            .arg(self.config.arbiter.place.to_string());
        command.arg("--key").arg(&self.config.key);
        self.spawn(vm, Purpose::Run, command)
    }

    /// Starts a process that is to wait for a VM at the next port, and gives its number. It may be called by
    /// any VM of the site; nobody but the agent that has asked for it knows of it. It ends by itself if
    /// nobody comes.
    ///
    /// # Errors
    /// This host gives no more processes.
    pub fn begin_to_wait(&mut self, vm: &VmName) -> std::io::Result<u32> {
        let address = SocketAddr::new(self.config.address, self.port());
        let mut command = self.command("backup");
        command.arg("--listen").arg(address.to_string());
        command.arg("--key").arg(&self.config.key);
        command.arg("--serial").arg(self.console(vm));
        command.arg("--wait").arg(format!("{}s", RESERVATION.as_secs()));
        command.arg("--json");
        self.spawn(vm, Purpose::Wait { address }, command)
    }

    /// Where the process of this number waits; `None`: it does not yet. The sentence of an error is its last
    /// one.
    ///
    /// # Errors
    /// It has ended.
    pub fn listens(&mut self, pid: u32) -> Result<Option<SocketAddr>, String> {
        let of_pid = |started: &Started| started.child.id() == pid;
        let Some(index) = self.started.iter().position(of_pid) else {
            return Err("the process that was to wait for the VM has ended".into());
        };
        let Some(started) = self.started.get_mut(index) else {
            return Ok(None);
        };
        let text = fs::read_to_string(&started.log).unwrap_or_default();
        if let Some(address) = text.lines().find_map(listening) {
            return Ok(Some(address));
        }
        if matches!(started.child.try_wait(), Ok(None)) {
            return Ok(None);
        }
        let started = self.started.swap_remove(index);
        Err(last_words(&started.log))
    }

    /// Number of a process that waits here for this VM; `None`: none does.
    #[must_use]
    pub fn waiting(&mut self, vm: &VmName) -> Option<u32> {
        let waits = |started: &mut Started| {
            started.vm == *vm
                && matches!(started.purpose, Purpose::Wait { .. })
                && matches!(started.child.try_wait(), Ok(None))
        };
        let index = self.started.iter_mut().position(waits)?;
        self.started.get(index).map(|started| started.child.id())
    }

    /// Numbers of the processes that wait or start, each with its VM.
    pub fn pids(&self) -> impl Iterator<Item = (u32, &VmName)> {
        self.started
            .iter()
            .map(|started| (started.child.id(), &started.vm))
    }

    /// Those that have ended since.
    pub fn exits(&mut self) -> Vec<Exit> {
        let mut exits = Vec::new();
        let mut index = 0;
        while let Some(started) = self.started.get_mut(index) {
            let Ok(Some(status)) = started.child.try_wait() else {
                index += 1;
                continue;
            };
            let started = self.started.swap_remove(index);
            exits.push(Exit {
                words: last_words(&started.log),
                vm: started.vm,
                purpose: started.purpose,
                status,
            });
        }
        exits
    }

    fn port(&mut self) -> u16 {
        let port = self.next_port;
        let ports = self.config.ports();
        self.next_port = if port >= *ports.end() {
            *ports.start()
        } else {
            port + 1
        };
        port
    }

    fn console(&self, vm: &VmName) -> PathBuf {
        self.state.join("consoles").join(format!("{vm}.log"))
    }

    /// The program with this command. Its process has a group of its own, so that what ends the agent's does
    /// not end it.
    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg(word).stdin(Stdio::null()).process_group(0);
        if let Some(runtime) = &self.runtime {
            command.env("XDG_RUNTIME_DIR", runtime);
        }
        command
    }

    fn spawn(&mut self, vm: &VmName, purpose: Purpose, mut command: Command) -> std::io::Result<u32> {
        let logs = self.state.join("logs");
        prune(&logs, vm);
        let stem = format!("{vm}.{:016x}", os::sys::clock::wall_ns());
        let log = logs.join(&stem);
        if let Some(events) = &self.trial {
            // The kernel ends a process when the thread ends that has started it. Processes are started on
            // the agent's first thread and on the mind's, and both live as long as the agent.
            command.args(["--ends-with", &std::process::id().to_string()]);
            command.arg("--events").arg(events.join(format!("{stem}.events")));
            command.args(["--figures-every", &TRIAL_FIGURES_EVERY_MS.to_string()]);
        }
        let file = File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        let pid = child.id();
        self.started.push(Started {
            vm: vm.clone(),
            purpose,
            child,
            log,
        });
        Ok(pid)
    }
}

/// The address of the line by which a waiting process tells it.
fn listening(line: &str) -> Option<SocketAddr> {
    let line = line.strip_prefix('{').map(|_| line)?;
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("listen")?.as_str()?.parse().ok()
}

/// The last line that a process has said, without the program's name.
fn last_words(log: &Path) -> String {
    let mut text = Vec::new();
    let mut read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))?;
        file.take(LAST_WORDS_BYTES).read_to_end(&mut text)
    };
    // A file that cannot be read says nothing.
    let _ = read();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.is_empty());
    let last = last.unwrap_or("it has said nothing");
    last.strip_prefix("lockstep: ").unwrap_or(last).to_owned()
}

/// Removes the oldest files of last words of a VM, beyond those that are kept.
fn prune(logs: &Path, vm: &VmName) {
    let Ok(entries) = fs::read_dir(logs) else {
        return;
    };
    let is_of_vm = |name: &str| name.rsplit_once('.').is_some_and(|(of, _)| of == vm.as_str());
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_of_vm))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for old in files.iter().rev().skip(LOGS_KEPT) {
        // What cannot be removed now may be the next time.
        let _ = fs::remove_file(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_process_is_heard() {
        let line = r#"{"listen":"127.0.0.1:7800"}"#;
        assert_eq!(listening(line), Some(([127, 0, 0, 1], 7800).into()));
        for other in ["lockstep: waiting", "{", r#"{"listen":"x"}"#] {
            assert_eq!(listening(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_process_that_is_tried_ends_with_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.toml");
        let text = "host = 'a'\naddress = '127.0.0.1'\nkey = 'key'\nstate_dir = 'state'\n[arbiter]\npath = \
                    'arbiter'\n[directory]\nkind = 'shared'\npath = 'store'\n";
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let vm = VmName::new("shop").unwrap();
        for trial in [None, Some(PathBuf::from("/events"))] {
            let program = Program {
                // It says what it was told.
                executable: "/bin/echo".into(),
                version: "1",
                translates: true,
                sockets: "/sockets".into(),
                read_vm: |_| Err(String::new()),
                trial: trial.clone(),
            };
            let mut processes = Processes::new(&config, &program).unwrap();
            processes.run(&vm, "", true).unwrap();
            let words = loop {
                if let Some(exit) = processes.exits().pop() {
                    break exit.words;
                }
                std::thread::yield_now();
            };
            let bound = format!(" --ends-with {} --events /events/shop.", std::process::id());
            assert_eq!(words.contains(&bound), trial.is_some(), "{words}");
            assert_eq!(words.contains("--ends-with"), trial.is_some(), "{words}");
        }
    }

    #[test]
    fn the_last_words_are_the_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("shop.1");
        assert_eq!(last_words(&log), "it has said nothing");
        fs::write(&log, "lockstep: one\nlockstep: two\n\n").unwrap();
        assert_eq!(last_words(&log), "two");
        fs::write(&log, [b'x'; 10_000]).unwrap();
        assert_eq!(last_words(&log).len() as u64, LAST_WORDS_BYTES);
    }

    #[test]
    fn of_each_vm_the_newest_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..12 {
            fs::write(dir.path().join(format!("shop.{number:016x}")), "").unwrap();
        }
        fs::write(dir.path().join("shop.old.0000000000000000"), "").unwrap();
        prune(dir.path(), &VmName::new("shop").unwrap());
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        assert_eq!(names.len(), LOGS_KEPT + 1);
        assert_eq!(names[0].file_name(), "shop.0000000000000004");
    }
}
