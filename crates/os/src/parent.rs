//! The process that started this one, for programs that must not outlive it.
//!
//! `lockstep demo` starts its gateway and its replicas with `--ends-with`, and each of them calls
//! [`end_with`] before it opens anything. So whatever ends the demo, SIGKILL included, ends them too, even
//! while they stand still (SIGSTOP). The kernel forgets the request when a process becomes another user: call
//! after that.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Has the kernel send SIGKILL to this process when `parent` ends, more exactly the thread of `parent` that
/// started this process. False: `parent` is not the parent of this process, or not any more, so this process
/// should end now.
///
/// # Errors
/// As the kernel gives them.
pub fn end_with(parent: u32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that ended before the call sends nothing: by now this process has another parent.
    Ok(is_parent(parent))
}

fn is_parent(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    process.is_some() && process == getppid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_started_this_one_is_its_parent() {
        let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
        assert!(is_parent(parent.unsigned_abs()));
        assert!(!is_parent(std::process::id()));
        assert!(!is_parent(0) && !is_parent(u32::MAX));
    }
}
