//! `Guard`: the fence around the disks of one VM, for the threads of a server: what is to be remembered is
//! durable before anybody is admitted, whoever is cut off has its connection closed, and a newer owner waits
//! until no change of an older one is under way.
//!
//! A write that hangs in this host's kernel makes the newer owner wait, for as long as it hangs. It never
//! makes it hope.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use block::fence::{Need, Refusal};
use block::{Ask, Fence, Lane, Standing, Time};
use replica::VmName;

use crate::state::{State, StateError};
use crate::stream::Stream;

/// Why a client is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The fence does not allow it.
    #[error("{0}")]
    Refused(Refusal),
    /// What is to be remembered could not be made durable.
    #[error(transparent)]
    State(#[from] StateError),
}

#[derive(Debug)]
struct Inside {
    fence: Fence,
    /// The connections that may be cut off.
    streams: BTreeMap<Lane, Arc<Stream>>,
}

/// The fence around the disks of one VM.
#[derive(Debug)]
pub struct Guard {
    vm: VmName,
    state: Arc<State>,
    since: Instant,
    /// Held from the look whether somebody may be admitted until that is remembered and done: one owner is
    /// admitted after the other.
    admitting: Mutex<()>,
    inside: Mutex<Inside>,
    /// Called when the last change of somebody who is cut off has ended.
    drained: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic aborts the process, so nobody ever sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    /// The fence as it was remembered.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn new(vm: VmName, state: Arc<State>) -> Result<Guard, StateError> {
        let fence = Fence::new(state.standing(&vm)?, Time(0));
        Ok(Guard {
            vm,
            state,
            since: Instant::now(),
            admitting: Mutex::default(),
            inside: Mutex::new(Inside {
                fence,
                streams: BTreeMap::new(),
            }),
            drained: Condvar::new(),
        })
    }

    /// The VM.
    #[must_use]
    pub fn vm(&self) -> &VmName {
        &self.vm
    }

    /// Who may write, as it is remembered.
    #[must_use]
    pub fn standing(&self) -> Standing {
        lock(&self.inside).fence.standing()
    }

    /// Admits a client, as soon as no change of anybody whom it replaces is under way.
    ///
    /// # Errors
    /// It may not be admitted.
    pub fn admit(&self, lane: Lane, ask: &Ask, stream: &Arc<Stream>) -> Result<(), GuardError> {
        let admitting = lock(&self.admitting);
        let need = lock(&self.inside).fence.check(&ask.token, ask.mode, self.now());
        if let Need::Remember(standing) = need.map_err(GuardError::Refused)? {
            self.state.remember(&self.vm, &standing)?;
        }
        let mut inside = lock(&self.inside);
        let severed = inside.fence.admit(lane, ask.token, ask.mode);
        inside.streams.insert(lane, Arc::clone(stream));
        inside.close(&severed);
        drop(admitting);
        let inside = self.wait_until_drained(inside);
        // Somebody newer may have come while this client waited.
        if ask.mode.writes() && !inside.fence.may_write(lane) {
            let by = inside.fence.standing().epoch;
            return Err(GuardError::Refused(Refusal::Superseded { by }));
        }
        Ok(())
    }

    /// Could a program that knows nothing of epochs write at this moment?
    #[must_use]
    pub fn allows_stock(&self) -> bool {
        lock(&self.inside).fence.allows_stock(self.now())
    }

    /// Admits a program that knows nothing of epochs; whether it may write.
    pub fn admit_stock(&self, lane: Lane, stream: &Arc<Stream>) -> bool {
        let mut inside = lock(&self.inside);
        inside.streams.insert(lane, Arc::clone(stream));
        let now = self.now();
        inside.fence.admit_stock(lane, now)
    }

    /// Notes that a process has claimed an epoch of the VM. When this returns, no older owner changes
    /// anything any more (FT 2.3-e).
    ///
    /// # Errors
    /// It could not be remembered.
    pub fn raise(&self, epoch: u64, owner: u128) -> Result<(), StateError> {
        let admitting = lock(&self.admitting);
        let standing = lock(&self.inside).fence.raised(epoch, owner);
        if let Some(standing) = standing {
            self.state.remember(&self.vm, &standing)?;
        }
        let mut inside = lock(&self.inside);
        let now = self.now();
        let severed = inside.fence.raise(epoch, owner, now);
        inside.close(&severed);
        drop(admitting);
        drop(self.wait_until_drained(inside));
        Ok(())
    }

    /// Begins a change of a disk; `false`: it must not be made.
    #[must_use]
    pub fn begin(&self, lane: Lane) -> bool {
        lock(&self.inside).fence.begin(lane)
    }

    /// Ends a change that was begun.
    pub fn end(&self, lane: Lane) {
        if lock(&self.inside).fence.end(lane) {
            self.drained.notify_all();
        }
    }

    /// Takes a connection out that has ended, with all its changes. `goodbye`: the client has said that it is
    /// done.
    pub fn leave(&self, lane: Lane, goodbye: bool) {
        let _admitting = lock(&self.admitting);
        let mut inside = lock(&self.inside);
        inside.streams.remove(&lane);
        let now = self.now();
        let standing = inside.fence.leave(lane, goodbye, now);
        drop(inside);
        self.drained.notify_all();
        if let Some(standing) = standing
            && let Err(error) = self.state.remember(&self.vm, &standing)
        {
            // The next one who starts the VM waits a little, as after a death.
            tracing::warn!("{}", os::error::chain(&error));
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn wait_until_drained<'a>(&self, inside: MutexGuard<'a, Inside>) -> MutexGuard<'a, Inside> {
        self.drained
            .wait_while(inside, |inside| !inside.fence.is_drained())
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn close(&mut self, severed: &[Lane]) {
        for lane in severed {
            if let Some(stream) = self.streams.remove(lane) {
                stream.close();
            }
        }
    }
}
