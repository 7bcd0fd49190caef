//! How the crate locks its mutexes.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex.
pub fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
