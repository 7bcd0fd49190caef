//! A world around one virtio device, in which bytes play both the guest and the peers: for the fuzzer
//! (`fuzz`, target `rings`, which includes this file) and for the tests in `hostile`.
//!
//! [`World::act`] turns a few bytes into one access, one change of guest memory or one input. Many of the
//! operations are nearly right (a sound set-up, descriptors that point into RAM), because pure noise never
//! gets past the first check. [`World::act`] asserts what must hold whatever happens: everything is bounded.

#![allow(dead_code, reason = "the fuzzer uses less of it than the tests do")]

use hart::{Ram, Width, ram::BASE};
use machine::{
    Clock, DiskConfig, DiskOperation, DiskStatus, Effect, NetConfig, Step,
    parts::{Device, Effects, IrqLines, Reach, Slot},
};

/// Bytes of guest memory.
pub const MEMORY: u64 = 64 << 10;
/// Where the areas of queue n begin: `RINGS + n * RINGS_STEP`.
const RINGS: u64 = BASE;
const RINGS_STEP: u64 = 0x4000;
const DRIVER_AREA: u64 = 0x2000;
const DEVICE_AREA: u64 = 0x3000;
/// Effects that one access or input may cause: one for each place of the ring.
const EFFECTS_MAX: usize = 257;

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
    /// read-only.
    ///
    /// # Errors
    /// If the host has no memory.
    pub fn new(kind: u8) -> std::io::Result<World> {
        let disk = DiskConfig {
            sectors: 4096,
            read_only: kind >= 128,
            serial: "fuzz".into(),
        };
        let slot = match kind.checked_rem(4) {
            Some(0) => Slot::net(0, 0, &NetConfig { mac: [2; 6] }),
            Some(1) => Slot::block(0, 0, &disk),
            Some(2) => Slot::entropy(0),
            _ => Slot::Empty,
        };
        Ok(World {
            slot,
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
            13..=15 => self.write(0x50, u64::from(bytes.u8() & 3)),
            16 => {
                let (address, value) = (bytes.address(), bytes.number());
                self.poke(address, &value.to_le_bytes());
            }
            17 => {
                let queue = usize::from(bytes.u8() & 1);
                let jump = bytes.number().to_le_bytes();
                let area = ring(queue).wrapping_add(DRIVER_AREA).wrapping_add(2);
                self.poke(area, jump.get(..2).unwrap_or_default());
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
        self.write(0x70, 0);
        self.write(0x14, 0);
        let offered = self
            .with(|slot, reach| slot.read(0x10, Width::Word, reach))
            .unwrap_or(0);
        // Small choices would switch off what is most worth testing.
        let accepted = if features < 16 {
            offered
        } else {
            offered & features
        };
        for (register, value) in [(0x24, 0), (0x20, accepted), (0x24, 1), (0x20, 1), (0x70, 11)] {
            self.write(register, value);
        }
        for queue in 0..2_usize {
            let area = ring(queue);
            self.poke(area.wrapping_add(DRIVER_AREA), &[0; 4]);
            self.poke(area.wrapping_add(DEVICE_AREA), &[0; 4]);
            let [driver, device] = [area.wrapping_add(DRIVER_AREA), area.wrapping_add(DEVICE_AREA)];
            let select = u64::try_from(queue).unwrap_or(0);
            for (register, value) in [
                (0x30, select),
                (0x38, size),
                (0x80, area),
                (0x90, driver),
                (0xa0, device),
            ] {
                self.write(register, value);
            }
            self.write(0x44, 1);
        }
        self.available = [0; 2];
        self.write(0x70, 15);
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
        let (readable, writable) = (0, 2);
        let length = u64::from(length);
        let (queue, pieces): (usize, Vec<(u64, u64, u8)>) = match &self.slot {
            Slot::Block(_) => {
                let header = BASE
                    .wrapping_add(0x9000)
                    .wrapping_add(u64::from(choice).wrapping_mul(16));
                let pick = bytes.u8();
                let kind = match pick & 15 {
                    0..=4 => 0,
                    5..=9 => 1,
                    10 => 4,
                    11 => 8,
                    12 => 11,
                    13 => 13,
                    _ => pick >> 4,
                };
                self.poke(header, &[kind, 0, 0, 0, 0, 0, 0, 0]);
                self.poke(header.wrapping_add(8), &bytes.number().to_le_bytes());
                let (length, flags) = match kind {
                    0 | 8 => (length & 7 << 9, writable),
                    11 | 13 => {
                        self.poke(data.wrapping_add(1), &bytes.number().to_le_bytes());
                        self.poke(data.wrapping_add(9), &[pick, 0, 0, 0, pick >> 7, 0, 0, 0]);
                        (16, readable)
                    }
                    _ => (length & 7 << 9, readable),
                };
                let ends = [(header, 16, readable), (data, 1, writable)];
                let [front, back] = ends;
                (0, vec![front, (data.wrapping_add(1), length.max(1), flags), back])
            }
            Slot::Entropy(_) => (0, vec![(data, length & 0x3f | 1, writable)]),
            _ if choice & 128 == 0 => {
                let split = (data, 13, writable);
                (
                    0,
                    vec![split, (data.wrapping_add(13), length & 0x1ff | 1, writable)],
                )
            }
            _ => (
                1,
                vec![(data, length & 0x7ff | 1, readable), (data, 20, readable)],
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

    /// Makes a head available (bit 7: in which queue), and notifies unless bit 4 is set.
    fn offer(&mut self, head: u8, choice: u8) {
        let queue = usize::from(choice >> 7);
        let area = ring(queue).wrapping_add(DRIVER_AREA);
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
            self.write(0x50, u64::from(choice >> 7));
        }
    }

    fn input(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.u8();
        let length = usize::try_from(bytes.number() & 0x3fff).unwrap_or(0);
        let id = self.disk_id.wrapping_sub(u64::from(choice & 7));
        self.with(|slot, reach| match slot {
            Slot::Empty => {}
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
