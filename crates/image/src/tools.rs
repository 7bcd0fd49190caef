//! The programs of the host that builds use: finding them, running them, and keeping what they said last.
//!
//! Every other file of this crate runs programs only through here, so that none waits for input, outlives the
//! build, or fails without its own words.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::error::ImageError;

/// Number of lines of a failing program that an error shows.
const TAIL_LINES: usize = 12;

/// Time between two looks at a running program.
const TICK: Duration = Duration::from_millis(100);

/// Words that stand before a program to tie it, with all that it starts, to the life of the thread that
/// starts it: the shell is signalled when that thread ends, and passes the signal on to its process group,
/// which must be one of its own.
const TIE: [&str; 6] = [
    "--pdeathsig",
    "TERM",
    "sh",
    "-c",
    "trap 'trap \"\" TERM; kill -TERM 0; wait' TERM; \"$@\" & wait $!",
    "sh",
];

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Name of the program.
    pub program: &'static str,
    /// Name of the package.
    pub package: &'static str,
}

impl Tool {
    /// `program`, which `package` brings.
    pub const fn new(program: &'static str, package: &'static str) -> Tool {
        Tool { program, package }
    }
}

pub const APT_GET: Tool = Tool::new("apt-get", "apt");
pub const APT_CONFIG: Tool = Tool::new("apt-config", "apt");
pub const DPKG_DEB: Tool = Tool::new("dpkg-deb", "dpkg");
pub const MMDEBSTRAP: Tool = Tool::new("mmdebstrap", "mmdebstrap");
pub const ARCH_TEST: Tool = Tool::new("arch-test", "arch-test");
pub const MKE2FS: Tool = Tool::new("mke2fs", "e2fsprogs");
pub const TAR: Tool = Tool::new("tar", "tar");
pub const FAKEROOT: Tool = Tool::new("fakeroot", "fakeroot");
pub const NEWUIDMAP: Tool = Tool::new("newuidmap", "uidmap");

pub const SETPRIV: Tool = Tool::new("setpriv", "util-linux");
pub const SH: Tool = Tool::new("sh", "dash");

/// Checks that all of `tools` are there, before any work is done.
pub fn require(tools: &[Tool]) -> Result<(), ImageError> {
    require_in(tools, &search_path())
}

fn require_in(tools: &[Tool], path: &OsStr) -> Result<(), ImageError> {
    let missing = tools.iter().filter(|tool| find(tool.program, path).is_none());
    let (programs, packages): (Vec<_>, Vec<_>) = missing.map(|tool| (tool.program, tool.package)).unzip();
    if programs.is_empty() {
        return Ok(());
    }
    Err(ImageError::MissingTools { programs, packages })
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// PATH with the system directories that Debian leaves out of a user's PATH (mke2fs is in one of them).
fn search_path() -> OsString {
    let mut directories: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    for directory in ["/usr/local/sbin", "/usr/sbin", "/sbin"] {
        if !directories.iter().any(|known| known == Path::new(directory)) {
            directories.push(directory.into());
        }
    }
    std::env::join_paths(directories).unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// A command in the environment that builds need: English messages, no questions, no input.
pub fn command(tool: Tool) -> Command {
    let mut command = Command::new(tool.program);
    command
        .env("PATH", search_path())
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// Like [`command`], for a program that runs for long and has children of its own: all of them are told to
/// stop when this process is killed, however that happens.
pub fn command_tied_to_us(tool: Tool) -> Command {
    let mut command = command(SETPRIV);
    command.args(TIE).arg(tool.program).process_group(0);
    command
}

/// Runs a short command and returns what it printed.
pub fn run(command: &mut Command, action: &str) -> Result<String, ImageError> {
    let output = command
        .output()
        .map_err(|source| start_error(command, action, source))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    // apt gives its reason on stderr, mke2fs on either stream; the user needs the end of both.
    let complaint = format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    Err(failure(command, action, output.status, &complaint))
}

/// Runs a long command with its output in the file `log`, calling `on_tick` ten times a second.
pub fn watch(
    command: &mut Command,
    action: &str,
    log: &Path,
    mut on_tick: impl FnMut(),
) -> Result<(), ImageError> {
    let file = File::create(log).map_err(ImageError::file("create", log))?;
    let copy = file.try_clone().map_err(ImageError::file("open", log))?;
    command.stdout(file).stderr(copy);
    let child = command
        .spawn()
        .map_err(|source| start_error(command, action, source))?;
    let status = wait(child, &mut on_tick).map_err(|source| start_error(command, action, source))?;
    if status.success() {
        return Ok(());
    }
    let complaint = fs::read(log).map_err(ImageError::file("read", log))?;
    Err(failure(
        command,
        action,
        status,
        &String::from_utf8_lossy(&complaint),
    ))
}

/// Waits for the end of `child` and calls `on_tick` meanwhile. There is no limit of time: apt has timeouts,
/// and an emulated installation takes what it takes.
fn wait(mut child: Child, on_tick: &mut dyn FnMut()) -> std::io::Result<ExitStatus> {
    let (sender, ended) = mpsc::channel();
    thread::scope(|scope| {
        // The receiver lives until the thread has sent.
        scope.spawn(move || drop(sender.send(child.wait())));
        loop {
            match ended.recv_timeout(TICK) {
                Ok(status) => return status,
                Err(RecvTimeoutError::Timeout) => on_tick(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(std::io::Error::other("the waiting thread is gone"));
                }
            }
        }
    })
}

fn start_error(command: &Command, action: &str, source: std::io::Error) -> ImageError {
    ImageError::Start {
        action: action.to_owned(),
        program: program(command),
        source,
    }
}

fn failure(command: &Command, action: &str, status: ExitStatus, output: &str) -> ImageError {
    ImageError::Tool {
        action: action.to_owned(),
        program: program(command),
        status: status.to_string(),
        tail: tail(output),
    }
}

/// The program that a command is about.
fn program(command: &Command) -> String {
    let tied = (command.get_program() == SETPRIV.program)
        .then(|| command.get_args().nth(TIE.len()))
        .flatten();
    tied.unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned()
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_are_reported_together_with_their_packages() {
        let empty = std::env::temp_dir().join("lockstep-no-such-directory");
        let error = require_in(&[MMDEBSTRAP, MKE2FS], empty.as_os_str()).unwrap_err();
        let ImageError::MissingTools { programs, packages } = error else {
            panic!("{error}");
        };
        assert_eq!(programs, ["mmdebstrap", "mke2fs"]);
        assert_eq!(packages, ["mmdebstrap", "e2fsprogs"]);
    }

    #[test]
    fn present_tool_is_found() {
        require(&[SH]).unwrap();
    }

    #[test]
    fn output_of_a_failing_command_is_in_the_error() {
        let error = run(
            command(SH).args(["-c", "echo out; echo err >&2; exit 3"]),
            "trying",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "trying failed: `sh` ended with exit status: 3; its last lines were:\nout\nerr"
        );
    }

    #[test]
    fn error_of_a_tied_program_names_the_program() {
        let error = run(command_tied_to_us(SH).args(["-c", "exit 3"]), "trying").unwrap_err();
        assert_eq!(
            error.to_string(),
            "trying failed: `sh` ended with exit status: 3 without a word"
        );
    }

    #[test]
    fn tail_keeps_the_last_lines_only() {
        let output: String = (0..100).map(|line| format!("line {line}\n\n")).collect();
        let tail = tail(&output);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 99"));
    }
}
