//! When a thread gets its turn on a processor that others want as well.
//!
//! # Safety argument
//! `sched_setscheduler` reads the parameters that it is given, which live during the call, and changes
//! nothing but how the kernel schedules the calling thread.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

/// Whether this thread, when it wakes, waits for the end of the turn of whoever is running (`SCHED_BATCH`).
/// Neither way needs a right; an error changes nothing.
pub fn wait_for_others(wait: bool) {
    let policy = if wait {
        libc::SCHED_BATCH
    } else {
        libc::SCHED_OTHER
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters live during the call; 0 is this thread (see above).
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } != 0 {
        tracing::debug!(
            "this thread's turns stay as they are: {}",
            std::io::Error::last_os_error()
        );
    }
}
