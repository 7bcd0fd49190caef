//! `Port`: where one network device of the guest is plugged in.
//!
//! A backup's ports are quiet: nothing is read from them and no gateway sees them, until it goes live.

use std::os::fd::{AsFd, BorrowedFd};

use super::NetError;
use super::plug::{Endpoint, Plug};
use super::tap::Tap;
use crate::limits::BATCH_MAX;
use crate::wake::Waker;

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSpec {
    /// A device without a cable.
    None,
    /// A TAP interface of this name.
    Tap(String),
    /// A gateway, or anything else that speaks QEMU's stream framing.
    Gateway(Endpoint),
}

/// One end of the guest's cable.
#[derive(Debug)]
pub enum Port {
    /// No cable.
    None,
    /// A TAP interface.
    Tap(Tap),
    /// A gateway.
    Gateway(Box<Plug>),
}

impl Port {
    /// Opens it, quiet.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn open(spec: &PortSpec, waker: &Waker) -> Result<Port, NetError> {
        Ok(match spec {
            PortSpec::None => Port::None,
            PortSpec::Tap(name) => Port::Tap(Tap::open(name)?),
            PortSpec::Gateway(endpoint) => {
                Port::Gateway(Box::new(Plug::new(endpoint.clone(), waker.clone())))
            }
        })
    }

    /// Makes sure before the guest starts that the other end is there.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub fn check(&mut self, spec: &PortSpec) -> Result<(), NetError> {
        if let (Port::Gateway(plug), PortSpec::Gateway(endpoint)) = (self, spec) {
            plug.connect_now().map_err(|source| NetError::Gateway {
                endpoint: endpoint.to_string(),
                source,
            })?;
        }
        Ok(())
    }

    /// This replica shows the guest to the world from here on.
    pub fn go_live(&mut self) {
        match self {
            Port::None => {}
            // What came while nobody listened is old.
            Port::Tap(tap) => while tap.receive().is_some() {},
            Port::Gateway(plug) => plug.connect(),
        }
    }

    /// What to wait for.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Port::None => None,
            Port::Tap(tap) => Some(tap.as_fd()),
            Port::Gateway(plug) => plug.fd(),
        }
    }

    /// A thread has called; `true`: [`Port::fd`] is new.
    pub fn on_wake(&mut self) -> bool {
        match self {
            Port::None | Port::Tap(_) => false,
            Port::Gateway(plug) => plug.on_wake(),
        }
    }

    /// Sends a frame or drops it. Nothing is sure to leave before [`Port::flush`].
    pub fn transmit(&mut self, frame: &[u8]) {
        match self {
            Port::None => {}
            Port::Tap(tap) => tap.transmit(frame),
            Port::Gateway(plug) => plug.transmit(frame),
        }
    }

    /// `true`: nothing is left; `false`: call again when the port is writable.
    pub fn flush(&mut self) -> bool {
        match self {
            Port::None | Port::Tap(_) => true,
            Port::Gateway(plug) => plug.flush(),
        }
    }

    /// Frames that have arrived, at most [`BATCH_MAX`].
    pub fn receive(&mut self) -> impl Iterator<Item = Vec<u8>> {
        std::iter::from_fn(move || match self {
            Port::None => None,
            Port::Tap(tap) => tap.receive(),
            Port::Gateway(plug) => plug.receive(),
        })
        .take(BATCH_MAX)
    }
}
