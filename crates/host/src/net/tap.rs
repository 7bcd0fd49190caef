//! A TAP interface: the guest's frames go to the host's bridge or routing, and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::NetError;
use crate::limits::FRAME_LEN_MAX;
use crate::sys::tun;

/// An open TAP interface.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    buffer: Box<[u8]>,
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
        })
    }

    /// Sends a frame, or drops it, as a card does when its queue is full or its cable is out.
    pub fn transmit(&mut self, frame: &[u8]) {
        if let Err(error) = self.device.write(frame) {
            tracing::debug!("frame dropped on {}: {error}", self.name);
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
