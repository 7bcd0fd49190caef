//! The control socket of a process that runs a VM (crate `control`), from its file to the guest's first step.
//! `spec` makes the file before the sandbox is entered, callers are answered once it is, and `world` keeps
//! the socket; `control_answers` says what is answered.
//!
//! A VM that nobody can call runs on all the same: what cannot be had here is a warning.

use std::path::Path;

use arbiter::LocalDirectory;
use control::{Control, Place};
use link::Traffic;
use os::error::chain;
use os::wake::Waker;
use replica::{Time, VmName};
use report::{Reason, Reporter};

/// The control socket, and what its answers need to know beside the world.
#[derive(Debug)]
pub struct ControlSocket {
    control: Control,
    /// The arbiter of a VM that runs alone; `None`: it has none, or it is one of a pair.
    arbiter: Option<String>,
    /// When the last status was made, and the link's traffic until then.
    before: Option<(Time, Traffic)>,
}

/// Makes the socket's file for a process of `vm`; `None`: this host has no place for it. Call it before the
/// sandbox is entered.
#[must_use]
pub fn place(directory: &Path, vm: &VmName) -> Option<Place> {
    // Who looks for other processes of this VM has warned of a directory that is of no use.
    let directory = LocalDirectory::open(directory).ok()?;
    match Place::make(directory.path(), vm) {
        Ok(place) => Some(place),
        Err(error) => {
            tracing::warn!(
                "`lockstep status` and its like will not reach this process: {}",
                chain(&error)
            );
            None
        }
    }
}

impl ControlSocket {
    /// Has callers answered: that there is no guest yet for this `reason`, until [`ControlSocket::begins`].
    /// Starts a thread, so the sandbox must be entered.
    #[must_use]
    pub fn start(
        place: Place,
        waker: &Waker,
        arbiter: Option<String>,
        reason: &str,
    ) -> Option<ControlSocket> {
        match Control::start(place, waker.clone(), Reason::new("connecting", reason)) {
            Ok(control) => Some(ControlSocket {
                control,
                arbiter,
                before: None,
            }),
            Err(error) => {
                tracing::warn!("`lockstep status` and its like do not reach this process: {error}");
                None
            }
        }
    }

    /// The guest thread answers from here on; callers hear what `reporter` tells.
    pub fn begins(&self, reporter: &mut Reporter) {
        reporter.also_to(self.control.tap());
        self.control.begins();
    }

    /// The VM's end of the socket.
    pub fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// The arbiter of a VM that runs alone; `None`: it has none, or it is one of a pair.
    #[must_use]
    pub fn arbiter(&self) -> Option<&str> {
        self.arbiter.as_deref()
    }

    /// A status is made now, with so much traffic until now: gives the same of the one before.
    pub fn measured(&mut self, now: Time, traffic: Traffic) -> Option<(Time, Traffic)> {
        self.before.replace((now, traffic))
    }
}
