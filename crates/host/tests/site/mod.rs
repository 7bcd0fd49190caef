//! The site of a toy VM: all its files in one directory, and its gateway, which is the test itself.
//!
//! Tests and examples that run whole replicas start from [`Site`]; those that need only a cable or a
//! specification take [`Gateway`] or [`vm`] alone. The gateway here passes nothing on: a test sees each frame
//! that a replica shows.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use console::ConsoleSpec;
use host::{Alone, DiskFile, DiskSpec, FirmwareSpec, NetSpec, VmSpec};
use ports::{Endpoint, PortSpec};
use replica::VmName;

/// The guest of all replicas.
pub type Toy = toy::Toy<toy::Commands>;

/// A directory with all that the two halves of a pair share, and the gateway that both plug themselves into.
pub struct Site {
    /// Holds `disk` (64 KiB), `arbiter`, `key`, and what replicas write; it goes with the site.
    pub dir: tempfile::TempDir,
    /// The gateway.
    pub gateway: Gateway,
}

impl Site {
    /// A site where no VM has ever run.
    pub fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("disk"), vec![0; 64 << 10]).unwrap();
        std::fs::create_dir(dir.path().join("arbiter")).unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, link::Key::generate().unwrap().to_hex()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let gateway = Gateway::new(dir.path());
        Site { dir, gateway }
    }
}

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
        firmware: FirmwareSpec::File(firmware),
        kernel: None,
        initrd: None,
        append: String::new(),
        disks: vec![DiskSpec {
            file: DiskFile::at(dir.join("disk")),
            read_only: false,
            serial: String::new(),
        }],
        disk_security: host::DiskSecurity::Unsaid,
        cloud_init: None,
        nets: vec![NetSpec {
            mac: None,
            port: PortSpec::Gateway {
                endpoint: Endpoint::Unix(dir.join("gateway")),
                key: None,
            },
        }],
        virtio: machine::Transport::Modern,
        serial: ConsoleSpec::File(dir.join(format!("{who}.console"))),
        digest_every: Some(100_000),
        events: Some(dir.join(format!("{who}.events"))),
        figures_every: None,
        on_panic: report::OnPanic::default(),
        alone: Alone::Unchecked,
        local: Some(dir.join("local")),
        control: false,
        protect: None,
        sandbox: true,
    }
}

/// The other end of the guest's cable.
pub struct Gateway {
    listener: UnixListener,
}

impl Gateway {
    /// A gateway that listens at `gateway` in this directory.
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
    /// Sends a frame to the guest.
    pub fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&(frame.len() as u32).to_be_bytes())?;
        self.0.write_all(frame)
    }

    /// The next frame; announcements are passed over. `None`: the replica is gone.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.receive_one(|frame| !is_announcement(frame))
    }

    /// The next announcement; other frames are passed over. `None`: the replica is gone.
    pub fn announcement(&mut self) -> Option<Vec<u8>> {
        self.receive_one(is_announcement)
    }

    fn receive_one(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read_exact(&mut frame).ok()?;
            if is_wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

/// Is this frame the broadcast (a reverse ARP request) with which a replica that goes live tells where the
/// guest is? An answer of the toy may have the same type by chance, as its state stands there, but it begins
/// with what it answers.
fn is_announcement(frame: &[u8]) -> bool {
    frame.starts_with(&[0xff; 6]) && frame.get(12..14) == Some(&[0x80, 0x35])
}
