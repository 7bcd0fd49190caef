//! A TAP interface: the guest's frames go to the host's bridge or routing, and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use replica::Time;

use super::NetError;
use crate::limits::{FRAME_LEN_MAX, TAP_LOOK_EVERY};
use crate::sys::tun;

/// An open TAP interface.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    buffer: Box<[u8]>,
    /// Whether it was up, and when that was asked.
    up: Option<(bool, Time)>,
}

impl Tap {
    /// Opens the interface, which the administrator has made and given to this user.
    ///
    /// # Errors
    /// There is none, or it may not be used.
    pub fn open(name: &str) -> Result<Tap, NetError> {
        let device = tun::open_tap(name).map_err(|source| NetError::Tap {
            name: name.to_owned(),
            source,
        })?;
        Ok(Tap {
            device,
            name: name.to_owned(),
            buffer: vec![0; FRAME_LEN_MAX].into_boxed_slice(),
            up: None,
        })
    }

    /// Sends a frame, or drops it, as a card does when its queue is full or its cable is out.
    pub fn transmit(&mut self, frame: &[u8]) {
        if let Err(error) = self.device.write(frame) {
            tracing::debug!("frame dropped on {}: {error}", self.name);
        }
    }

    /// Is the interface up, with a carrier? The answer may be [`TAP_LOOK_EVERY`] old. What lies behind the interface, a bridge and its
    /// cable, the kernel does not say; and where it says nothing at all the answer is yes.
    pub fn leads_somewhere(&mut self, now: Time) -> bool {
        match self.up {
            Some((up, asked)) if now.since(asked) < TAP_LOOK_EVERY => up,
            _ => {
                let up = tun::is_running(&self.name).unwrap_or(true);
                self.up = Some((up, now));
                up
            }
        }
    }

    /// The next frame that has arrived.
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

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
