//! The split virtqueue, device side (VIRTIO 2.7): takes buffers from the available ring, gives them back
//! through the used ring, and says when the driver wants an interrupt.
//!
//! The transport sets a queue up as the driver's registers say; a device function takes buffers and gives
//! them back. Everything that a queue reads is guest memory and may be anything. A rule broken by the driver
//! is [`Broken`], which the transport answers with DEVICE_NEEDS_RESET. No loop here is longer than a
//! chain may be, nothing is allocated beyond one chain, and nothing panics. All fields are guest state.

use bitflags::bitflags;
use hart::{Ram, Visit, Visitor};

use super::{
    chain::{Broken, Chain, DESCRIPTOR_BYTES, Table},
    features::{Accepted, TransportFeatures},
    limits::CHAIN_MAX,
};
use crate::narrow::{index, with_half};

bitflags! {
    /// VIRTIO 2.7.6: the flags of the available ring, `VIRTQ_AVAIL_F_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct AvailableFlags: u16 {
        /// The driver wants no interrupt. Means nothing once VIRTIO_F_EVENT_IDX was accepted.
        const NO_INTERRUPT = 1 << 0;
    }
}

/// To what the used ring of a legacy queue is aligned if the driver does not say, as on QEMU's board.
const ALIGNMENT: u32 = 4096;
/// Offset of the index in the available ring and in the used ring; the flags are before it.
const INDEX: u64 = 2;
/// Offset of the entries in the available ring and in the used ring; the event index is behind them.
const ENTRIES: u64 = 4;
/// Bytes of a ring beside its entries: flags, index and event index.
const RING_BYTES: u64 = 6;
/// Bytes of an entry of the available ring: the head of a chain.
const AVAILABLE_BYTES: u64 = 2;
/// Bytes of an entry of the used ring: the head of a chain and how much was written.
const USED_BYTES: u64 = 8;

/// One of the three areas of a queue (VIRTIO 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The descriptor table.
    Descriptors,
    /// The available ring, written by the driver.
    Driver,
    /// The used ring, written by the device.
    Device,
}

/// One half of an area's address, as the registers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// One virtqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The largest size that is offered. Part of the device's build, not of its state.
    max: u16,
    /// How many entries each area has, as the driver chose. Invariant: while `ready`, 1 to `max`.
    size: u16,
    /// The driver has set the queue up, and the device may use it.
    ready: bool,
    /// Guest address of the descriptor table. While `ready` it was found in RAM, as those of the rings.
    descriptors: u64,
    /// Guest address of the available ring.
    driver: u64,
    /// Guest address of the used ring.
    device: u64,
    /// To what a legacy driver wants the used ring aligned, in bytes.
    alignment: u32,
    /// VIRTIO_F_INDIRECT_DESC was accepted.
    indirect: bool,
    /// VIRTIO_F_EVENT_IDX was accepted.
    event_index: bool,
    /// Index in the available ring of the next buffer to take; wraps at 16 bits.
    next_available: u16,
    /// Index in the used ring of the next buffer to give back; wraps at 16 bits.
    next_used: u16,
    /// `next_used` when the need of an interrupt was last decided.
    signalled: u16,
    /// The `avail_event` that was written last.
    announced: u16,
}

impl Queue {
    /// A queue after reset, of at most `max` entries.
    #[must_use]
    pub fn new(max: u16) -> Queue {
        Queue {
            max,
            size: max,
            ready: false,
            descriptors: 0,
            driver: 0,
            device: 0,
            alignment: ALIGNMENT,
            indirect: false,
            event_index: false,
            next_available: 0,
            next_used: 0,
            signalled: 0,
            announced: 0,
        }
    }

    /// The largest size that is offered.
    #[must_use]
    pub fn max(&self) -> u16 {
        self.max
    }

    /// How many entries the queue has, as the driver chose.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Has the driver set the queue up?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Back to what it was after reset.
    pub fn reset(&mut self) {
        *self = Queue::new(self.max);
    }

    /// These features are agreed on, of which two concern the queue.
    pub fn set_features(&mut self, accepted: Accepted) {
        self.indirect = accepted.has(TransportFeatures::INDIRECT_DESC);
        self.event_index = accepted.has(TransportFeatures::EVENT_IDX);
    }

    /// The driver's choice of size; checked by [`Queue::start`]. Ignored while ready, as VIRTIO 4.2.2.2
    /// forbids it.
    pub fn set_size(&mut self, size: u32) {
        if !self.ready {
            self.size = u16::try_from(size).unwrap_or(0);
        }
    }

    /// The driver's choice of one half of an area's address; checked by [`Queue::start`]. Ignored while
    /// ready.
    pub fn set_address(&mut self, area: Area, half: Half, value: u32) {
        if self.ready {
            return;
        }
        let field = match area {
            Area::Descriptors => &mut self.descriptors,
            Area::Driver => &mut self.driver,
            Area::Device => &mut self.device,
        };
        let shift = match half {
            Half::Low => 0,
            Half::High => 32,
        };
        *field = with_half(*field, shift, u64::from(value));
    }

    /// A legacy driver's choice of alignment. Ignored while ready.
    pub fn set_alignment(&mut self, bytes: u32) {
        if !self.ready {
            self.alignment = bytes;
        }
    }

    /// Lays the areas of a legacy queue out behind each other from a guest address on (VIRTIO 2.7.2). Ignored
    /// while ready. An alignment of 0 makes a queue that cannot start.
    pub fn lay_out(&mut self, address: u64) {
        if self.ready {
            return;
        }
        let size = u64::from(self.size);
        let behind = |start: u64, bytes: u64| start.wrapping_add(size.wrapping_mul(bytes));
        self.descriptors = address;
        self.driver = behind(address, DESCRIPTOR_BYTES.into());
        let end = behind(self.driver, AVAILABLE_BYTES).wrapping_add(RING_BYTES);
        let aligned = end.checked_next_multiple_of(self.alignment.into());
        self.device = aligned.unwrap_or(u64::MAX);
    }

    /// Guest address of the descriptor table, with which a legacy queue begins.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.descriptors
    }

    /// The driver sets QueueReady: the queue starts from index 0.
    ///
    /// # Errors
    /// If size or place of the rings is impossible. Their alignment does not matter, nor that the size be a
    /// power of two, though VIRTIO 2.7 wants both of the driver: QEMU's devices do without.
    pub fn start(&mut self, ram: &Ram) -> Result<(), Broken> {
        if self.ready {
            return Ok(());
        }
        if !self.has_sound_size() {
            return Err(Broken("a queue has no size or is too large"));
        }
        // Address, bytes of an entry, and bytes beside the entries.
        let areas = [
            (self.descriptors, u64::from(DESCRIPTOR_BYTES), 0),
            (self.driver, AVAILABLE_BYTES, RING_BYTES),
            (self.device, USED_BYTES, RING_BYTES),
        ];
        for (address, bytes, rest) in areas {
            let length = u64::from(self.size).saturating_mul(bytes).saturating_add(rest);
            if ram.offset(address, index(length)).is_none() {
                return Err(Broken("a ring is not in RAM"));
            }
        }
        self.ready = true;
        self.next_available = 0;
        self.next_used = 0;
        self.signalled = 0;
        self.announced = 0;
        Ok(())
    }

    /// The driver clears QueueReady: the device touches the queue no more (VIRTIO 4.2.2.1).
    pub fn stop(&mut self) {
        self.ready = false;
    }

    /// Takes the next buffer that the driver made available, if there is one.
    ///
    /// # Errors
    /// If ring or descriptors break a rule.
    pub fn pop(&mut self, ram: &Ram) -> Result<Option<Chain>, Broken> {
        if !self.ready {
            return Ok(None);
        }
        let available = read_u16(ram, self.driver.wrapping_add(INDEX))?;
        if available == self.next_available {
            return Ok(None);
        }
        // The driver has at most `size` buffers outstanding, as each needs a descriptor of its own. So this
        // also catches an index that went back, and bounds what a device can have in flight.
        let waiting = available.wrapping_sub(self.next_available);
        let outstanding = self.next_available.wrapping_sub(self.next_used);
        if waiting > self.size.saturating_sub(outstanding) {
            return Err(Broken("the available index jumped beyond the ring"));
        }
        let place = entry(self.driver, AVAILABLE_BYTES, self.slot(self.next_available));
        let head = read_u16(ram, place)?;
        let chain = self.chain(ram, head)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Puts the last `count` buffers that were taken back into the available ring. They must not have been
    /// given back.
    pub fn unpop(&mut self, count: u16) {
        self.next_available = self.next_available.wrapping_sub(count);
    }

    /// Gives a buffer back, with the number of bytes written from its start (VIRTIO 2.7.8.2).
    ///
    /// # Errors
    /// If the used ring is not in RAM: only after a restore from bytes that were not sound.
    pub fn push(&mut self, ram: &mut Ram, head: u16, written: u32) -> Result<(), Broken> {
        if !self.ready {
            return Ok(());
        }
        let [h0, h1] = head.to_le_bytes();
        let [w0, w1, w2, w3] = written.to_le_bytes();
        let place = entry(self.device, USED_BYTES, self.slot(self.next_used));
        write(ram, place, &[h0, h1, 0, 0, w0, w1, w2, w3])?;
        // VIRTIO 2.7.8.2: the element first, then the index.
        self.next_used = self.next_used.wrapping_add(1);
        write(
            ram,
            self.device.wrapping_add(INDEX),
            &self.next_used.to_le_bytes(),
        )
    }

    /// Called after buffers were taken and given back: tells the driver from which buffer on it shall notify
    /// again (VIRTIO 2.7.10), and says whether the driver wants an interrupt (VIRTIO 2.7.7).
    ///
    /// # Errors
    /// If the rings are not in RAM: only after a restore from bytes that were not sound.
    pub fn settle(&mut self, ram: &mut Ram) -> Result<bool, Broken> {
        if !self.ready {
            return Ok(false);
        }
        if self.event_index && self.announced != self.next_available {
            let avail_event = entry(self.device, USED_BYTES, self.size);
            write(ram, avail_event, &self.next_available.to_le_bytes())?;
            self.announced = self.next_available;
        }
        let old = std::mem::replace(&mut self.signalled, self.next_used);
        if old == self.next_used {
            return Ok(false);
        }
        if !self.event_index {
            let flags = AvailableFlags::from_bits_retain(read_u16(ram, self.driver)?);
            return Ok(!flags.contains(AvailableFlags::NO_INTERRUPT));
        }
        // VIRTIO 2.7.7.2: when the buffer at `used_event` is among those just given back.
        let event = read_u16(ram, entry(self.driver, AVAILABLE_BYTES, self.size))?;
        let behind = self.next_used.wrapping_sub(event).wrapping_sub(1);
        Ok(behind < self.next_used.wrapping_sub(old))
    }

    /// Follows one chain from its head.
    fn chain(&self, ram: &Ram, head: u16) -> Result<Chain, Broken> {
        let mut table = Table {
            address: self.descriptors,
            entries: u32::from(self.size),
            indirect: false,
        };
        let mut chain = Chain {
            head,
            ..Chain::default()
        };
        let mut index = head;
        // VIRTIO 2.7.5.3.1 forbids drivers a chain longer than the queue, but devices take one in an indirect
        // table. One more for the way into the table.
        for _ in 0..=CHAIN_MAX {
            let descriptor = table.read(ram, index)?;
            if descriptor.is_indirect() {
                if !self.indirect {
                    return Err(Broken("INDIRECT was not accepted"));
                }
                table = descriptor.table(&table)?;
                index = 0;
                continue;
            }
            chain.push(descriptor.check(ram)?, descriptor.is_writable())?;
            if chain.count() > usize::from(CHAIN_MAX) {
                break;
            }
            match descriptor.next() {
                Some(next) => index = next,
                None => return Ok(chain),
            }
        }
        Err(Broken("a chain is too long, or a loop"))
    }

    /// The place of a free-running index in its ring.
    fn slot(&self, index: u16) -> u16 {
        index.checked_rem(self.size).unwrap_or(0)
    }

    fn has_sound_size(&self) -> bool {
        (1..=self.max).contains(&self.size)
    }
}

impl Visit for Queue {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            max: _,
            size,
            ready,
            descriptors,
            driver,
            device,
            alignment,
            indirect,
            event_index,
            next_available,
            next_used,
            signalled,
            announced,
        } = self;
        v.u16("size", size);
        v.bool("ready", ready);
        v.u64("descriptors", descriptors);
        v.u64("driver", driver);
        v.u64("device", device);
        v.u32("alignment", alignment);
        v.bool("indirect", indirect);
        v.bool("event_index", event_index);
        v.u16("next_available", next_available);
        v.u16("next_used", next_used);
        v.u16("signalled", signalled);
        v.u16("announced", announced);
        if self.ready && !self.has_sound_size() {
            v.reject("a ready queue has an impossible size");
        }
    }
}

/// Guest address of the entry at `place` of a ring; that of the event index is where an entry behind the last
/// would be.
fn entry(ring: u64, bytes: u64, place: u16) -> u64 {
    let before = u64::from(place).wrapping_mul(bytes);
    ring.wrapping_add(ENTRIES).wrapping_add(before)
}

fn read_u16(ram: &Ram, address: u64) -> Result<u16, Broken> {
    let mut bytes = [0; 2];
    ram.read(address, &mut bytes)
        .map_err(|_| Broken("a ring is not in RAM"))?;
    Ok(u16::from_le_bytes(bytes))
}

fn write(ram: &mut Ram, address: u64, bytes: &[u8]) -> Result<(), Broken> {
    ram.write(address, bytes)
        .map_err(|_| Broken("a ring is not in RAM"))
}
