//! `Header`: what a log begins with, and what a primary tells its backup before the first entry.
//!
//! It is all of the machine's initial state but the images, which are named by length and SHA-256. It has two
//! parts: the *shape*, which both sides of a pair must have by themselves, and the *seeds*, which the primary
//! chooses and the backup takes over. No machine is built from a header of another shape.

use std::fmt;

use machine::{Boot, Config, DiskConfig, NetConfig, Step, Transport};
use sha2::{Digest as _, Sha256};

use crate::bytes::{Malformed, Reader, Writer};
use crate::codec;
use crate::limits;
use crate::parcel::Parcel;

/// The first eight bytes of a log file.
pub const MAGIC: [u8; 8] = *b"LOCKSTEP";

/// Names an image by its content, wherever it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageId {
    /// Length in bytes; 0: there is no image.
    pub length: u64,
    /// SHA-256 of the whole image.
    pub sha256: [u8; 32],
}

impl ImageId {
    /// The name of these bytes.
    #[must_use]
    pub fn of(image: &[u8]) -> ImageId {
        ImageId {
            length: u64::try_from(image.len()).unwrap_or(u64::MAX),
            sha256: Sha256::digest(image).into(),
        }
    }

    /// Writes the name as it stands in headers and messages.
    pub fn write(&self, w: &mut Writer) {
        w.varint(self.length);
        w.raw(&self.sha256);
    }

    /// Reads a name as [`ImageId::write`] writes it.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no name.
    pub fn read(r: &mut Reader<'_>) -> Result<ImageId, Malformed> {
        Ok(ImageId {
            length: r.varint()?,
            sha256: r.array()?,
        })
    }
}

/// What a log begins with: the machine that it is of, and where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The program that wrote it, with its version, for people.
    pub program: String,
    /// The model: the function that the machine computes, [`machine::MODEL`] of the program that wrote it.
    pub model: u32,
    /// Properties of the host CPU that can change results of the guest. Equal on both sides.
    pub features: u64,
    /// The step at which the log starts: 0, from boot.
    pub start: Step,
    /// Bytes of RAM.
    pub memory: u64,
    /// Number of harts.
    pub harts: u32,
    /// The virtio-blk devices, in the order of their numbers.
    pub disks: Vec<DiskConfig>,
    /// The virtio-net devices, in the order of their numbers. Their addresses are seeds.
    pub nets: Vec<NetConfig>,
    /// By which registers the guest drives its virtio devices.
    pub virtio: Transport,
    /// Seed of the guest's random numbers at boot.
    pub rng_seed: [u8; 32],
    /// Wall-clock time of step 0, in nanoseconds since 1970.
    pub wall_clock_ns: u64,
    /// Kernel command line.
    pub command_line: String,
    /// OpenSBI or a flat firmware.
    pub firmware: ImageId,
    /// The kernel image.
    pub kernel: ImageId,
    /// The initramfs image.
    pub initrd: ImageId,
}

/// Two sides are not the same machine: the first property that differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} differs: {theirs} there, {ours} here")]
pub struct Mismatch {
    /// The property that differs, with its article, for a sentence.
    pub what: &'static str,
    /// The property's value in the log, or on the other side.
    pub theirs: String,
    /// The property's value on this side.
    pub ours: String,
}

impl Header {
    /// The header of a log of `config`, from boot.
    #[must_use]
    pub fn new(config: &Config, program: &str, features: u64) -> Header {
        Header {
            program: program.to_owned(),
            model: machine::MODEL,
            features,
            start: Step(0),
            memory: config.memory,
            harts: u32::try_from(config.harts).unwrap_or(u32::MAX),
            disks: config.disks.clone(),
            nets: config.nets.clone(),
            virtio: config.virtio,
            rng_seed: config.rng_seed,
            wall_clock_ns: config.wall_clock_ns,
            command_line: config.boot.command_line.clone(),
            firmware: ImageId::of(&config.boot.firmware),
            kernel: ImageId::of(&config.boot.kernel),
            initrd: ImageId::of(&config.boot.initrd),
        }
    }

    /// The configuration of the machine that the header names, with the images that it does not hold.
    ///
    /// # Errors
    /// If an image is not the one that the header names.
    pub fn config(&self, boot: Boot) -> Result<Config, Mismatch> {
        differ("the firmware", self.firmware, ImageId::of(&boot.firmware))?;
        differ("the kernel", self.kernel, ImageId::of(&boot.kernel))?;
        differ("the initrd", self.initrd, ImageId::of(&boot.initrd))?;
        Ok(Config {
            memory: self.memory,
            harts: usize::try_from(self.harts).unwrap_or(usize::MAX),
            disks: self.disks.clone(),
            nets: self.nets.clone(),
            virtio: self.virtio,
            rng_seed: self.rng_seed,
            wall_clock_ns: self.wall_clock_ns,
            boot: Boot {
                command_line: self.command_line.clone(),
                ..boot
            },
        })
    }

    /// Does this program compute the machine of this header, on a host with these CPU `features`? For a side
    /// that has no header of its own; others ask [`Header::same_shape`].
    ///
    /// # Errors
    /// The property that differs.
    pub fn computed_here(&self, features: u64) -> Result<(), Mismatch> {
        differ("the machine model", self.model, machine::MODEL)?;
        differ("the host's CPU feature set", self.features, features)
    }

    /// Is `ours` the same machine but for the seeds, computed in the same way?
    ///
    /// # Errors
    /// The first property that differs.
    pub fn same_shape(&self, ours: &Header) -> Result<(), Mismatch> {
        // All fields stand here, so that whoever adds one must say whether it is a seed.
        let Header {
            program: _,
            model,
            features,
            start,
            memory,
            harts,
            disks,
            nets,
            virtio,
            rng_seed: _,
            wall_clock_ns: _,
            command_line,
            firmware,
            kernel,
            initrd,
        } = self;
        differ("the machine model", model, &ours.model)?;
        differ("the host's CPU feature set", features, &ours.features)?;
        differ("the first step", start, &ours.start)?;
        differ("the memory size", Bytes(*memory), Bytes(ours.memory))?;
        differ("the number of harts", harts, &ours.harts)?;
        differ("the number of disks", disks.len(), ours.disks.len())?;
        for (theirs, ours) in disks.iter().zip(&ours.disks) {
            let bytes = |sectors: u64| Bytes(sectors.saturating_mul(SECTOR));
            differ("a disk's size", bytes(theirs.sectors), bytes(ours.sectors))?;
            differ("a disk being read-only", theirs.read_only, ours.read_only)?;
            differ("a disk's serial", &theirs.serial, &ours.serial)?;
        }
        differ("the number of network devices", nets.len(), ours.nets.len())?;
        differ(
            "the version of virtio-mmio",
            virtio.version(),
            ours.virtio.version(),
        )?;
        differ("the kernel command line", command_line, &ours.command_line)?;
        differ("the firmware", *firmware, ours.firmware)?;
        differ("the kernel", *kernel, ours.kernel)?;
        differ("the initrd", *initrd, ours.initrd)
    }

    /// The first bytes of a log file: magic, version, length, header, checksum.
    #[must_use]
    pub fn to_file(&self) -> Parcel {
        let mut body = Writer::default();
        self.write(&mut body);
        let body = body.into_parcel();
        let mut w = Writer::default();
        w.raw(&MAGIC);
        w.raw(&codec::VERSION.to_le_bytes());
        w.raw(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        w.raw(&crc32c::crc32c(&body).to_le_bytes());
        w.raw(&body);
        w.into_parcel()
    }

    /// Writes the header as it stands in a message and, behind [`MAGIC`], in a file.
    pub fn write(&self, w: &mut Writer) {
        w.bytes(self.program.as_bytes());
        w.varint(u64::from(self.model));
        w.varint(self.features);
        w.varint(self.start.0);
        w.varint(self.memory);
        w.varint(u64::from(self.harts));
        w.varint(u64::try_from(self.disks.len()).unwrap_or(u64::MAX));
        for disk in &self.disks {
            w.varint(disk.sectors);
            w.raw(&[u8::from(disk.read_only)]);
            w.bytes(disk.serial.as_bytes());
        }
        w.varint(u64::try_from(self.nets.len()).unwrap_or(u64::MAX));
        for net in &self.nets {
            w.raw(&net.mac);
        }
        w.raw(&[self.virtio.version()]);
        w.raw(&self.rng_seed);
        w.varint(self.wall_clock_ns);
        w.bytes(self.command_line.as_bytes());
        for image in [&self.firmware, &self.kernel, &self.initrd] {
            image.write(w);
        }
    }

    /// Reads a header as [`Header::write`] writes it.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no header.
    pub fn read(r: &mut Reader<'_>) -> Result<Header, Malformed> {
        Header::read_version(r, codec::VERSION)
    }

    /// Reads a header as it stands in a file of this version of the format. A file older than version 4 names
    /// no model (0 here), and one older than version 3 has the modern virtio-mmio only.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no header.
    pub fn read_version(r: &mut Reader<'_>, version: u32) -> Result<Header, Malformed> {
        let program = r.text(limits::TEXT_BYTES_MAX)?;
        let model = match version {
            ..4 => 0,
            _ => u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge)?,
        };
        let features = r.varint()?;
        let start = Step(r.varint()?);
        let memory = r.varint()?;
        let harts = u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge)?;
        let mut disks = Vec::new();
        for _ in 0..r.varint_at_most(limits::DEVICES_MAX)? {
            disks.push(DiskConfig {
                sectors: r.varint()?,
                read_only: r.truth()?,
                serial: r.text(limits::TEXT_BYTES_MAX)?,
            });
        }
        let mut nets = Vec::new();
        for _ in 0..r.varint_at_most(limits::DEVICES_MAX)? {
            nets.push(NetConfig { mac: r.array()? });
        }
        Ok(Header {
            program,
            model,
            features,
            start,
            memory,
            harts,
            disks,
            nets,
            virtio: match version {
                ..3 => Transport::Modern,
                _ => transport(r)?,
            },
            rng_seed: r.array()?,
            wall_clock_ns: r.varint()?,
            command_line: r.text(limits::HEADER_BYTES_MAX)?,
            firmware: ImageId::read(r)?,
            kernel: ImageId::read(r)?,
            initrd: ImageId::read(r)?,
        })
    }
}

fn transport(r: &mut Reader<'_>) -> Result<Transport, Malformed> {
    let [version] = r.array()?;
    [Transport::Modern, Transport::Legacy]
        .into_iter()
        .find(|transport| transport.version() == version)
        .ok_or(Malformed::TooLarge)
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("none");
        }
        write!(f, "{} bytes, SHA-256 ", self.length)?;
        for byte in self.sha256.iter().take(8) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("..")
    }
}

/// Bytes of a sector of a disk.
const SECTOR: u64 = 512;

/// A number of bytes, for a sentence: in the largest binary unit of which it is a whole number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = units
            .into_iter()
            .find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size));
        match whole {
            Some((size, unit)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

fn differ<T: PartialEq + fmt::Display>(what: &'static str, theirs: T, ours: T) -> Result<(), Mismatch> {
    if theirs == ours {
        return Ok(());
    }
    Err(Mismatch {
        what,
        theirs: theirs.to_string(),
        ours: ours.to_string(),
    })
}
