//! A process of the demo: this very program, started again with a command of its own. None outlives the demo,
//! however the demo ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::live::{Live, TICK};

/// Time that an orderly end may take.
pub const END_PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a dead process's standard error that are shown.
const LAST_LINES: usize = 5;

/// A process of the demo. It is killed if the demo ends before it.
pub struct Process {
    name: String,
    child: Child,
    errors: PathBuf,
    exited: Receiver<()>,
    status: Option<ExitStatus>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // The process may have ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Process {
    /// Starts this program with `arguments`; `on_line` gets each line of its standard output.
    pub fn start(
        directory: &Path,
        name: &str,
        arguments: &[String],
        on_line: impl FnMut(String) + Send + 'static,
    ) -> Result<Process> {
        Process::start_within(&[], directory, name, arguments, on_line)
    }

    /// As [`Process::start`], by way of `lead_in`: a program with its arguments that becomes the one which
    /// follows. Empty: there is none.
    pub fn start_within(
        lead_in: &[String],
        directory: &Path,
        name: &str,
        arguments: &[String],
        mut on_line: impl FnMut(String) + Send + 'static,
    ) -> Result<Process> {
        let errors = directory.join(format!("{name}.errors"));
        let mut child = own_program(lead_in)?
            .args(arguments)
            // Whatever ends the demo, SIGKILL included, ends this process.
            .args(["--ends-with", &std::process::id().to_string()])
            // Ctrl-C is for the demo alone: no client shall lose its connection before the demo has seen it.
            .process_group(0)
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
        Ok(Process {
            name: name.to_owned(),
            child,
            errors,
            exited,
            status: None,
        })
    }

    /// What the process is called.
    pub fn name(&self) -> &str {
        &self.name
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

    /// Asks the process to end, by SIGTERM.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
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
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
    }
}

/// This program, without arguments yet, by way of `lead_in`.
pub fn own_program(lead_in: &[String]) -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(match lead_in {
        [] => Command::new(own),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(own);
            command
        }
    })
}
