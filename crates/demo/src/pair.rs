//! The processes of the demo: gateway, primary and backup, and the one that waits to be the next backup, with
//! their directory, their console and their end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use caller::{Found, PATIENCE};
use image::Appliance;
use report::{Figures, RoleWord, Tail};

use super::directory::Directory;
use super::gateway::Gateway;
use super::live::{Live, TICK};
use super::process::Process;
use crate::options::{Kill, Options};

/// Name of the demo's VM.
pub const VM: &str = "demo";
/// Text that the appliance prints when Redis answers.
pub const READY: &str = "lockstep-appliance: ready";
/// Time that the guest may take to boot.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// RAM of the demo's guest.
pub const MEMORY: &str = "512M";
/// Milliseconds between two lines of figures that a replica writes.
const FIGURES_EVERY_MS: &str = "100";

/// One half of the pair, or a process that waits to be one.
pub struct Half {
    pub process: Process,
    /// The file of its events, as far as it was read.
    events: Tail,
}

impl Half {
    /// Where the process is asked and told, as `lockstep status` and `protect` do.
    pub fn control(&self, sockets: &Path) -> Result<Found> {
        let found = caller::find(sockets, Some(VM)).into_iter();
        let is_this = |found: &Found| {
            let status = found.status(PATIENCE);
            matches!(status, Ok(Some(status)) if status.pid == self.process.id())
        };
        // Other demos may run beside this one.
        let found = found.into_iter().find(is_this);
        found.with_context(|| {
            let (name, words) = (self.process.name(), self.process.last_words());
            format!("the {name} does not answer: {words}")
        })
    }
}

/// The demo's processes.
pub struct Pair {
    /// The process in which the guest is shown.
    pub primary: Half,
    pub backup: Half,
    /// The process that waits to be the next backup, and where it listens.
    spare: Option<(Half, SocketAddr)>,
    /// How many backups there were, those included that wait.
    backups: u32,
    /// Address at which Redis is reached from this host.
    pub redis: SocketAddr,
    ready: Receiver<()>,
    // These are dropped last: the gateway, then the files.
    _gateway: Gateway,
    directory: Directory,
}

impl Pair {
    /// Starts gateway, backup and primary.
    pub fn start(image: &Appliance, args: &Options) -> Result<Pair> {
        let directory = Directory::make(args.keep)?;
        let path = directory.path();
        let gateway = Gateway::start(path, &path.join("gateway.sock").display().to_string(), None)?;
        let port = free_port()?;
        let command = |name| of_machine(name, image, args, path, &gateway.frames, port);
        let backup = start_half(path, "backup", command("backup"), args, |_| {})?;
        let (sender, ready) = channel();
        let primary = start_half(path, "primary", command("primary"), args, move |line| {
            if line.contains(READY) {
                // Nobody listens any more once the demo has seen the text.
                let _ = sender.send(());
            }
        })?;
        Ok(Pair {
            primary,
            backup,
            spare: None,
            backups: 1,
            redis: gateway.redis,
            ready,
            _gateway: gateway,
            directory,
        })
    }

    /// The demo's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The files of the events of all halves that there were.
    pub fn events(&self) -> Vec<PathBuf> {
        let later = (2..=self.backups).map(|number| format!("backup-{number}"));
        let names = ["primary".to_owned(), "backup".to_owned()]
            .into_iter()
            .chain(later);
        names.map(|name| events(self.directory.path(), &name)).collect()
    }

    /// Waits for Redis inside the guest.
    pub fn wait_until_ready(&mut self, patience: Duration, live: &mut Live) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.ready.recv_timeout(TICK) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if began.elapsed() < patience => {
                    live.tick(|| format!("the guest boots, {} s", began.elapsed().as_secs()))?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest did not boot within {} s", patience.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the primary has ended: {}", self.words()),
            }
        }
    }

    /// Starts a process that knows nothing of the VM and waits to be its next backup.
    pub fn start_spare(&mut self, args: &Options) -> Result<()> {
        self.backups += 1;
        let name = format!("backup-{}", self.backups);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let command = vec!["backup".into(), "--listen".into(), address.to_string()];
        let half = start_half(self.directory.path(), &name, command, args, |_| {})?;
        self.spare = Some((half, address));
        Ok(())
    }

    /// Puts the waiting process into the place of the backup, and the backup, if the primary is `lost`, into
    /// the primary's. Gives the half that is lost, and where the process waits.
    pub fn replace(&mut self, lost: Kill) -> Result<(Half, SocketAddr)> {
        let (spare, address) = self.spare.take().context("no process waits")?;
        let backup = std::mem::replace(&mut self.backup, spare);
        let lost = match lost {
            Kill::Backup => backup,
            Kill::Primary | Kill::Stall | Kill::None => std::mem::replace(&mut self.primary, backup),
        };
        Ok((lost, address))
    }

    /// The last words of both halves.
    pub fn words(&self) -> String {
        let words = [&self.primary, &self.backup].map(|half| {
            let process = &half.process;
            format!("the {} says: {}", process.name(), process.last_words())
        });
        words.join("; ")
    }

    /// The newest figures of the side that is live; `None`: there are none yet.
    pub fn figures(&mut self) -> Option<Figures> {
        let newest = [self.primary.events.figures(), self.backup.events.figures()];
        let is_live = |figures: &Figures| matches!(figures.role, RoleWord::Primary | RoleWord::Solo);
        let live = newest
            .into_iter()
            .flatten()
            .filter(|(_, figures)| is_live(figures));
        live.max_by_key(|(time, _)| *time)
            .map(|(_, figures)| figures.clone())
    }

    /// Waits until the guest's own power-off has ended both halves. False if one of them ended otherwise.
    pub fn wait_for_end(&mut self, patience: Duration, live: &mut Live) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut good = true;
        for half in [&mut self.primary, &mut self.backup] {
            let process = &mut half.process;
            let status = process.wait(deadline.saturating_duration_since(Instant::now()), live)?;
            if !status.is_some_and(|status| status.success()) {
                let how = status.map_or_else(|| "not at all".to_owned(), |status| status.to_string());
                let words = process.last_words();
                live.complain(&format!("the {} ended badly ({how}): {words}", process.name()));
                good = false;
            }
        }
        Ok(good)
    }
}

/// Starts a process that runs the guest, or is to run it: a command with flags of its own, and those that all
/// such processes have.
fn start_half(
    directory: &Path,
    name: &str,
    command: Vec<String>,
    args: &Options,
    on_line: impl FnMut(String) + Send + 'static,
) -> Result<Half> {
    let file = events(directory, name);
    let common = [
        ("--serial", "stdio".into()),
        ("--key", text(&directory.join("key"))),
        ("--timeout-ms", args.timeout_ms.to_string()),
        ("--events", text(&file)),
        ("--figures-every", FIGURES_EVERY_MS.into()),
    ];
    let common = common
        .into_iter()
        .flat_map(|(word, value)| [word.to_owned(), value]);
    let timeout_only = args.timeout_only.then(|| "--timeout-only".to_owned());
    let arguments: Vec<String> = command.into_iter().chain(common).chain(timeout_only).collect();
    Ok(Half {
        process: Process::start(directory, name, &arguments, on_line)?,
        events: Tail::new(file),
    })
}

/// The command of one of the first two halves, with the flags of its machine.
fn of_machine(
    command: &str,
    image: &Appliance,
    args: &Options,
    directory: &Path,
    frames: &str,
    port: u16,
) -> Vec<String> {
    let flags = [
        ("--name", VM.into()),
        ("--kernel", text(&image.kernel)),
        ("--initrd", text(&image.initrd)),
        ("--firmware", text(&image.firmware)),
        ("--append", image.append.clone()),
        ("--memory", MEMORY.into()),
        ("--harts", args.harts.to_string()),
        ("--net", format!("gateway={frames}")),
        ("--backup", format!("127.0.0.1:{port}")),
        ("--arbiter", text(&directory.join("arbiter"))),
    ];
    let flags = flags
        .into_iter()
        .flat_map(|(word, value)| [word.to_owned(), value]);
    std::iter::once(command.to_owned()).chain(flags).collect()
}

/// The file of the events of a process of this name.
fn events(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.events"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
