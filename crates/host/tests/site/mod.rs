//! What several tests need: a toy guest, and a gateway that is the test itself.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod toy;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use host::console::ConsoleSpec;
use host::net::{Endpoint, PortSpec};
use host::{DiskSpec, NetSpec, VmSpec};
use replica::VmName;

/// A VM for the toy: one disk, one network device, all files in `dir`. `who` names this replica's own files.
pub fn vm(dir: &Path, who: &str) -> VmSpec {
    let firmware = dir.join("firmware");
    if !firmware.exists() {
        std::fs::write(&firmware, b"toy").unwrap();
    }
    VmSpec {
        name: VmName::new("toy").unwrap(),
        memory: 2 << 20,
        harts: 1,
        firmware: Some(firmware),
        kernel: None,
        initrd: None,
        append: String::new(),
        disks: vec![DiskSpec {
            path: dir.join("disk"),
            read_only: false,
            serial: String::new(),
        }],
        nets: vec![NetSpec {
            mac: None,
            port: PortSpec::Gateway {
                endpoint: Endpoint::Unix(dir.join("gateway")),
                key: None,
            },
        }],
        serial: ConsoleSpec::File(dir.join(format!("{who}.console"))),
        digest_every: Some(100_000),
        events: Some(dir.join(format!("{who}.events"))),
        figures_every: None,
        sandbox: true,
    }
}

/// The other end of the guest's cable.
pub struct Gateway {
    listener: UnixListener,
}

impl Gateway {
    pub fn new(dir: &Path) -> Gateway {
        Gateway {
            listener: UnixListener::bind(dir.join("gateway")).unwrap(),
        }
    }

    /// The next replica that plugs itself in.
    pub fn accept(&self) -> Cable {
        Cable(self.listener.accept().unwrap().0)
    }
}

/// A connection of one replica.
pub struct Cable(UnixStream);

impl Cable {
    pub fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&(frame.len() as u32).to_be_bytes())?;
        self.0.write_all(frame)
    }

    /// The next frame; announcements are passed over. `None`: the replica is gone.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read_exact(&mut frame).ok()?;
            if !is_announcement(&frame) {
                return Some(frame);
            }
        }
    }

    /// The next announcement.
    pub fn announcement(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read_exact(&mut frame).ok()?;
            if is_announcement(&frame) {
                return Some(frame);
            }
        }
    }
}

fn is_announcement(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x80, 0x35])
}
