//! The processes of the demo: gateway, backup and primary, with their directory, their console and their end.
//!
//! Each is this very program, started again with a command of its own. None of them outlives the demo,
//! however the demo ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use image::Appliance;
use report::{Figures, RoleWord};
use rustix::process::{Pid, Signal, kill_process};

use super::directory::Directory;
use super::live::{Live, TICK};
use super::tail::Tail;
use crate::args::{DemoArgs, Kill};

/// Text that the appliance prints when Redis answers.
const READY: &str = "lockstep-appliance: ready";
/// RAM of the demo's guest.
const MEMORY: &str = "512M";
/// Milliseconds between two lines of figures that a replica writes.
const FIGURES_EVERY_MS: &str = "100";
/// Lines of a dead process's standard error that are shown.
const LAST_LINES: usize = 5;

/// A process of the demo. It is killed if the demo ends before it.
pub struct Replica {
    name: &'static str,
    child: Child,
    errors: PathBuf,
    exited: Receiver<()>,
    status: Option<ExitStatus>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        if self.status.is_none() {
            // The process may have ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Replica {
    /// Starts this program with `arguments`; `on_line` gets each line of its standard output.
    fn start(
        directory: &Path,
        name: &'static str,
        arguments: &[String],
        mut on_line: impl FnMut(String) + Send + 'static,
    ) -> Result<Replica> {
        let errors = directory.join(format!("{name}.errors"));
        let mut child = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
            .args(arguments)
            // Whatever ends the demo, SIGKILL included, ends this process.
            .args(["--ends-with", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let (sender, exited) = channel::<()>();
        let output = child.stdout.take().context("no standard output")?;
        std::thread::spawn(move || {
            // The channel is closed when the process has closed its output, which is when it has ended.
            let _sender = sender;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                on_line(line);
            }
        });
        Ok(Replica {
            name,
            child,
            errors,
            exited,
            status: None,
        })
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.status = Some(self.child.wait()?);
        Ok(())
    }

    /// Sends SIGSTOP.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal the {}", self.name))
    }

    /// Waits for the end of the process; `None` if it has not ended within `patience`.
    pub fn wait(&mut self, patience: Duration, live: &mut Live) -> Result<Option<ExitStatus>> {
        let began = Instant::now();
        while self.status.is_none() {
            match self.exited.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= patience => return Ok(None),
                Err(RecvTimeoutError::Timeout) => live.tick(|| {
                    let waited = began.elapsed().as_secs();
                    format!("waiting for the end of the {}, {waited} s", self.name)
                })?,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => self.status = Some(self.child.wait()?),
            }
        }
        Ok(self.status)
    }

    /// The last lines that the process said.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
    }
}

/// The demo's three processes.
pub struct Pair {
    pub primary: Replica,
    pub backup: Replica,
    /// Address at which Redis is reached from this host.
    pub redis: SocketAddr,
    /// Files of the replicas' events.
    pub primary_events: PathBuf,
    pub backup_events: PathBuf,
    killed: Kill,
    ready: Receiver<()>,
    /// What was read of the two files so far.
    tails: [Tail; 2],
    // These are dropped last: the gateway, then the files.
    _gateway: Replica,
    directory: Directory,
}

impl Pair {
    /// Starts all three processes.
    pub fn start(image: &Appliance, args: &DemoArgs) -> Result<Pair> {
        let directory = Directory::make(args.keep)?;
        let path = directory.path();
        let (gateway, frames, redis) = start_gateway(path)?;
        let port = free_port()?;
        let replica = |name: &'static str, on_line: Box<dyn FnMut(String) + Send>| {
            let events = path.join(format!("{name}.events"));
            let arguments = arguments(name, image, args, path, &frames, port);
            Ok::<_, anyhow::Error>((Replica::start(path, name, &arguments, on_line)?, events))
        };
        let (backup, backup_events) = replica("backup", Box::new(|_| {}))?;
        let (sender, ready) = channel();
        let (primary, primary_events) = replica(
            "primary",
            Box::new(move |line| {
                if line.contains(READY) {
                    // Nobody listens any more once the demo has seen the text.
                    let _ = sender.send(());
                }
            }),
        )?;
        Ok(Pair {
            primary,
            backup,
            redis,
            primary_events,
            backup_events,
            killed: args.kill,
            ready,
            tails: Default::default(),
            _gateway: gateway,
            directory,
        })
    }

    /// The demo's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "the primary has ended: {}; the backup says: {}",
                    self.primary.last_words(),
                    self.backup.last_words()
                ),
            }
        }
    }

    /// The newest figures of the side that is live; `None`: there are none yet.
    pub fn figures(&mut self) -> Option<Figures> {
        let [primary, backup] = &mut self.tails;
        let newest = [
            primary.figures(&self.primary_events),
            backup.figures(&self.backup_events),
        ];
        let is_live = |figures: &Figures| matches!(figures.role, RoleWord::Primary | RoleWord::Solo);
        let live = newest
            .into_iter()
            .flatten()
            .filter(|(_, figures)| is_live(figures));
        live.max_by_key(|(time, _)| *time)
            .map(|(_, figures)| figures.clone())
    }

    /// Waits until the guest's own power-off has ended the replicas that are left. False if one of them ended
    /// otherwise.
    pub fn wait_for_end(&mut self, patience: Duration, live: &mut Live) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut good = true;
        let left: &mut [&mut Replica] = match self.killed {
            Kill::Primary | Kill::Stall => &mut [&mut self.backup],
            Kill::Backup => &mut [&mut self.primary],
            Kill::None => &mut [&mut self.primary, &mut self.backup],
        };
        for replica in left {
            let status = replica.wait(deadline.saturating_duration_since(Instant::now()), live)?;
            if !status.is_some_and(|status| status.success()) {
                let how = status.map_or_else(|| "not at all".to_owned(), |status| status.to_string());
                live.complain(&format!(
                    "the {} ended badly ({how}): {}",
                    replica.name,
                    replica.last_words()
                ));
                good = false;
            }
        }
        Ok(good)
    }
}

/// Starts the gateway; gives it with the address at which replicas reach it and the one at which Redis is
/// reached. The socket and its directory belong to this user alone, so that network frames need no key.
fn start_gateway(directory: &Path) -> Result<(Replica, String, SocketAddr)> {
    let (sender, lines) = channel();
    let arguments = [
        "gateway",
        "--listen",
        &directory.join("gateway.sock").display().to_string(),
        "--forward",
        "127.0.0.1:0-:6379",
    ];
    let gateway = Replica::start(directory, "gateway", &arguments.map(str::to_owned), move |line| {
        // Only the first line matters; nobody listens for more.
        let _ = sender.send(line);
    })?;
    let Ok(line) = lines.recv() else {
        bail!("the gateway has ended: {}", gateway.last_words())
    };
    let ready: serde_json::Value =
        serde_json::from_str(&line).context("the gateway's first line is not JSON")?;
    let redis = ready["forwards"][0]
        .as_str()
        .context("the gateway forwards nothing")?;
    let frames = ready["listen"].as_str().context("the gateway does not listen")?;
    Ok((gateway, frames.to_owned(), redis.parse()?))
}

fn arguments(
    name: &str,
    image: &Appliance,
    args: &DemoArgs,
    directory: &Path,
    frames: &str,
    port: u16,
) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    [
        (name, None),
        ("--name", Some("demo".into())),
        ("--kernel", Some(text(&image.kernel))),
        ("--initrd", Some(text(&image.initrd))),
        ("--firmware", Some(text(&image.firmware))),
        ("--append", Some(image.append.clone())),
        ("--memory", Some(MEMORY.into())),
        ("--harts", Some(args.harts.to_string())),
        ("--net", Some(format!("gateway={frames}"))),
        ("--serial", Some("stdio".into())),
        ("--backup", Some(format!("127.0.0.1:{port}"))),
        ("--key", Some(text(&directory.join("key")))),
        ("--arbiter", Some(text(&directory.join("arbiter")))),
        ("--timeout-ms", Some(args.timeout_ms.to_string())),
        ("--events", Some(text(&directory.join(format!("{name}.events"))))),
        ("--figures-every", Some(FIGURES_EVERY_MS.into())),
    ]
    .into_iter()
    .chain(args.timeout_only.then_some(("--timeout-only", None)))
    .flat_map(|(word, value)| std::iter::once(word.to_owned()).chain(value))
    .collect()
}

/// A port that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
