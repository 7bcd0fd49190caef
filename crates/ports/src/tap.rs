//! `Tap`: a TAP interface of the host. The guest's frames go to the host's bridge or routing, and back. It is
//! one kind of `Port`, and never blocks: what the kernel does not take is lost.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use replica::{Span, Time};

use crate::NetError;
use crate::lead::Lead;
use crate::limits::{FRAME_LEN_MAX, PORTS_LOOK_EVERY};
use crate::uplinks::Uplinks;
use os::sys::tun;

/// An open TAP interface.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    buffer: Box<[u8]>,
    /// How the interface's bridge reaches other hosts.
    uplinks: Uplinks,
    /// Does its bridge reach no other host, as last seen?
    is_cut: bool,
    /// Where the interface leads, as last seen.
    lead: Lead,
    /// When it was first seen to lead nowhere, if it does.
    nowhere_since: Time,
    /// When to look next whether the interface is up.
    look: Time,
    /// How often to look whether the interface is up.
    look_every: Span,
}

/// What the operator should know of an interface that leads nowhere. `was_up`: was it up before it was
/// opened? `None`: there was none, and opening it has made one, perhaps under a mistyped name.
fn warning(name: &str, was_up: Option<bool>) -> Option<String> {
    match was_up {
        None => Some(format!(
            "there was no tap interface {name}, so a new one was made: it is down and in no bridge; \
             `ip link set {name} up master BRIDGE` connects it"
        )),
        Some(false) => Some(format!(
            "the tap interface {name} is down, so the guest reaches nobody; `ip link set {name} up` connects \
             it"
        )),
        Some(true) => None,
    }
}

impl Tap {
    /// Opens the interface, which the administrator has made and given to this user.
    ///
    /// # Errors
    /// There is none, or it may not be used.
    pub fn open(name: &str) -> Result<Tap, NetError> {
        // A kernel that does not tell is taken to say that all is well.
        let was_up = tun::is_up(name).unwrap_or(Some(true));
        let device = tun::open_tap(name).map_err(|source| NetError::Tap {
            name: name.to_owned(),
            source,
        })?;
        if let Some(warning) = warning(name, was_up) {
            tracing::warn!("{warning}");
        }
        Ok(Tap {
            device,
            name: name.to_owned(),
            buffer: vec![0; FRAME_LEN_MAX].into_boxed_slice(),
            uplinks: Uplinks::of(Path::new("/sys/class/net"), name),
            is_cut: false,
            lead: Lead::Unknown,
            nowhere_since: Time(0),
            look: Time(0),
            look_every: PORTS_LOOK_EVERY,
        })
    }

    /// Sends a frame, or drops it, as a card does when its queue is full or its cable is out.
    pub fn transmit(&mut self, frame: &[u8]) {
        if let Err(error) = self.device.write(frame) {
            tracing::debug!("frame dropped on {}: {error}", self.name);
        }
    }

    /// Says how often to look whether the interface is up.
    pub fn look_every(&mut self, every: Span) {
        self.look_every = every;
    }

    /// Looks, if it is time, whether the interface is up and has a carrier, and whether its bridge reaches
    /// other hosts.
    pub fn on_time(&mut self, now: Time) {
        if self.look <= now {
            self.look = now.after(self.look_every);
            self.is_cut = self.uplinks.are_cut(tun::is_running);
            let seen = tun::is_running(&self.name).map(|up| up == Some(true) && !self.is_cut);
            let lead = looked(self.lead, seen, now);
            if lead == Lead::Nowhere && self.lead != Lead::Nowhere {
                self.nowhere_since = now;
            }
            self.lead = lead;
        }
    }

    /// When [`Tap::on_time`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.look
    }

    /// Does the interface lead somewhere, as last seen?
    #[must_use]
    pub fn lead(&self) -> Lead {
        self.lead
    }

    /// Since when the interface leads nowhere, if it does.
    #[must_use]
    pub fn nowhere_since(&self) -> Time {
        self.nowhere_since
    }

    /// What stands in the way if the interface leads nowhere, as a clause.
    #[must_use]
    pub fn obstacle(&self) -> String {
        match self.is_cut {
            true => format!("no cable of the bridge that {} is in has a carrier", self.name),
            false => format!("the tap interface {} is down or has no carrier", self.name),
        }
    }

    /// The next frame that has arrived; `None`: there is none at present.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.device.read(&mut self.buffer) {
                Ok(length) => return Some(self.buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => {
                    // The interface is down: frames will come when it is up again.
                    tracing::debug!("no frame from {}: {error}", self.name);
                    return None;
                }
            }
        }
    }
}

/// Where a look says that the interface leads, if it led to `before`. A kernel that cannot be asked any more
/// does not make a port that was well a bad one: a node that hears nothing of its ports for a while would
/// take them to lead nowhere.
fn looked(before: Lead, seen: io::Result<bool>, now: Time) -> Lead {
    match (seen, before) {
        (Ok(true), _) => Lead::Somewhere(now),
        (Ok(false), _) => Lead::Nowhere,
        (Err(_), Lead::Somewhere(_)) => Lead::Somewhere(now),
        (Err(_), before) => before,
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_that_leads_nowhere_is_warned_of() {
        let new = warning("tap9", None).unwrap();
        assert!(new.contains("`ip link set tap9 up master BRIDGE`"), "{new}");
        let down = warning("tap9", Some(false)).unwrap();
        assert!(
            down.contains("tap9 is down") && down.contains("`ip link set tap9 up`"),
            "{down}"
        );
        assert_eq!(warning("tap9", Some(true)), None);
    }

    #[test]
    fn a_tap_that_was_well_stays_so_while_the_kernel_does_not_answer() {
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        let (then, now) = (Time(1), Time(2));
        assert_eq!(
            looked(Lead::Somewhere(then), refused(), now),
            Lead::Somewhere(now)
        );
        assert_eq!(looked(Lead::Nowhere, refused(), now), Lead::Nowhere);
        assert_eq!(looked(Lead::Unknown, refused(), now), Lead::Unknown);
        assert_eq!(looked(Lead::Somewhere(then), Ok(false), now), Lead::Nowhere);
    }
}
