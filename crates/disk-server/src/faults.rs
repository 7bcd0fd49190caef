//! Faults of the storage, for tests: writes that are held up in the server, and flushes that fail.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Faults {
    held: bool,
    /// Writes that are held up.
    waiting: usize,
    flushes_failing: usize,
}

static FAULTS: Mutex<Faults> = Mutex::new(Faults {
    held: false,
    waiting: 0,
    flushes_failing: 0,
});
static CHANGED: Condvar = Condvar::new();

fn faults() -> MutexGuard<'static, Faults> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds up all writes that begin from now on, behind the fence and before the storage.
pub fn hold_writes() {
    faults().held = true;
}

/// Lets all writes go on.
pub fn release_writes() {
    faults().held = false;
    CHANGED.notify_all();
}

/// Waits until so many writes are held up.
pub fn wait_for_held(count: usize) {
    let short = |faults: &mut Faults| faults.waiting < count;
    drop(
        CHANGED
            .wait_while(faults(), short)
            .unwrap_or_else(PoisonError::into_inner),
    );
}

/// Has the next flush fail.
pub fn fail_a_flush() {
    faults().flushes_failing += 1;
}

pub(crate) fn before_write() {
    let mut faults = faults();
    faults.waiting += 1;
    CHANGED.notify_all();
    let mut faults = CHANGED
        .wait_while(faults, |faults| faults.held)
        .unwrap_or_else(PoisonError::into_inner);
    faults.waiting -= 1;
}

pub(crate) fn before_flush() -> io::Result<()> {
    let mut faults = faults();
    if faults.flushes_failing == 0 {
        return Ok(());
    }
    faults.flushes_failing -= 1;
    Err(io::Error::other("a fault that a test asked for"))
}
