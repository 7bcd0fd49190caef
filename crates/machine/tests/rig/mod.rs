//! What device tests share: a device with everything around it, and reproducible random numbers.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod asm;
pub mod cloner;
pub mod guest;

use hart::{Ram, Width};
use machine::{
    Clock, Effect, Step,
    parts::{Device, Effects, IrqLines, Line, Reach},
};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn width(&mut self) -> Width {
        [Width::Byte, Width::Half, Width::Word, Width::Double][self.below(4) as usize]
    }
}

/// The world around one device.
pub struct Rig {
    pub now: Step,
    pub clock: Clock,
    pub ram: Ram,
    pub irq: IrqLines,
    pub effects: Effects,
}

impl Rig {
    pub fn new() -> Rig {
        let mut clock = Clock::default();
        clock.set(Step(0), 0, 1 << 31); // A tick every two steps.
        Rig {
            now: Step(0),
            clock,
            ram: Ram::new(1 << 20).unwrap(),
            irq: IrqLines::default(),
            effects: Effects::new(),
        }
    }

    pub fn reach(&mut self) -> Reach<'_> {
        Reach {
            now: self.now,
            clock: &self.clock,
            ram: &mut self.ram,
            irq: &mut self.irq,
            effects: &mut self.effects,
        }
    }

    pub fn read(&mut self, device: &mut dyn Device, offset: u64) -> u8 {
        device.read(offset, Width::Byte, &mut self.reach()).unwrap() as u8
    }

    pub fn write(&mut self, device: &mut dyn Device, offset: u64, value: u8) {
        assert!(device.write(offset, Width::Byte, u64::from(value), &mut self.reach()));
    }

    pub fn read_word(&mut self, device: &mut dyn Device, offset: u64) -> u32 {
        device.read(offset, Width::Word, &mut self.reach()).unwrap() as u32
    }

    pub fn write_word(&mut self, device: &mut dyn Device, offset: u64, value: u32) {
        assert!(device.write(offset, Width::Word, u64::from(value), &mut self.reach()));
    }

    /// Wakes the device if it is due, as the board does.
    pub fn wake(&mut self, device: &mut dyn Device) {
        let time = self.clock.at(self.now);
        if device.deadline().is_some_and(|deadline| deadline <= time) {
            device.wake(&mut self.reach());
        }
    }

    pub fn pass(&mut self, device: &mut dyn Device, ticks: u64) {
        self.now = self.now.after(2 * ticks);
        self.wake(device);
    }

    /// Does the device drive this line high?
    pub fn is_high(&self, line: Line) -> bool {
        self.irq.0 >> line.source() & 1 != 0
    }

    pub fn console(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for effect in self.effects.drain(..) {
            if let Effect::ConsoleWrite { port: 0, bytes } = effect {
                all.extend(bytes);
            }
        }
        all
    }
}
