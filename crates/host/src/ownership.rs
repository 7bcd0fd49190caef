//! `Ownership`: that a VM is not started while another process may run it. `run` and `pair` take it before
//! they open a disk, and claim an epoch with it; `owned` has the end of that epoch written down.
//!
//! With an arbiter the VM's record there decides, for all hosts. Without one, a lock of this host keeps a VM
//! that has a name of its own from being started twice here; nothing can be known of other hosts.
//!
//! Whatever holds a lock here must be kept until the replica's last write is done.

use std::time::Duration;

use replica::{Epoch, MayOwn};

use crate::spec::VmSpec;
use arbiter::{
    Arbiter, ArbiterError, Closing, LocalDirectory, LocalError, LocalLock, Place, Process, Record,
    SignOfLife, start,
};
use os::error::chain;

/// The arbiter, and what shows other processes of this host that this one lives.
#[derive(Debug)]
pub struct Ownership {
    arbiter: Box<dyn Arbiter>,
    local: Option<LocalDirectory>,
    /// The arbiter's place, as signs of life name it.
    at: String,
    /// Kept for as long as this process may be live; `None`: this host has no place for it.
    sign: Option<SignOfLife>,
    owner: u128,
}

impl Ownership {
    /// Opens the arbiter at `place` for claims of `owner`. Call it before the sandbox is entered.
    ///
    /// # Errors
    /// The arbiter cannot be reached, or cannot be written.
    pub fn open(spec: &VmSpec, place: &Place, owner: u128) -> Result<Ownership, ArbiterError> {
        let local = local(spec);
        let at = place.at();
        let sign = local
            .as_ref()
            .and_then(|local| match local.sign(&spec.name, owner, &at) {
                Ok(sign) => Some(sign),
                Err(error) => {
                    tracing::warn!(
                        "{}; if this process is killed, only `lockstep release` frees the VM",
                        chain(&error)
                    );
                    None
                }
            });
        let process = Process::here(sign.as_ref().map(SignOfLife::path));
        Ok(Ownership {
            arbiter: place.open(process)?,
            local,
            at,
            sign,
            owner,
        })
    }

    /// Looks that nobody owns the VM who may live, before it is started here; what an owner has left behind
    /// that has surely ended is put in order. Gives the last epoch, which is over. A start that claims at
    /// once waits for `patience` first, in which a backup of that owner may go on; one that claims only when
    /// a new backup has come need not.
    ///
    /// # Errors
    /// The VM may run, or the arbiter cannot be reached.
    pub fn clear(&mut self, spec: &VmSpec, patience: Duration) -> Result<Epoch, ArbiterError> {
        let vm = &spec.name;
        let ended = start::clear(&mut *self.arbiter, vm, self.owner, &mut wait(spec, patience))?;
        // No record is open now, or one of this very process.
        if let Some(local) = &self.local {
            local.sweep(vm, &self.at);
        }
        Ok(ended)
    }

    /// Wins an epoch for a start; `patience` as for [`Ownership::clear`].
    ///
    /// # Errors
    /// The VM was started elsewhere meanwhile, or the arbiter cannot be reached.
    pub fn begin(&mut self, spec: &VmSpec, patience: Duration) -> Result<Epoch, ArbiterError> {
        start::begin(
            &mut *self.arbiter,
            &spec.name,
            self.owner,
            &mut wait(spec, patience),
        )
    }

    /// Has it written down that this process ends before its VM has run, if the process owns what it may own.
    pub fn give_up(&mut self, spec: &VmSpec, owns: MayOwn) {
        let vm = &spec.name;
        let epoch = match owns {
            MayOwn::Nothing => return,
            MayOwn::Epoch(epoch) => Ok(Some(epoch)),
            MayOwn::Unknown => self.arbiter.last(vm).map(|last| {
                let ours = last.filter(|last| last.owner == self.owner);
                ours.map(|last| last.epoch)
            }),
        };
        let closed = epoch.and_then(|epoch| match epoch {
            Some(epoch) => self.arbiter.close(vm, epoch, self.owner, &Closing::Stopped),
            None => Ok(()),
        });
        if let Err(error) = closed {
            tracing::warn!("{}", chain(&error));
        }
    }

    /// The arbiter, to be asked for a claim or a proof.
    pub fn arbiter(&mut self) -> &mut dyn Arbiter {
        &mut *self.arbiter
    }

    /// The arbiter for the thread that asks it, and the sign of life, which the caller keeps to the end.
    pub fn part(self) -> (Box<dyn Arbiter>, Option<SignOfLife>) {
        (self.arbiter, self.sign)
    }
}

/// What a start does about an owner that has ended: it gives that owner's backup `patience`.
fn wait(spec: &VmSpec, patience: Duration) -> impl FnMut(&Record) {
    move |last| {
        if !patience.is_zero() {
            tracing::warn!(
                "{} ran as epoch {} {} and ended without saying so; a backup may take it over within {} s",
                spec.name,
                last.epoch.0,
                last.whereabouts(),
                patience.as_secs_f32()
            );
            std::thread::sleep(patience);
        }
    }
}

/// Takes this host's lock of a VM that runs alone and asks no arbiter.
///
/// # Errors
/// Another process of this host has it.
pub fn lock_locally(spec: &VmSpec) -> Result<Option<LocalLock>, LocalError> {
    match local(spec) {
        Some(local) => Ok(Some(local.lock(&spec.name)?)),
        None => Ok(None),
    }
}

/// This host's directory for locks; `None`: there is none that could be used.
fn local(spec: &VmSpec) -> Option<LocalDirectory> {
    match LocalDirectory::open(spec.local.as_deref()?) {
        Ok(local) => Some(local),
        Err(error) => {
            tracing::warn!("{}", chain(&error));
            None
        }
    }
}
