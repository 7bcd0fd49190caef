//! Buffers that the driver hands over: descriptors as claimed by the guest, and spans as checked.
//!
//! Between the guest's memory and a device stand two types. [`Claimed`] is what the guest wrote: it can be
//! anything. [`Span`] is made only from a claim that was checked: not empty and wholly in RAM. Devices see
//! spans as one run of bytes, whatever the driver's framing (VIRTIO 2.7.4.1).

use hart::{Ram, Visit, Visitor};

use super::limits::QUEUE_MAX;

/// The driver broke a rule of the specification: the device needs a reset (VIRTIO 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// A value that the guest wrote and nobody has checked yet.
#[derive(Clone, Copy, Debug)]
pub struct Claimed<T>(pub(super) T);

/// VIRTIO 2.7.5: one entry of a descriptor table.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u32 = 16;
/// VIRTQ_DESC_F_NEXT.
const NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
const WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT.
const INDIRECT: u16 = 4;

/// A descriptor table: the ring's own, or an indirect one.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Guest address of the first entry; not checked, as every read is.
    pub address: u64,
    /// Entries.
    pub entries: u32,
    /// Is it an indirect one?
    pub indirect: bool,
}

impl Table {
    /// Reads one entry.
    ///
    /// # Errors
    /// If the index is not in the table, or the entry not in RAM.
    pub fn read(&self, ram: &Ram, index: u16) -> Result<Claimed<Descriptor>, Broken> {
        if u32::from(index) >= self.entries {
            return Err(Broken("a descriptor index is beyond its table"));
        }
        let at = u64::from(index).wrapping_mul(u64::from(DESCRIPTOR_BYTES));
        let mut bytes = [0; 16];
        ram.read(self.address.wrapping_add(at), &mut bytes)
            .map_err(|_| Broken("a descriptor table is not in RAM"))?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Ok(Claimed(Descriptor {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }))
    }
}

impl Claimed<Descriptor> {
    /// Does it refer to an indirect table?
    #[must_use]
    pub fn is_indirect(&self) -> bool {
        self.0.flags & INDIRECT != 0
    }

    /// Is the buffer for the device to write?
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.flags & WRITE != 0
    }

    /// Where the chain goes on.
    #[must_use]
    pub fn next(&self) -> Option<u16> {
        (self.0.flags & NEXT != 0).then_some(self.0.next)
    }

    /// The buffer, if the guest has one there.
    ///
    /// # Errors
    /// If it is empty or not wholly in RAM.
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

    /// The indirect table that it refers to from `within`.
    ///
    /// # Errors
    /// VIRTIO 2.7.5.3.1: if it is in an indirect table itself, or also has a next descriptor, or its length
    /// is not a whole number of entries. The write flag does not matter (VIRTIO 2.7.5.3.2).
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

/// A piece of guest memory that was found in RAM, not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    address: u64,
    length: u32,
}

impl Visit for Span {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self { address, length } = self;
        v.u64("address", address);
        v.u32("length", length);
    }
}

/// Spans in the driver's order: one run of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Number of spans.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds one at the end.
    pub fn push(&mut self, span: Span) {
        self.0.push(span);
    }

    /// Bytes of all spans.
    #[must_use]
    pub fn total(&self) -> u64 {
        // At most QUEUE_MAX spans of less than 4 GiB: cannot saturate.
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
        let mut rest = into;
        for (address, length) in self.pieces(skip) {
            let count = length.min(rest.len());
            let (piece, later) = std::mem::take(&mut rest).split_at_mut(count);
            ram.read(address, piece)
                .map_err(|_| Broken("a buffer is not in RAM"))?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(Broken("a buffer is too short")),
        }
    }

    /// Copies to the guest, starting at the first byte of the run.
    ///
    /// # Errors
    /// If the run ends before all of `from` is written.
    pub fn scatter(&self, ram: &mut Ram, from: &[u8]) -> Result<(), Broken> {
        let mut rest = from;
        for (address, length) in self.pieces(0) {
            let (piece, later) = rest.split_at(length.min(rest.len()));
            ram.write(address, piece)
                .map_err(|_| Broken("a buffer is not in RAM"))?;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(Broken("a buffer is too short")),
        }
    }

    /// Address and length of what is left of each span after `skip` bytes.
    fn pieces(&self, skip: u64) -> impl Iterator<Item = (u64, usize)> {
        let mut skip = skip;
        self.0.iter().filter_map(move |span| {
            let length = u64::from(span.length);
            let skipped = skip.min(length);
            skip = skip.saturating_sub(skipped);
            let left = usize::try_from(length.saturating_sub(skipped)).ok()?;
            (left > 0).then_some((span.address.wrapping_add(skipped), left))
        })
    }
}

impl Visit for Spans {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self(spans) = self;
        hart::state::list(v, "spans", spans, usize::from(QUEUE_MAX));
    }
}

/// One buffer of a queue: what the device reads, then what it writes (VIRTIO 2.7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Index of the first descriptor: the buffer's name in the used ring.
    pub head: u16,
    /// For the device to read.
    pub readable: Spans,
    /// For the device to write.
    pub writable: Spans,
}

impl Chain {
    /// Descriptors in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.readable.count().saturating_add(self.writable.count())
    }

    /// Adds a checked span.
    ///
    /// # Errors
    /// VIRTIO 2.7.4.2: if a readable one follows a writable one.
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
