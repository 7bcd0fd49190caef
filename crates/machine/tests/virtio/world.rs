//! A world around one virtio device, in which bytes play both the guest and the peers: for the fuzzer
//! (`fuzz`, target `rings`, which includes this file) and for the tests in `hostile`.
//!
//! [`World::act`] turns a few bytes into one access, one change of guest memory or one input. Many of the
//! operations are nearly right (a sound set-up, descriptors that point into RAM), because pure noise never
//! gets past the first check. [`World::act`] asserts what must hold whatever happens: everything is bounded.

#![allow(dead_code, reason = "the fuzzer uses less of it than the tests do")]

use hart::{Ram, Width, ram::BASE};
use machine::{
    Clock, DiskConfig, DiskOperation, DiskStatus, Effect, NetConfig, Step, Transport,
    parts::{Device, Effects, IrqLines, Reach, Slot},
};

/// Offsets of the transport's registers, as the specification gives them to a driver (VIRTIO 4.2.2).
pub mod register {
    pub const VERSION: u64 = 0x04;
    pub const DEVICE_ID: u64 = 0x08;
    pub const VENDOR_ID: u64 = 0x0c;
    pub const DEVICE_FEATURES: u64 = 0x10;
    pub const DEVICE_FEATURES_SELECT: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub const GUEST_PAGE_SIZE: u64 = 0x28;
    pub const QUEUE_SELECT: u64 = 0x30;
    pub const QUEUE_SIZE_MAX: u64 = 0x34;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_ALIGN: u64 = 0x3c;
    pub const QUEUE_PAGE: u64 = 0x40;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const INTERRUPT_STATUS: u64 = 0x60;
    pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_DESCRIPTORS_LOW: u64 = 0x80;
    pub const QUEUE_DRIVER_LOW: u64 = 0x90;
    pub const QUEUE_DEVICE_LOW: u64 = 0xa0;
    pub const CONFIG_GENERATION: u64 = 0xfc;
    pub const CONFIG: u64 = 0x100;
}

/// What a driver writes to `STATUS` on its way (VIRTIO 2.1, 3.1.1); each holds the bits before it.
pub mod status {
    pub const RESET: u32 = 0;
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 3;
    pub const FEATURES_OK: u32 = 11;
    pub const DRIVER_OK: u32 = 15;
    /// A legacy driver does not know FEATURES_OK.
    pub const LEGACY_DRIVER_OK: u32 = 7;
}

/// Types of disk requests, as the specification numbers them (VIRTIO 5.2.6).
pub mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Bytes of guest memory.
pub const MEMORY: u64 = 64 << 10;
/// Where the areas of queue n begin: `RINGS + n * RINGS_STEP`.
const RINGS: u64 = BASE;
const RINGS_STEP: u64 = 0x4000;
const DRIVER_AREA: u64 = 0x2000;
const DEVICE_AREA: u64 = 0x3000;
/// Where a legacy queue of at most 128 entries has its used ring, which the driver wants aligned to 4 KiB.
const LEGACY_DEVICE_AREA: u64 = 0x1000;
/// Effects that one access or input may cause: one for each place of the ring.
const EFFECTS_MAX: usize = 1025;

/// One piece of a request: guest address, length, and [`READABLE`] or [`WRITABLE`].
type Piece = (u64, u64, u8);
/// Flags of a descriptor whose buffer the device reads.
const READABLE: u8 = 0;
/// Flags of a descriptor whose buffer the device writes (VIRTQ_DESC_F_WRITE).
const WRITABLE: u8 = 2;

/// Bytes read as numbers; zero when they run out.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Nothing left?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.u8();
        }
        u64::from_le_bytes(bytes)
    }

    /// A number that is likely to matter.
    fn number(&mut self) -> u64 {
        let choice = self.u8();
        match choice & 15 {
            0 => self.u64(),
            1 => u64::MAX,
            2 => 0xffff_ffff,
            3 => 0,
            4..=6 => u64::from(self.u16()),
            7 => u64::from(self.u16()).wrapping_mul(512),
            _ => u64::from(choice >> 4),
        }
    }

    /// A guest address, mostly in RAM.
    fn address(&mut self) -> u64 {
        match self.u8() {
            0 => self.u64(),
            1 => BASE.wrapping_add(MEMORY).wrapping_sub(u64::from(self.u8())),
            2 => BASE.wrapping_sub(1),
            _ => BASE.wrapping_add(u64::from(self.u16())),
        }
    }
}

/// One device, its memory and its surroundings.
pub struct World {
    /// The device.
    pub slot: Slot,
    /// By which registers the device is driven.
    transport: Transport,
    /// Guest memory.
    pub ram: Ram,
    /// Interrupt lines.
    pub irq: IrqLines,
    /// Everything that came out, in a hash: equal histories give equal values.
    pub observed: u64,
    /// Effects taken so far.
    pub effects_taken: u64,
    clock: Clock,
    effects: Effects,
    available: [u16; 2],
    size: u16,
    disk_id: u64,
}

impl World {
    /// A world with device `kind` modulo 4: network, block, entropy, none. A block device of 128 or more is
    /// read-only, and a device with bit 6 set is a legacy one.
    ///
    /// # Errors
    /// If the host has no memory.
    pub fn new(kind: u8) -> std::io::Result<World> {
        let disk = DiskConfig {
            sectors: 4096,
            read_only: kind >= 128,
            serial: "fuzz".into(),
        };
        let transport = if kind & 64 == 0 {
            Transport::Modern
        } else {
            Transport::Legacy
        };
        let slot = match kind.checked_rem(4) {
            Some(0) => Slot::net(0, transport, 0, &NetConfig { mac: [2; 6] }),
            Some(1) => Slot::block(0, transport, 0, &disk),
            Some(2) => Slot::entropy(0, transport),
            _ => Slot::Empty(transport),
        };
        Ok(World {
            slot,
            transport,
            ram: Ram::new(MEMORY)?,
            irq: IrqLines::default(),
            observed: 0xcbf2_9ce4_8422_2325,
            effects_taken: 0,
            clock: Clock::default(),
            effects: Effects::new(),
            available: [0; 2],
            size: 16,
            disk_id: 0,
        })
    }

    /// Takes over from `other` what is outside device and memory.
    pub fn resume_from(&mut self, other: &World) {
        self.irq = other.irq;
        self.observed = other.observed;
        self.effects_taken = other.effects_taken;
        self.available = other.available;
        self.size = other.size;
        self.disk_id = other.disk_id;
    }

    /// One operation.
    pub fn act(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.u8() & 63 {
            0 => {
                let (offset, value) = (u64::from(bytes.u8()) & !3, bytes.number());
                self.write(offset, value);
            }
            1..=3 => self.odd_access(bytes),
            4..=8 => self.set_up(bytes),
            9..=11 => self.describe(bytes),
            12 => self.offer(bytes.u8() & 15, bytes.u8()),
            13..=15 => self.write(register::QUEUE_NOTIFY, u64::from(bytes.u8() & 3)),
            16 => {
                let (address, value) = (bytes.address(), bytes.number());
                self.poke(address, &value.to_le_bytes());
            }
            17 => {
                let queue = usize::from(bytes.u8() & 1);
                let jump = bytes.number().to_le_bytes();
                let [_, driver, _] = self.areas(queue);
                self.poke(driver.wrapping_add(2), jump.get(..2).unwrap_or_default());
            }
            18..=40 => self.request(bytes),
            _ => self.input(bytes),
        }
        self.take_effects();
    }

    /// A register or configuration access of any width, at any aligned offset.
    fn odd_access(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.u8();
        let width = match choice & 3 {
            0 => Width::Byte,
            1 => Width::Half,
            2 => Width::Word,
            _ => Width::Double,
        };
        let offset = u64::from(bytes.u16()) & 0xfff & !width.bytes().wrapping_sub(1);
        let value = bytes.number();
        let seen = self.with(|slot, reach| match choice & 4 {
            0 => slot.read(offset, width, reach),
            _ => slot.write(offset, width, value, reach).then_some(0),
        });
        self.observe(seen.unwrap_or(1));
    }

    /// What a sound driver does, but for the features and sizes it picks.
    fn set_up(&mut self, bytes: &mut Bytes<'_>) {
        let (features, choice) = (bytes.number(), bytes.u8());
        // Mostly 16 to 128, at times down to 1.
        self.size = if choice < 32 {
            1 << (choice & 3)
        } else {
            16 << (choice & 3)
        };
        let size = u64::from(self.size);
        self.write(register::STATUS, u64::from(status::RESET));
        self.write(register::DEVICE_FEATURES_SELECT, 0);
        let offered = self
            .with(|slot, reach| slot.read(register::DEVICE_FEATURES, Width::Word, reach))
            .unwrap_or(0);
        // Small choices would switch off what is most worth testing.
        let accepted = if features < 16 {
            offered
        } else {
            offered & features
        };
        // VERSION_1, which some drivers leave out, is the first bit of the second word.
        let version_1 = u64::from(choice & 0x40 == 0);
        for (register, value) in [
            (register::DRIVER_FEATURES_SELECT, 0),
            (register::DRIVER_FEATURES, accepted),
            (register::DRIVER_FEATURES_SELECT, 1),
            (register::DRIVER_FEATURES, version_1),
            (register::STATUS, u64::from(status::FEATURES_OK)),
        ] {
            self.write(register, value);
        }
        for queue in 0..2_usize {
            let [area, driver, device] = self.areas(queue);
            self.poke(driver, &[0; 4]);
            self.poke(device, &[0; 4]);
            let select = u64::try_from(queue).unwrap_or(0);
            for (register, value) in [
                (register::QUEUE_SELECT, select),
                (register::QUEUE_SIZE, size),
                (register::QUEUE_DESCRIPTORS_LOW, area),
                (register::QUEUE_DRIVER_LOW, driver),
                (register::QUEUE_DEVICE_LOW, device),
            ] {
                self.write(register, value);
            }
            self.write(register::QUEUE_READY, 1);
            // A legacy device knows none of these but the first two, and others instead.
            self.write(register::GUEST_PAGE_SIZE, 4096);
            self.write(register::QUEUE_ALIGN, 4096);
            self.write(register::QUEUE_PAGE, area >> 12);
        }
        self.available = [0; 2];
        self.write(register::STATUS, u64::from(status::DRIVER_OK));
    }

    /// Where descriptors, available ring and used ring of a queue are.
    fn areas(&self, queue: usize) -> [u64; 3] {
        let area = ring(queue);
        match self.transport {
            Transport::Modern => [
                area,
                area.wrapping_add(DRIVER_AREA),
                area.wrapping_add(DEVICE_AREA),
            ],
            Transport::Legacy => {
                let driver = area.wrapping_add(u64::from(self.size).wrapping_mul(16));
                [area, driver, area.wrapping_add(LEGACY_DEVICE_AREA)]
            }
        }
    }

    /// One descriptor.
    fn describe(&mut self, bytes: &mut Bytes<'_>) {
        let place = bytes.u8();
        let [address, length] = [bytes.address(), bytes.number()];
        let (flags, next) = (bytes.u8() & 7, bytes.u8() & 15);
        self.write_descriptor(usize::from(place >> 7), place & 15, address, length, flags, next);
    }

    fn write_descriptor(&mut self, queue: usize, index: u8, address: u64, length: u64, flags: u8, next: u8) {
        let [l0, l1, l2, l3, ..] = length.to_le_bytes();
        let at = ring(queue).wrapping_add(u64::from(index).wrapping_mul(16));
        self.poke(at, &address.to_le_bytes());
        self.poke(at.wrapping_add(8), &[l0, l1, l2, l3, flags, 0, next, 0]);
    }

    /// A request as a sound driver makes it, but for one in 16 with a twist.
    fn request(&mut self, bytes: &mut Bytes<'_>) {
        let (choice, length, twist) = (bytes.u8(), bytes.u16(), bytes.u8());
        let [inside, _] = self.size.wrapping_sub(1).to_le_bytes();
        let first = (choice & 15).wrapping_mul(4) & inside;
        let data = BASE.wrapping_add(0xa000).wrapping_add(u64::from(length) & 0x1fff);
        let length = u64::from(length);
        let (queue, pieces): (usize, Vec<Piece>) = match &self.slot {
            Slot::Block(_) => (0, Vec::from(self.disk_request(bytes, choice, data, length))),
            Slot::Entropy(_) => (0, vec![(data, length & 0x3f | 1, WRITABLE)]),
            _ if choice & 128 == 0 => {
                let rest = (data.wrapping_add(13), length & 0x1ff | 1, WRITABLE);
                (0, vec![(data, 13, WRITABLE), rest])
            }
            _ => (
                1,
                vec![(data, length & 0x7ff | 1, READABLE), (data, 20, READABLE)],
            ),
        };
        let mut index = first;
        let last = pieces.len().saturating_sub(1);
        for (place, (address, length, flags)) in pieces.into_iter().enumerate() {
            let next = index.wrapping_add(1);
            let more = u8::from(place < last);
            let odd = if twist < 16 { twist & 7 } else { 0 };
            self.write_descriptor(queue, index, address, length, (flags | more) ^ odd, next);
            index = next;
        }
        self.offer(first, u8::from(queue > 0) << 7 | choice & 16);
    }

    /// Header, data and status of a disk request, with what they must hold already in memory.
    fn disk_request(&mut self, bytes: &mut Bytes<'_>, choice: u8, data: u64, length: u64) -> [Piece; 3] {
        let header = BASE
            .wrapping_add(0x9000)
            .wrapping_add(u64::from(choice).wrapping_mul(16));
        let pick = bytes.u8();
        let kind = match pick & 15 {
            0..=4 => kind::IN,
            5..=9 => kind::OUT,
            10 => kind::FLUSH,
            11 => kind::GET_ID,
            12 => kind::DISCARD,
            13 => kind::WRITE_ZEROES,
            _ => u32::from(pick >> 4),
        };
        self.poke(header, &u64::from(kind).to_le_bytes());
        self.poke(header.wrapping_add(8), &bytes.number().to_le_bytes());
        let body = data.wrapping_add(1);
        let (length, flags) = match kind {
            kind::IN | kind::GET_ID => (length & 7 << 9, WRITABLE),
            kind::DISCARD | kind::WRITE_ZEROES => {
                self.poke(body, &bytes.number().to_le_bytes());
                self.poke(body.wrapping_add(8), &[pick, 0, 0, 0, pick >> 7, 0, 0, 0]);
                (16, READABLE)
            }
            _ => (length & 7 << 9, READABLE),
        };
        [
            (header, 16, READABLE),
            (body, length.max(1), flags),
            (data, 1, WRITABLE),
        ]
    }

    /// Makes a head available (bit 7: in which queue), and notifies unless bit 4 is set.
    fn offer(&mut self, head: u8, choice: u8) {
        let queue = usize::from(choice >> 7);
        let [_, area, _] = self.areas(queue);
        let Some(index) = self.available.get_mut(queue) else {
            return;
        };
        let before = *index;
        *index = before.wrapping_add(1);
        let after = *index;
        let slot = u64::from(before & self.size.wrapping_sub(1));
        let place = area.wrapping_add(4).wrapping_add(slot.wrapping_mul(2));
        self.poke(place, &[head, 0]);
        self.poke(area.wrapping_add(2), &after.to_le_bytes());
        if choice & 16 == 0 {
            self.write(register::QUEUE_NOTIFY, u64::from(choice >> 7));
        }
    }

    fn input(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.u8();
        let length = usize::try_from(bytes.number() & 0x3fff).unwrap_or(0);
        let id = self.disk_id.wrapping_sub(u64::from(choice & 7));
        self.with(|slot, reach| match slot {
            Slot::Empty(_) => {}
            Slot::Block(device) => {
                let asked = device.pending().find(|request| request.id == id);
                let length = match asked.map(|request| request.operation) {
                    Some(DiskOperation::Read { bytes, .. }) if choice & 8 == 0 => {
                        usize::try_from(bytes).unwrap_or(0)
                    }
                    _ => length,
                };
                let status = if choice & 16 == 0 {
                    DiskStatus::Ok
                } else {
                    DiskStatus::Failed
                };
                device.complete(id, status, &vec![choice; length], reach);
            }
            Slot::Net(device) => device.receive(vec![choice; length], reach),
            Slot::Entropy(device) => device.receive(&vec![choice; length], reach),
        });
    }

    /// A 32-bit store to a register.
    fn write(&mut self, offset: u64, value: u64) {
        self.with(|slot, reach| slot.write(offset, Width::Word, value, reach));
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        // Outside RAM there is nothing to write.
        let _ = self.ram.write(address, bytes);
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Slot, &mut Reach<'_>) -> T) -> T {
        let mut reach = Reach {
            now: Step(0),
            clock: &self.clock,
            ram: &mut self.ram,
            irq: &mut self.irq,
            effects: &mut self.effects,
        };
        act(&mut self.slot, &mut reach)
    }

    fn take_effects(&mut self) {
        assert!(
            self.effects.len() <= EFFECTS_MAX,
            "one operation, too many effects"
        );
        self.observe(self.irq.0);
        while let Some(effect) = self.effects.pop_front() {
            self.effects_taken = self.effects_taken.wrapping_add(1);
            match effect {
                Effect::ConsoleWrite { bytes, .. } => self.observe_bytes(&bytes),
                Effect::NetTransmit { frame, .. } => self.observe_bytes(&frame),
                Effect::Disk(request) => {
                    self.disk_id = request.id;
                    self.observe(request.id);
                    if let DiskOperation::Write { data, .. } = request.operation {
                        self.observe_bytes(&data);
                    }
                }
                Effect::EntropyWanted { bytes } => self.observe(u64::from(bytes)),
                Effect::PoweredOff(_) => self.observe(2),
            }
        }
    }

    fn observe(&mut self, value: u64) {
        self.observed = (self.observed ^ value)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(29);
    }

    fn observe_bytes(&mut self, bytes: &[u8]) {
        self.observe(u64::try_from(bytes.len()).unwrap_or(0));
        let (words, _) = bytes.as_chunks();
        for word in words {
            self.observe(u64::from_le_bytes(*word));
        }
    }
}

/// Plays `data` against a device; the first byte chooses which. Returns what was observed.
///
/// # Panics
/// If something that must be bounded is not: a finding.
#[must_use]
pub fn play(data: &[u8]) -> u64 {
    let mut bytes = Bytes(data);
    // No memory on the host says nothing about the device.
    let Ok(mut world) = World::new(bytes.u8()) else {
        return 0;
    };
    while !bytes.is_empty() {
        world.act(&mut bytes);
    }
    world.observed
}

fn ring(queue: usize) -> u64 {
    let queue = u64::try_from(queue).unwrap_or(0);
    RINGS.wrapping_add(queue.wrapping_mul(RINGS_STEP))
}
