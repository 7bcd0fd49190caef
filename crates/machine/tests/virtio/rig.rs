//! The driver-side double: a device, guest memory, and what a driver knows about its queues.

use std::collections::BTreeMap;

use hart::{Ram, Width};
use machine::{
    Clock, Effect, Step,
    parts::{Device, Effects, IrqLines, Line, Reach, Slot},
};

use crate::state::{self, Field};
use crate::world::{register, status};

/// Feature bits as the specification numbers them (VIRTIO 6): the driver's side takes no word of the
/// device's.
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const VERSION_1: u64 = 1 << 32;

pub const BASE: u64 = hart::ram::BASE;
pub const MEMORY: u64 = 8 << 20;
/// The slot in which the tests put their device.
pub const SLOT: u8 = 3;

pub const USED: u32 = 1;
pub const CONFIG: u32 = 2;
pub const NEEDS_RESET: u32 = 64;

/// One piece of a buffer, as the driver gives it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub address: u64,
    pub length: u32,
    pub writable: bool,
}

pub fn out(address: u64, length: u32) -> Piece {
    Piece {
        address,
        length,
        writable: false,
    }
}

pub fn into(address: u64, length: u32) -> Piece {
    Piece {
        address,
        length,
        writable: true,
    }
}

#[derive(Clone, Debug)]
pub struct DriverQueue {
    pub size: u16,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    pub available: u16,
    pub seen: u16,
    free: Vec<u16>,
    /// Descriptors of each head outstanding.
    chains: BTreeMap<u16, Vec<u16>>,
}

pub struct Rig<D = Slot> {
    pub slot: D,
    make: fn() -> D,
    pub ram: Ram,
    pub irq: IrqLines,
    clock: Clock,
    effects: Effects,
    pub queues: Vec<DriverQueue>,
    next: u64,
}

impl<D: Device> Rig<D> {
    /// A device just after reset.
    pub fn new(make: fn() -> D) -> Rig<D> {
        Rig {
            slot: make(),
            make,
            ram: Ram::new(MEMORY).unwrap(),
            irq: IrqLines::default(),
            clock: Clock::default(),
            effects: Effects::new(),
            queues: Vec::new(),
            next: BASE + 0x1000,
        }
    }

    /// A device with a driver that accepted everything, and queues of the largest size.
    pub fn started(make: fn() -> D) -> Rig<D> {
        Rig::started_with(make, u64::MAX, u16::MAX)
    }

    /// A device with a driver that accepted `features` of those offered, and queues of at most `size`.
    pub fn started_with(make: fn() -> D, features: u64, size: u16) -> Rig<D> {
        let mut rig = Rig::new(make);
        rig.start(features, size);
        rig
    }

    /// A driver's way to DRIVER_OK (VIRTIO 3.1.1).
    pub fn start(&mut self, features: u64, size: u16) {
        self.negotiate(features);
        self.start_queues(size);
        let ready = if self.is_legacy() {
            status::LEGACY_DRIVER_OK
        } else {
            status::DRIVER_OK
        };
        self.write(register::STATUS, ready);
        assert_eq!(self.read(register::STATUS), ready);
    }

    /// Sets up every queue that the device has, of at most `size`.
    pub fn start_queues(&mut self, size: u16) {
        self.queues.clear();
        for index in 0.. {
            self.write(register::QUEUE_SELECT, index);
            let max = self.read(register::QUEUE_SIZE_MAX) as u16;
            if max == 0 {
                break;
            }
            if self.is_legacy() {
                self.start_legacy_queue(size.min(max));
            } else {
                self.start_queue(size.min(max));
            }
        }
    }

    pub fn negotiate(&mut self, features: u64) {
        self.write(register::STATUS, status::RESET);
        self.write(register::STATUS, status::ACKNOWLEDGE);
        self.write(register::STATUS, status::DRIVER);
        let accepted = self.offered() & features;
        self.write(register::DRIVER_FEATURES_SELECT, 0);
        self.write(register::DRIVER_FEATURES, accepted as u32);
        if self.is_legacy() {
            return;
        }
        self.write(register::DRIVER_FEATURES_SELECT, 1);
        self.write(register::DRIVER_FEATURES, (accepted >> 32) as u32);
        self.write(register::STATUS, status::FEATURES_OK);
        assert_eq!(self.read(register::STATUS), status::FEATURES_OK);
    }

    pub fn offered(&mut self) -> u64 {
        self.write(register::DEVICE_FEATURES_SELECT, 0);
        let low = self.read(register::DEVICE_FEATURES);
        self.write(register::DEVICE_FEATURES_SELECT, 1);
        u64::from(low) | u64::from(self.read(register::DEVICE_FEATURES)) << 32
    }

    fn start_queue(&mut self, size: u16) {
        self.start_queue_at(size, [0; 3]);
    }

    /// Is the device driven by the registers of version 1?
    pub fn is_legacy(&mut self) -> bool {
        self.read(register::VERSION) == 1
    }

    /// Sets up the selected queue of a legacy device, its areas behind each other from a page on.
    fn start_legacy_queue(&mut self, size: u16) {
        const PAGE: u64 = 4096;
        self.next = self.next.next_multiple_of(PAGE);
        let length = u64::from(size);
        let before_used = (length * 16 + length * 2 + 6).next_multiple_of(PAGE);
        let descriptors = self.zeroed(before_used + length * 8 + 6);
        self.queues.push(DriverQueue {
            size,
            descriptors,
            driver: descriptors + length * 16,
            device: descriptors + before_used,
            available: 0,
            seen: 0,
            free: (0..size).rev().collect(),
            chains: BTreeMap::new(),
        });
        self.write(register::GUEST_PAGE_SIZE, PAGE as u32);
        self.write(register::QUEUE_SIZE, u32::from(size));
        self.write(register::QUEUE_PAGE, (descriptors / PAGE) as u32);
        assert_eq!(u64::from(self.read(register::QUEUE_PAGE)), descriptors / PAGE);
    }

    /// Sets up the selected queue, its three areas so many bytes behind an address that is a multiple of 16.
    pub fn start_queue_at(&mut self, size: u16, [descriptors, driver, device]: [u64; 3]) {
        let length = u64::from(size);
        let queue = DriverQueue {
            size,
            descriptors: self.zeroed(descriptors + length * 16) + descriptors,
            driver: self.zeroed(driver + length * 2 + 6) + driver,
            device: self.zeroed(device + length * 8 + 6) + device,
            available: 0,
            seen: 0,
            free: (0..size).rev().collect(),
            chains: BTreeMap::new(),
        };
        self.write(register::QUEUE_SIZE, u32::from(size));
        let areas = [
            (register::QUEUE_DESCRIPTORS_LOW, queue.descriptors),
            (register::QUEUE_DRIVER_LOW, queue.driver),
            (register::QUEUE_DEVICE_LOW, queue.device),
        ];
        for (register, address) in areas {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(register::QUEUE_READY, 1);
        assert_eq!(self.read(register::QUEUE_READY), 1);
        self.queues.push(queue);
    }

    /// Fresh guest memory.
    pub fn alloc(&mut self, length: u64) -> u64 {
        let address = self.next;
        self.next = (address + length + 15) & !15;
        assert!(self.next <= BASE + MEMORY, "the test needs more memory");
        address
    }

    fn zeroed(&mut self, length: u64) -> u64 {
        let address = self.alloc(length);
        self.poke(address, &vec![0; length as usize]);
        address
    }

    /// Fresh guest memory with this content.
    pub fn place(&mut self, bytes: &[u8]) -> u64 {
        let address = self.alloc(bytes.len() as u64);
        self.poke(address, bytes);
        address
    }

    pub fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.ram.write(address, bytes).unwrap();
    }

    pub fn peek(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram.read(address, &mut bytes).unwrap();
        bytes
    }

    pub fn peek_u16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.peek(address, 2).try_into().unwrap())
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut D, &mut Reach<'_>) -> T) -> T {
        let mut reach = Reach {
            now: Step(1),
            clock: &self.clock,
            ram: &mut self.ram,
            irq: &mut self.irq,
            effects: &mut self.effects,
        };
        act(&mut self.slot, &mut reach)
    }

    pub fn read(&mut self, offset: u64) -> u32 {
        self.with(|slot, reach| slot.read(offset, Width::Word, reach))
            .unwrap() as u32
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        assert!(self.with(|slot, reach| slot.write(offset, Width::Word, u64::from(value), reach)));
    }

    /// Writes one raw descriptor.
    pub fn describe(&mut self, table: u64, index: u16, (address, length, flags, next): (u64, u32, u16, u16)) {
        let at = table + u64::from(index) * 16;
        self.poke(at, &address.to_le_bytes());
        self.poke(at + 8, &length.to_le_bytes());
        self.poke(at + 12, &flags.to_le_bytes());
        self.poke(at + 14, &next.to_le_bytes());
    }

    fn describe_chain(&mut self, table: u64, indices: &[u16], pieces: &[Piece]) {
        for (i, piece) in pieces.iter().enumerate() {
            let write = if piece.writable { 2 } else { 0 };
            let (flags, next) = match indices.get(i + 1) {
                Some(&next) => (write | 1, next),
                None => (write, 0),
            };
            self.describe(table, indices[i], (piece.address, piece.length, flags, next));
        }
    }

    /// Makes a buffer available without notifying; returns its head.
    pub fn offer(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let ring = &mut self.queues[queue];
        let indices: Vec<u16> = (0..pieces.len()).map(|_| ring.free.pop().unwrap()).collect();
        let (table, head) = (ring.descriptors, indices[0]);
        self.describe_chain(table, &indices, pieces);
        self.queues[queue].chains.insert(head, indices);
        self.offer_head(queue, head);
        head
    }

    /// The same through an indirect table.
    pub fn offer_indirect(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let table = self.alloc(pieces.len() as u64 * 16);
        let indices: Vec<u16> = (0..pieces.len() as u16).collect();
        self.describe_chain(table, &indices, pieces);
        let ring = &mut self.queues[queue];
        let head = ring.free.pop().unwrap();
        ring.chains.insert(head, vec![head]);
        let descriptors = ring.descriptors;
        self.describe(descriptors, head, (table, pieces.len() as u32 * 16, 4, 0));
        self.offer_head(queue, head);
        head
    }

    /// Puts a head into the available ring.
    pub fn offer_head(&mut self, queue: usize, head: u16) {
        let ring = &mut self.queues[queue];
        let place = ring.driver + 4 + u64::from(ring.available % ring.size) * 2;
        ring.available = ring.available.wrapping_add(1);
        let (index_at, index) = (ring.driver + 2, ring.available);
        self.poke(place, &head.to_le_bytes());
        self.poke(index_at, &index.to_le_bytes());
    }

    pub fn notify(&mut self, queue: usize) {
        self.write(register::QUEUE_NOTIFY, queue as u32);
    }

    /// Buffers given back since the last call: head and length.
    pub fn used(&mut self, queue: usize) -> Vec<(u16, u32)> {
        let ring = self.queues[queue].clone();
        let index = self.peek_u16(ring.device + 2);
        let mut list = Vec::new();
        let mut seen = ring.seen;
        while seen != index {
            let element = self.peek(ring.device + 4 + u64::from(seen % ring.size) * 8, 8);
            let head = u32::from_le_bytes(element[..4].try_into().unwrap()) as u16;
            let length = u32::from_le_bytes(element[4..].try_into().unwrap());
            let ring = &mut self.queues[queue];
            let indices = ring.chains.remove(&head).expect("a head that is not outstanding");
            ring.free.extend(indices.iter().rev());
            list.push((head, length));
            seen = seen.wrapping_add(1);
        }
        self.queues[queue].seen = seen;
        list
    }

    pub fn set_used_event(&mut self, queue: usize, event: u16) {
        let ring = &self.queues[queue];
        let at = ring.driver + 4 + u64::from(ring.size) * 2;
        self.poke(at, &event.to_le_bytes());
    }

    pub fn avail_event(&self, queue: usize) -> u16 {
        let ring = &self.queues[queue];
        self.peek_u16(ring.device + 4 + u64::from(ring.size) * 8)
    }

    /// Reads and acknowledges the interrupt, and checks the line before and after.
    pub fn take_interrupt(&mut self) -> u32 {
        let cause = self.read(register::INTERRUPT_STATUS);
        assert_eq!(self.is_high(Line::Virtio(SLOT)), cause != 0);
        self.write(register::INTERRUPT_ACKNOWLEDGE, cause);
        assert!(!self.is_high(Line::Virtio(SLOT)));
        assert_eq!(self.read(register::INTERRUPT_STATUS), 0);
        cause
    }

    fn is_high(&self, line: Line) -> bool {
        self.irq.0 >> line.source() & 1 != 0
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.effects.drain(..).collect()
    }

    pub fn needs_reset(&mut self) -> bool {
        self.read(register::STATUS) & NEEDS_RESET != 0
    }

    /// Everything the guest can ever see of it, and what is on its way out.
    pub fn state(&mut self) -> (Vec<Field>, u64, Vec<Effect>, Vec<u8>) {
        let fields = state::save(&mut self.slot);
        let effects = self.effects.iter().cloned().collect();
        (fields, self.irq.0, effects, self.peek(BASE, MEMORY as usize))
    }

    /// A second machine with the same state, by save and restore.
    pub fn fork(&mut self) -> Rig<D> {
        let mut fork = Rig::new(self.make);
        state::restore(&mut fork.slot, state::save(&mut self.slot)).unwrap();
        let memory = self.peek(BASE, MEMORY as usize);
        fork.poke(BASE, &memory);
        fork.irq = self.irq;
        fork.effects = self.effects.clone();
        fork.queues = self.queues.clone();
        fork.next = self.next;
        fork
    }
}

/// Without event index and indirect tables: the plainest driver.
pub const PLAIN: u64 = !(EVENT_IDX | INDIRECT_DESC);
