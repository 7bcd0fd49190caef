//! Buffers that the driver hands over: descriptors as the guest wrote them, and spans as checked.
//!
//! Between the guest's memory and a device stand two types. [`Untrusted`] is what the guest wrote: it can be
//! anything. [`Span`] is made only from a descriptor that was checked: not empty and wholly in RAM. Devices
//! see spans as one run of bytes, whatever the driver's framing (VIRTIO 2.7.4.1).
//!
//! Nothing here panics or believes the guest: a broken rule is [`Broken`], and each copy checks its
//! addresses.

use std::ops::Range;

use bitflags::bitflags;
use hart::{Ram, Visit, Visitor};

use super::{fields::Fields, limits::CHAIN_MAX};

/// The driver broke a rule of the specification, and the device needs a reset (VIRTIO 2.1.2). Says which
/// rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// A value that the guest wrote and that nobody has checked yet.
///
/// The type has no method that hands the value out: what a device may do with it is either a method that
/// checks, or stands where the wrapper is taken off by name (`let Untrusted(header) = ..`).
#[derive(Clone, Copy, Debug)]
pub struct Untrusted<T>(pub(super) T);

/// One entry of a descriptor table (VIRTIO 2.7.5, `struct virtq_desc`).
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Guest address of the buffer.
    address: u64,
    /// Bytes of the buffer.
    length: u32,
    flags: DescriptorFlags,
    /// Index of the descriptor with which the chain goes on, if `flags` say that it does.
    next: u16,
}

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;

bitflags! {
    /// VIRTIO 2.7.5: `VIRTQ_DESC_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct DescriptorFlags: u16 {
        /// The chain goes on with the descriptor `next`.
        const NEXT = 1 << 0;
        /// The buffer is for the device to write; otherwise it is for the device to read.
        const WRITE = 1 << 1;
        /// The buffer holds a table of descriptors.
        const INDIRECT = 1 << 2;
    }
}

/// A descriptor table: the ring's own, or an indirect one.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Guest address of the first entry. Not checked here: each read of an entry is.
    pub address: u64,
    /// How many entries the table has.
    pub entries: u32,
    /// Whether the table is an indirect one, to which a descriptor of another table referred.
    pub indirect: bool,
}

impl Table {
    /// Reads one entry.
    ///
    /// # Errors
    /// If the index is not in the table, or the entry not in RAM.
    pub fn read(&self, ram: &Ram, index: u16) -> Result<Untrusted<Descriptor>, Broken> {
        if u32::from(index) >= self.entries {
            return Err(Broken("a descriptor index is beyond its table"));
        }
        let at = u64::from(index).wrapping_mul(u64::from(DESCRIPTOR_BYTES));
        let mut bytes = [0; 16];
        ram.read(self.address.wrapping_add(at), &mut bytes)
            .map_err(|_| Broken("a descriptor table is not in RAM"))?;
        let mut fields = Fields(&bytes);
        Ok(Untrusted(Descriptor {
            address: fields.u64(),
            length: fields.u32(),
            flags: DescriptorFlags::from_bits_retain(fields.u16()),
            next: fields.u16(),
        }))
    }
}

impl Untrusted<Descriptor> {
    /// Does the descriptor refer to an indirect table?
    #[must_use]
    pub fn is_indirect(&self) -> bool {
        self.0.flags.contains(DescriptorFlags::INDIRECT)
    }

    /// Is the buffer for the device to write?
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.flags.contains(DescriptorFlags::WRITE)
    }

    /// Index of the descriptor with which the chain goes on; `None`: the chain ends here.
    #[must_use]
    pub fn next(&self) -> Option<u16> {
        let goes_on = self.0.flags.contains(DescriptorFlags::NEXT);
        goes_on.then_some(self.0.next)
    }

    /// The buffer, if the guest has memory there.
    ///
    /// # Errors
    /// If the buffer is empty or not wholly in RAM.
    pub fn check(&self, ram: &Ram) -> Result<Span, Broken> {
        let Descriptor { address, length, .. } = self.0;
        if length == 0 {
            return Err(Broken("a descriptor has no length"));
        }
        let fits = usize::try_from(length).is_ok_and(|length| ram.offset(address, length).is_some());
        if !fits {
            return Err(Broken("a buffer is not in RAM"));
        }
        Ok(Span { address, length })
    }

    /// The indirect table to which this descriptor of the table `within` refers.
    ///
    /// # Errors
    /// VIRTIO 2.7.5.3.1: if the descriptor is in an indirect table itself, or also has a next descriptor, or
    /// its length is not a whole number of entries. The write flag does not matter (VIRTIO 2.7.5.3.2).
    pub fn table(&self, within: &Table) -> Result<Table, Broken> {
        let Descriptor { address, length, .. } = self.0;
        if within.indirect {
            return Err(Broken("an indirect table refers to another"));
        }
        if self.next().is_some() {
            return Err(Broken("a descriptor has both INDIRECT and NEXT"));
        }
        if length == 0 || !length.is_multiple_of(DESCRIPTOR_BYTES) {
            return Err(Broken("an indirect table is no whole number of descriptors"));
        }
        Ok(Table {
            address,
            entries: length.checked_div(DESCRIPTOR_BYTES).unwrap_or(0),
            indirect: true,
        })
    }
}

/// A piece of guest memory that was checked: not empty and wholly in RAM. A restored span was not checked
/// again, so each copy still says whether it reached RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Guest address of the first byte.
    address: u64,
    /// Bytes of the span, at least 1.
    length: u32,
}

impl Visit for Span {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { address, length } = self;
        v.u64("address", address);
        v.u32("length", length);
    }
}

/// Spans in the driver's order, which a device sees as one run of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// How many spans there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds a span at the end.
    pub fn push(&mut self, span: Span) {
        self.0.push(span);
    }

    /// Bytes of all spans together.
    #[must_use]
    pub fn total(&self) -> u64 {
        // At most CHAIN_MAX spans of less than 4 GiB: cannot saturate.
        self.0
            .iter()
            .fold(0, |sum, span| sum.saturating_add(u64::from(span.length)))
    }

    /// Guest address of the last byte.
    #[must_use]
    pub fn last_byte(&self) -> Option<u64> {
        let span = self.0.last()?;
        Some(span.address.wrapping_add(u64::from(span.length)).wrapping_sub(1))
    }

    /// Copies from the guest, starting `skip` bytes into the run.
    ///
    /// # Errors
    /// If the run ends before `into` is full.
    pub fn gather(&self, ram: &Ram, skip: u64, into: &mut [u8]) -> Result<(), Broken> {
        let length = into.len();
        let mut filled = 0;
        for (address, piece) in self.pieces(skip, length) {
            filled = piece.end;
            ram.read(address, into.get_mut(piece).unwrap_or_default())
                .map_err(|_| Broken("a buffer is not in RAM"))?;
        }
        all_copied(filled == length)
    }

    /// Copies to the guest, starting `skip` bytes into the run.
    ///
    /// # Errors
    /// If the run ends before all of `from` is written.
    pub fn scatter(&self, ram: &mut Ram, skip: u64, from: &[u8]) -> Result<(), Broken> {
        let mut written = 0;
        for (address, piece) in self.pieces(skip, from.len()) {
            written = piece.end;
            ram.write(address, from.get(piece).unwrap_or_default())
                .map_err(|_| Broken("a buffer is not in RAM"))?;
        }
        all_copied(written == from.len())
    }

    /// Where the `length` bytes after the first `skip` of the run lie: guest addresses, and which of the
    /// bytes are there. If the run is shorter than that, so are the pieces.
    fn pieces(&self, skip: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
        let (mut skip, mut done, mut is_complete) = (skip, 0_usize, false);
        let rests = self.0.iter().filter_map(move |span| {
            let length = u64::from(span.length);
            let skipped = skip.min(length);
            skip = skip.saturating_sub(skipped);
            let rest = usize::try_from(length.saturating_sub(skipped)).ok()?;
            (rest > 0).then_some((span.address.wrapping_add(skipped), rest))
        });
        rests.map_while(move |(address, rest)| {
            if is_complete {
                return None;
            }
            let piece = done..done.saturating_add(rest).min(length);
            done = piece.end;
            is_complete = done == length;
            Some((address, piece))
        })
    }
}

fn all_copied(all: bool) -> Result<(), Broken> {
    if all {
        Ok(())
    } else {
        Err(Broken("a buffer is too short"))
    }
}

impl Visit for Spans {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self(spans) = self;
        hart::state::list(v, "spans", spans, usize::from(CHAIN_MAX));
    }
}

/// One buffer of a queue: what the device reads, then what it writes (VIRTIO 2.7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Index of the first descriptor, by which the used ring names the buffer.
    pub head: u16,
    /// What the device is to read.
    pub readable: Spans,
    /// What the device is to write.
    pub writable: Spans,
}

impl Chain {
    /// How many descriptors with a buffer the chain has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.readable.count().saturating_add(self.writable.count())
    }

    /// Adds a checked span at the end.
    ///
    /// # Errors
    /// VIRTIO 2.7.4.2: if a readable span follows a writable one.
    pub fn push(&mut self, span: Span, writable: bool) -> Result<(), Broken> {
        match (writable, self.writable.count()) {
            (true, _) => self.writable.push(span),
            (false, 0) => self.readable.push(span),
            (false, _) => return Err(Broken("a readable buffer follows a writable one")),
        }
        Ok(())
    }
}

impl Visit for Chain {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            head,
            readable,
            writable,
        } = self;
        v.u16("head", head);
        hart::state::component(v, "readable", readable);
        hart::state::component(v, "writable", writable);
    }
}
