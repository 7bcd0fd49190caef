//! `Port`: where one network device of the guest is plugged in. `cables` has one for each device.
//!
//! A backup's ports are quiet until it goes live: no frame may pass, in either direction. Where there is a
//! key the gateway is asked meanwhile whether it is there.

use std::os::fd::{AsFd, BorrowedFd};

use replica::{Epoch, Span, Time};

use crate::NetError;
use crate::dial::{DialError, Endpoint};
use crate::lead::Lead;
use crate::limits::{ITEMS_MAX, TAP_STALE_MAX};
use crate::plug::Plug;
use crate::tap::Tap;
use link::{KeyFile, Security};
use os::limits::BATCH_MAX;
use os::wake::Waker;

/// Where the operator wants a network device to be plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSpec {
    /// A device without a cable.
    None,
    /// A TAP interface of this name.
    Tap(String),
    /// A gateway, or anything else that speaks QEMU's stream framing.
    Gateway {
        /// Where it listens.
        endpoint: Endpoint,
        /// File with the key that VM and gateway share; `None`: frames travel in the clear.
        key: Option<KeyFile>,
    },
}

/// One end of the guest's cable.
#[derive(Debug)]
pub enum Port {
    /// No cable: frames of the guest are dropped, and none comes.
    None,
    /// A TAP interface.
    Tap(Tap),
    /// The connection to a gateway.
    Gateway(Box<Plug>),
}

impl Port {
    /// Opens a port, which is quiet at first.
    ///
    /// # Errors
    /// There is no such interface, or the key file is of no use.
    pub fn open(spec: &PortSpec, waker: &Waker) -> Result<Port, NetError> {
        Ok(match spec {
            PortSpec::None => Port::None,
            PortSpec::Tap(name) => Port::Tap(Tap::open(name)?),
            PortSpec::Gateway { endpoint, key } => {
                let security = match key {
                    Some(file) => Security::Key(file.load()?),
                    None => Security::Insecure,
                };
                Port::Gateway(Box::new(Plug::new(endpoint.clone(), security, waker.clone())))
            }
        })
    }

    /// Makes sure before the guest starts that the other end is there.
    ///
    /// # Errors
    /// The gateway does not answer, or is not for this VM.
    pub fn check(&mut self, spec: &PortSpec) -> Result<(), NetError> {
        let (Port::Gateway(plug), PortSpec::Gateway { endpoint, .. }) = (self, spec) else {
            return Ok(());
        };
        let endpoint = endpoint.to_string();
        plug.connect_now().map_err(|error| match error {
            DialError::Io(source) => NetError::Gateway { endpoint, source },
            DialError::Keyed(source) => NetError::Refused { endpoint, source },
        })
    }

    /// Tells the port that this replica does not show the guest, for the time being.
    pub fn stay_quiet(&mut self) {
        if let Port::Gateway(plug) = self {
            plug.probe();
        }
    }

    /// Tells the port that this replica shows the guest from here on, by virtue of `epoch`; 0: the VM runs
    /// alone.
    pub fn go_live(&mut self, epoch: Epoch) {
        match self {
            Port::None => {}
            // Frames that came while nobody listened are old, and dropped. A flood never ends, so their
            // number is bounded.
            Port::Tap(tap) => {
                let _ = std::iter::from_fn(|| tap.receive()).take(TAP_STALE_MAX).count();
            }
            Port::Gateway(plug) => plug.go_live(epoch),
        }
    }

    /// Tells the port that this replica, which has shown the guest, does not any more. Frames that have not
    /// left are dropped.
    pub fn stand_by(&mut self) {
        if let Port::Gateway(plug) = self {
            plug.stand_by();
        }
    }

    /// Does what is due by the clock.
    pub fn on_time(&mut self, now: Time) {
        match self {
            Port::None => {}
            Port::Tap(tap) => tap.on_time(now),
            Port::Gateway(plug) => plug.on_time(now),
        }
    }

    /// When [`Port::on_time`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Port::None => None,
            Port::Tap(tap) => Some(tap.deadline()),
            Port::Gateway(plug) => plug.deadline(),
        }
    }

    /// Says how often to look whether the port leads somewhere.
    pub fn look_every(&mut self, every: Span) {
        match self {
            Port::None => {}
            Port::Tap(tap) => tap.look_every(every),
            Port::Gateway(plug) => plug.ask_every(every),
        }
    }

    /// Would a frame get anywhere, as far as can be known?
    #[must_use]
    pub fn lead(&self, now: Time) -> Lead {
        match self {
            Port::None => Lead::Unknown,
            Port::Tap(tap) => tap.lead(),
            Port::Gateway(plug) => plug.lead(now),
        }
    }

    /// Since when the port leads nowhere, if it does, as far as is known: a port that has never led anywhere
    /// says `now`.
    #[must_use]
    pub fn nowhere_since(&self, now: Time) -> Time {
        match self {
            Port::None => now,
            Port::Tap(tap) => tap.nowhere_since(),
            Port::Gateway(plug) => plug.nowhere_since(now),
        }
    }

    /// Is something plugged in, as far as the operator wants? A port without a cable leads nowhere by intent.
    #[must_use]
    pub fn has_cable(&self) -> bool {
        !matches!(self, Port::None)
    }

    /// What stands in the way if the port leads nowhere, as a clause.
    #[must_use]
    pub fn obstacle(&self) -> String {
        match self {
            Port::None => "there is no cable".to_owned(),
            Port::Tap(tap) => tap.obstacle(),
            Port::Gateway(plug) => format!("the gateway at {} does not answer", plug.endpoint),
        }
    }

    /// The file descriptor to wait for; `None`: the cable is out.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Port::None => None,
            Port::Tap(tap) => Some(tap.as_fd()),
            Port::Gateway(plug) => plug.fd(),
        }
    }

    /// A thread has woken the guest thread. True: the cable has been plugged in, and [`Port::fd`] is new.
    pub fn on_wake(&mut self) -> bool {
        match self {
            Port::None | Port::Tap(_) => false,
            Port::Gateway(plug) => plug.on_wake(),
        }
    }

    /// Did [`Port::receive`] leave something that the kernel may not show?
    #[must_use]
    pub fn is_unread(&self) -> bool {
        match self {
            Port::None | Port::Tap(_) => false,
            Port::Gateway(plug) => plug.is_unread(),
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

    /// Hands the kernel what was queued. False: not all was taken; call again when the port is writable.
    pub fn flush(&mut self) -> bool {
        match self {
            Port::None | Port::Tap(_) => true,
            Port::Gateway(plug) => plug.flush(),
        }
    }

    /// Takes frames that have arrived: at most [`BATCH_MAX`], out of at most [`ITEMS_MAX`] frames and words
    /// that a gateway sent.
    pub fn receive(&mut self) -> impl Iterator<Item = Vec<u8>> {
        let mut patience = ITEMS_MAX;
        std::iter::from_fn(move || match self {
            Port::None => None,
            Port::Tap(tap) => tap.receive(),
            Port::Gateway(plug) => plug.receive(&mut patience),
        })
        .take(BATCH_MAX)
    }
}
