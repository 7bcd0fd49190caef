//! What a process of ours gives up once it has started, so that a guest or a stranger that takes the process
//! over gets little.
//!
//! ```text
//!   ask_to_.., become_user    asks for memory and, in a replica, for time; becomes --user
//!   (files, disks, taps, ports and keys are opened)
//!   enter                     landlock, no capabilities, the process' filters: before the process listens
//!                             to a stranger or a peer
//!   spawn, narrow             each thread's own filter, before the thread does anything; the guest thread's
//!                             before the guest's first step
//! ```
//! Each of these holds for a thread and the threads that it starts, never for those that it was started by:
//! so nothing may start a thread before [`Needs::enter`]. Whatever this kernel cannot do is said once, in a
//! sentence, and is no error. docs/security.md has the table of what is left.

mod calls;
pub mod files;
pub mod privileges;
mod system_calls;

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use landlock::RulesetStatus;

pub use files::Files;
pub use privileges::{ServedLater, User, UserError, ask_to_be_served_soon, ask_to_stay_in_memory};
pub use privileges::{become_user, keep_right_to_be_served_soon};
pub use system_calls::{Kind, Sockets};

thread_local! {
    /// Which sockets this thread may make, once it is in the sandbox; `None`: it is not.
    static ENTERED: Cell<Option<Sockets>> = const { Cell::new(None) };
}

/// What a process still needs after its start: everything else is given up.
#[derive(Debug, Default)]
pub struct Needs {
    /// Files, directories and ports that the process may use.
    pub files: Files,
    /// Sockets that the process may make.
    pub sockets: Sockets,
    /// Files to be opened again, and directories to make files in, that must surely be usable later.
    rehearsed: Vec<Rehearsal>,
}

#[derive(Debug)]
struct Rehearsal {
    what: &'static str,
    path: PathBuf,
    change: bool,
}

/// A file that the process will need again cannot be used inside the sandbox.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} {path} cannot be used from inside the sandbox; {user}, or whom `--user` names, must be able to \
     {do_what}",
    do_what = if *.change { "write it and make files in its directory" } else { "read it" }
)]
pub struct OutOfReach {
    what: &'static str,
    path: PathBuf,
    change: bool,
    user: String,
    source: io::Error,
}

/// What keeps the rules about files in force, to be held as long as the process lives.
#[derive(Debug)]
#[must_use = "rules about files that nobody holds may end"]
pub struct Entered(#[allow(dead_code, reason = "it is there to be held")] Vec<OwnedFd>);

impl Needs {
    /// What any process needs: to see how much memory it uses, and how many processors there are, by which
    /// the C library's allocator shares memory among threads.
    #[must_use]
    pub fn of_any_process() -> Needs {
        let mut needs = Needs::default();
        needs.files.read("/proc/self");
        needs.files.read("/sys/devices/system/cpu/online");
        needs
    }

    /// Names a file that must be usable later too; entering the sandbox tries it.
    pub fn surely(&mut self, what: &'static str, path: &Path, change: bool) {
        self.rehearsed.push(Rehearsal {
            what,
            path: path.into(),
            change,
        });
    }

    /// Gives up everything else for good, in this thread and in all that it will start.
    ///
    /// # Errors
    /// A file that will be needed cannot be used any more. The process must end.
    pub fn enter(self) -> Result<Entered, OutOfReach> {
        privileges::forbid_core_files();
        let _ = rustix::thread::set_no_new_privs(true);
        let held = match self.files.restrict() {
            Ok((held, RulesetStatus::FullyEnforced)) => held,
            Ok((held, RulesetStatus::PartiallyEnforced)) => {
                tracing::info!("this kernel knows only a part of landlock (docs/security.md says which)");
                held
            }
            Ok((held, RulesetStatus::NotEnforced)) => {
                missing("landlock", "may open every file that its user may");
                held
            }
            Err(error) => {
                tracing::debug!("{}", crate::error::chain(&error));
                missing("landlock", "may open every file that its user may");
                Vec::new()
            }
        };
        if let Err(error) = privileges::give_up_capabilities() {
            tracing::warn!("this process cannot give up its capabilities: {error}");
        }
        if let Err(error) = system_calls::restrict_process(self.sockets) {
            tracing::debug!("{}", crate::error::chain(&error));
            missing("seccomp", "may ask the kernel for anything");
        }
        ENTERED.set(Some(self.sockets));
        for Rehearsal { what, path, change } in self.rehearsed {
            files::rehearse(&path, change).map_err(|source| OutOfReach {
                what,
                path,
                change,
                user: privileges::who(),
                source,
            })?;
        }
        Ok(Entered(held))
    }
}

fn missing(what: &str, so: &str) {
    tracing::warn!(
        "this kernel has no {what}: whoever takes this process over {so}; run it on a kernel that has it, \
         or as a user of its own (`--user`)"
    );
}

/// Starts a thread, which gives up what its kind does not need before it does its work. `ps -L` shows `name`,
/// in 15 bytes.
///
/// # Errors
/// The host gives no more threads.
pub fn try_spawn<T: Send + 'static>(
    kind: Kind,
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let sockets = ENTERED.get();
    let niceness = privileges::niceness_to_inherit();
    thread::Builder::new().name(name.into()).spawn(move || {
        ENTERED.set(sockets);
        privileges::serve_new_thread(niceness, matches!(kind, Kind::Bulk | Kind::Caller));
        narrow(kind);
        work()
    })
}

/// As [`try_spawn`], where nothing can go on without the thread.
///
/// # Panics
/// The host gives no more threads, as with [`std::thread::spawn`].
pub fn spawn<T: Send + 'static>(
    kind: Kind,
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    try_spawn(kind, name, work).unwrap_or_else(|error| {
        panic!("this host gives no more threads ({error}); raise the limit (`ulimit -u`)")
    })
}

/// Has this thread give up what its kind does not need, if the process is in the sandbox.
pub fn narrow(kind: Kind) {
    if let Some(sockets) = ENTERED.get()
        && let Err(error) = system_calls::restrict_thread(kind, sockets)
    {
        // The process has told the same for its first thread already.
        tracing::debug!("{}", crate::error::chain(&error));
    }
}
