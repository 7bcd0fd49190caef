//! Small guests and the machines that run them.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::{Arc, atomic::AtomicBool};

use hart::{Interpreter, InterpreterOptions, Translate};
use machine::{
    Boot, Config, DiskConfig, DiskOperation, DiskRequest, DiskStatus, Effect, Input, Machine, PowerState,
    Step, Stop, limits::FROZEN_RESERVE,
};

use super::asm::*;

/// mtime moves a tick every ten steps.
pub const RATE: u32 = u32::MAX / 10;

pub fn config(harts: usize, program: Vec<u8>) -> Config {
    Config {
        memory: 4 << 20,
        harts,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [3; 32],
        wall_clock_ns: 1_700_000_000_000_000_000,
        boot: Boot {
            firmware: Arc::from(program),
            ..Boot::default()
        },
    }
}

pub fn machine(harts: usize, program: Vec<u8>) -> Machine {
    zealous(harts, program, None)
}

pub fn zealous(harts: usize, program: Vec<u8>, zeal: Option<u64>) -> Machine {
    Machine::new(config(harts, program), engine(zeal)).unwrap()
}

pub fn engine(zeal: Option<u64>) -> Box<Interpreter> {
    Box::new(Interpreter::new(InterpreterOptions {
        zeal,
        translate: Translate::Always,
        ..InterpreterOptions::default()
    }))
}

/// Physical address of shared words, in the second MiB of RAM.
pub const SHARED: u32 = 0x8010_0000;

/// `rd = base`, for an address above 2 GiB: `lui` would sign-extend.
fn address(asm: &mut Asm, rd: u32, base: u32) {
    asm.li(rd, base >> 4);
    asm.slli(rd, rd, 4);
}

/// Sends each byte back that it gets over the UART; after [`LAST`] it switches itself off. It computes for a
/// while per byte and has no FIFOs, so that it is slower than whoever types.
pub fn echoing() -> Vec<u8> {
    let mut asm = Asm::default();
    asm.li(S0, 0x1000_0000); // UART
    asm.li(S1, 0x10_0000); // The test device, which switches off.
    asm.label("wait");
    asm.lbu(T0, S0, 5);
    asm.andi(T2, T0, 0x10);
    asm.andi(T0, T0, 1);
    asm.beqz(T0, "wait");
    asm.lbu(T1, S0, 0);
    asm.add(T1, T1, T2); // A break is a zero, and comes back as 0x10.
    asm.sb(T1, S0, 0);
    asm.addi(T0, ZERO, 20);
    asm.label("compute");
    asm.addi(T0, T0, -1);
    asm.bnez(T0, "compute");
    asm.xori(T1, T1, i32::from(LAST));
    asm.bnez(T1, "wait");
    asm.li(T0, 0x5555);
    asm.sw(T0, S1, 0);
    asm.j("wait");
    asm.finish()
}

/// The byte after which [`echoing`] ends.
pub const LAST: u8 = b'!';

/// Each hart counts in shared memory, with an AMO and with LR/SC; every 64 rounds it sets its timer, wakes
/// its neighbour, prints a letter and waits. With two harts or more the turns end in all ways they can.
pub fn counting(harts: u32) -> Vec<u8> {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    asm.li(S1, 0x200_0000); // CLINT
    asm.li(A1, 0x1000_0000); // UART
    asm.addi(T0, ZERO, 0x88);
    asm.csrw(MIE, T0);
    asm.slli(A2, A0, 2);
    asm.add(A2, A2, S1); // own msip
    asm.slli(A3, A0, 3);
    asm.add(A3, A3, S1);
    asm.li(T0, 0x4000);
    asm.add(A3, A3, T0); // own mtimecmp
    asm.li(T0, 0xc000);
    asm.add(A4, S1, T0); // mtime + 8
    asm.addi(A5, ZERO, 0); // rounds
    asm.label("round");
    asm.addi(T0, ZERO, 1);
    asm.amoadd_d(ZERO, T0, S0);
    asm.addi(T1, S0, 64);
    asm.label("again");
    asm.lr_d(T0, T1);
    asm.addi(T0, T0, 1);
    asm.sc_d(T2, T0, T1);
    asm.bnez(T2, "again");
    asm.addi(A5, A5, 1);
    asm.andi(T0, A5, 63);
    asm.bnez(T0, "round");
    asm.ld(T0, A4, -8);
    asm.addi(T0, T0, 500);
    asm.sd(T0, A3, 0);
    if harts > 1 {
        asm.addi(T0, A0, 1);
        asm.andi(T0, T0, (harts - 1) as i32);
        asm.slli(T0, T0, 2);
        asm.add(T0, T0, S1);
        asm.addi(T1, ZERO, 1);
        asm.sw(T1, T0, 0);
    }
    asm.addi(T0, A0, i32::from(b'a'));
    asm.sb(T0, A1, 0);
    asm.wfi();
    asm.sw(ZERO, A2, 0);
    asm.j("round");
    asm.finish()
}

/// Bytes between two stores of [`sweeping`]: not a page, so that all parts of pages are written in time.
const STRIDE: i32 = 0x7f8;

/// Each hart stores an ever growing number from the third MiB of RAM on, in big steps, as far as 28 MiB, and
/// begins anew: nearly every store goes to a page that was not written lately.
pub fn sweeping() -> Vec<u8> {
    let mut asm = Asm::default();
    asm.slli(A5, A0, 3);
    asm.label("sweep");
    address(&mut asm, S0, SHARED + 0x10_0000);
    asm.add(S0, S0, A5);
    asm.li(T1, 26 << 20);
    asm.add(S1, S0, T1);
    asm.label("store");
    asm.addi(A4, A4, 1);
    asm.sd(A4, S0, 0);
    asm.addi(S0, S0, STRIDE);
    asm.srli(T0, S1, 11);
    asm.srli(T1, S0, 11);
    asm.sub(T0, T0, T1);
    asm.bnez(T0, "store");
    asm.j("sweep");
    asm.finish()
}

/// The machine of a guest whose disk writes much into RAM. Hart 0 has it read 64 KiB again and again, to
/// sixteen places in turn that do not begin with a page, counts in shared memory until that is done, and adds
/// a doubleword of what came to a sum there. The other harts count there too, and write to 64 KiB of their
/// own each.
pub fn reading(harts: usize) -> Config {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    asm.addi(T2, ZERO, 1);
    asm.bnez(A0, "other hart");
    asm.li(S1, 0x1000_1000); // the disk
    for (register, value) in [(0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x38, 4)] {
        asm.addi(T0, ZERO, value);
        asm.sw(T0, S1, register);
    }
    // Descriptors, what is available, what is used.
    for (area, at, register) in [(A2, 0x1000, 0x80), (A0, 0x2000, 0x90), (A1, 0x3000, 0xa0)] {
        address(&mut asm, area, SHARED + at);
        asm.sw(area, S1, register);
    }
    asm.sw(ZERO, A1, 0);
    asm.sw(T2, S1, 0x44);
    asm.addi(T0, ZERO, 15);
    asm.sw(T0, S1, 0x70);
    // The request's header, its data, its status.
    let pieces = [(0x100, 16, 0x1_0001), (0, 0x1_0000, 0x2_0003), (0x200, 1, 2)];
    for (number, (at, length, next_and_flags)) in (0..).zip(pieces) {
        asm.addi(T0, S0, at);
        asm.sd(T0, A2, number * 16);
        asm.li(T0, length);
        asm.sw(T0, A2, number * 16 + 8);
        asm.li(T0, next_and_flags);
        asm.sw(T0, A2, number * 16 + 12);
    }
    asm.label("request");
    asm.andi(T0, A5, 63);
    asm.sd(T0, S0, 0x108);
    asm.andi(T0, A5, 15);
    asm.slli(T1, T0, 17);
    asm.slli(T0, T0, 13);
    asm.sub(T1, T1, T0);
    address(&mut asm, A4, SHARED + 0x10_0120);
    asm.add(A4, A4, T1);
    asm.sd(A4, A2, 16);
    asm.addi(A5, A5, 1);
    asm.slli(T0, A5, 16);
    asm.sw(T0, A0, 0);
    asm.sw(ZERO, S1, 0x50);
    asm.label("wait");
    asm.amoadd_d(ZERO, T2, S0);
    asm.lw(T0, A1, 0);
    asm.srli(T0, T0, 16);
    asm.sub(T0, T0, A5);
    asm.bnez(T0, "wait");
    asm.ld(T0, A4, 0x400);
    asm.ld(T1, S0, 8);
    asm.add(T0, T0, T1);
    asm.sd(T0, S0, 8);
    asm.j("request");
    asm.label("other hart");
    asm.slli(A2, A0, 16);
    asm.add(A2, A2, S0);
    asm.label("count");
    asm.amoadd_d(ZERO, T2, S0);
    asm.andi(T0, A5, 63);
    asm.slli(T0, T0, 10);
    asm.add(T0, T0, A2);
    asm.sd(A5, T0, 0);
    asm.addi(A5, A5, 1);
    asm.j("count");
    let mut config = config(harts, asm.finish());
    config.disks.push(DiskConfig {
        sectors: 256,
        read_only: true,
        serial: String::from("read"),
    });
    config
}

/// Each hart spins and is interrupted by its timer every 100 ticks, which its handler counts and, when the
/// count of hart 0 reaches `last`, hart 0 does what `then` says.
pub fn interrupted(last: u32, then: impl FnOnce(&mut Asm)) -> Vec<u8> {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    asm.slli(T0, A0, 7);
    asm.add(S0, S0, T0); // own words
    asm.li(S1, 0x200_4000);
    asm.slli(T0, A0, 3);
    asm.add(S1, S1, T0); // own mtimecmp
    asm.la(T0, "handler");
    asm.csrw(MTVEC, T0);
    asm.addi(T0, ZERO, 0x80);
    asm.csrw(MIE, T0);
    asm.sd(ZERO, S1, 0);
    asm.addi(T0, ZERO, 8);
    asm.csrs(MSTATUS, T0);
    asm.label("spin");
    asm.addi(A5, A5, 1);
    asm.sd(A5, S0, 8);
    asm.j("spin");
    asm.label("handler");
    asm.ld(T0, S0, 0);
    asm.addi(T0, T0, 1);
    asm.sd(T0, S0, 0);
    asm.sd(A5, S0, 16);
    asm.csrr(T1, TIME);
    asm.addi(T1, T1, 100);
    asm.sd(T1, S1, 0);
    asm.bnez(A0, "back");
    asm.addi(T0, T0, -(last as i32));
    asm.beqz(T0, "then");
    asm.label("back");
    asm.mret();
    asm.label("then");
    then(&mut asm);
    asm.label("stay");
    asm.j("stay");
    asm.finish()
}

/// A kernel in supervisor mode, whose timer is due when `mtime` is 1,000. It spins with interrupts on if
/// `is_on`, and then its handler sets the timer 1,000 ticks ahead. `wants` is its `mie`. Without Sstc its
/// firmware has a timer of its own for that, and has passed its interrupt on.
pub fn kernel(is_on: bool, wants: i32, sstc: bool) -> Vec<u8> {
    let mut asm = Asm::default();
    asm.addi(T0, ZERO, -1);
    asm.csrw(PMPADDR0, T0);
    asm.addi(T0, ZERO, 0x1f);
    asm.csrw(PMPCFG0, T0);
    asm.addi(T0, ZERO, 2);
    asm.csrw(MCOUNTEREN, T0);
    asm.addi(T0, ZERO, 0x20);
    asm.csrw(MIDELEG, T0);
    asm.addi(T0, ZERO, wants);
    asm.csrw(MIE, T0);
    asm.addi(T1, ZERO, 1000);
    if sstc {
        asm.bit(T0, 63);
        asm.csrw(MENVCFG, T0);
        asm.csrw(STIMECMP, T1);
    } else {
        asm.li(S1, 0x200_4000);
        asm.sd(T1, S1, 0);
        asm.addi(T0, ZERO, 0x20);
        asm.csrs(MIP, T0);
    }
    asm.la(T0, "kernel");
    asm.csrw(MEPC, T0);
    asm.bit(T0, 11);
    asm.csrw(MSTATUS, T0);
    asm.mret();
    asm.label("kernel");
    asm.la(T0, "handler");
    asm.csrw(STVEC, T0);
    if is_on {
        asm.addi(T0, ZERO, 2);
        asm.csrs(SSTATUS, T0);
    }
    asm.label("spin");
    asm.j("spin");
    asm.label("handler");
    asm.csrr(T1, TIME);
    asm.addi(T1, T1, 1000);
    asm.csrw(STIMECMP, T1);
    asm.sret();
    asm.finish()
}

/// Sets `mtime` to 100 ticks before it wraps, takes the interrupt of `stimecmp` 40 ticks before the wrap,
/// waits for the wrap, takes that of `mtimecmp` 40 ticks after it, and begins again. In shared memory it
/// counts the rounds and keeps what `time` was at both interrupts, and how often it had spun.
pub fn rounds_of_time() -> Vec<u8> {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    asm.li(S1, 0x200_4000); // mtimecmp
    asm.li(A3, 0x200_bff8); // mtime
    asm.bit(T0, 63);
    asm.csrw(MENVCFG, T0); // STCE
    asm.la(T0, "handler");
    asm.csrw(MTVEC, T0);
    asm.addi(T0, ZERO, 40);
    asm.sd(T0, S1, 0);
    asm.addi(T0, ZERO, -40);
    asm.csrw(STIMECMP, T0);
    asm.addi(T0, ZERO, -100);
    asm.sd(T0, A3, 0);
    asm.addi(T0, ZERO, 0x20);
    asm.csrw(MIE, T0);
    asm.addi(T0, ZERO, 8);
    asm.csrs(MSTATUS, T0);
    asm.label("spin");
    asm.addi(A5, A5, 1);
    asm.j("spin");
    asm.label("handler");
    asm.csrr(T1, TIME);
    asm.csrr(T0, MCAUSE);
    asm.andi(T0, T0, 2);
    asm.bnez(T0, "machine timer");
    asm.sd(T1, S0, 8);
    asm.label("wrap");
    asm.csrr(T0, TIME);
    asm.srli(T0, T0, 63);
    asm.bnez(T0, "wrap");
    asm.addi(T0, ZERO, 0x80);
    asm.csrw(MIE, T0);
    asm.mret();
    asm.label("machine timer");
    asm.sd(T1, S0, 16);
    asm.sd(A5, S0, 24);
    asm.ld(T0, S0, 0);
    asm.addi(T0, T0, 1);
    asm.sd(T0, S0, 0);
    asm.addi(T0, ZERO, -100);
    asm.sd(T0, A3, 0);
    asm.addi(T0, ZERO, 0x20);
    asm.csrw(MIE, T0);
    asm.mret();
    asm.finish()
}

/// The machine of an ELF file without firmware, whose code lies at the start of RAM and whose zeroed data,
/// two pages and a byte, lie at `data`. Each boot keeps in shared memory what it finds in the data's last
/// doubleword, and then writes there.
pub fn zeroed_data(data: u32) -> Config {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    address(&mut asm, S1, data + 0x2000);
    asm.ld(T0, S1, -8);
    asm.sd(T0, S0, 0);
    asm.addi(T0, ZERO, 7);
    asm.sd(T0, S1, -8);
    asm.sd(T0, S0, 8);
    asm.label("stay");
    asm.j("stay");
    let code = asm.finish();
    let mut config = config(1, Vec::new());
    config.boot.kernel = elf(0x8000_0000, &[(0x8000_0000, &code, 0), (data, &[], 0x2001)]).into();
    config
}

/// An ELF file with segments: physical address, content, zeroed bytes behind it.
fn elf(entry: u64, segments: &[(u32, &[u8], u64)]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16..20].copy_from_slice(&[2, 0, 243, 0]);
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    (file[32], file[54], file[56]) = (64, 56, segments.len() as u8);
    let mut offset = 64 + 56 * segments.len() as u64;
    for (to, bytes, zeros) in segments {
        file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
        let (to, length) = (u64::from(*to), bytes.len() as u64);
        for field in [offset, to, to, length, length + zeros, 4096] {
            file.extend(field.to_le_bytes());
        }
        offset += length;
    }
    for (_, bytes, _) in segments {
        file.extend_from_slice(bytes);
    }
    file
}

/// Sets `mtime` far ahead, waits 500 ticks in WFI, and keeps in shared memory what `time` is then.
pub fn sleeper_far_ahead() -> Vec<u8> {
    let mut asm = Asm::default();
    address(&mut asm, S0, SHARED);
    asm.li(S1, 0x200_4000); // mtimecmp
    asm.li(A3, 0x200_bff8); // mtime
    asm.bit(T0, 40);
    asm.sd(T0, A3, 0);
    asm.addi(T0, T0, 500);
    asm.sd(T0, S1, 0);
    asm.addi(T0, ZERO, 0x80);
    asm.csrw(MIE, T0);
    asm.wfi();
    asm.csrr(T1, TIME);
    asm.sd(T1, S0, 0);
    asm.label("stay");
    asm.j("stay");
    asm.finish()
}

/// Keeps in shared memory what `time` is at its first instruction, then sets `mtime` far ahead and spins.
pub fn first_time() -> Vec<u8> {
    let mut asm = Asm::default();
    asm.csrr(T1, TIME);
    address(&mut asm, S0, SHARED);
    asm.sd(T1, S0, 0);
    asm.li(A3, 0x200_bff8); // mtime
    asm.bit(T0, 40);
    asm.sd(T0, A3, 0);
    asm.label("spin");
    asm.csrr(T1, TIME);
    asm.sd(T1, S0, 8);
    asm.j("spin");
    asm.finish()
}

/// Stores a word to the test device.
pub fn finish_with(value: u32) -> impl FnOnce(&mut Asm) {
    move |asm| {
        asm.li(T0, 0x10_0000);
        asm.li(T1, value);
        asm.sw(T1, T0, 0);
    }
}

/// A host without surprises: the clock is injected at given steps, and jumps when all harts wait. Disks
/// answer after some hundred or thousand steps, as the request's number says. It keeps what came out, with
/// the step at which it did.
pub struct Host {
    pub out: Vec<(Step, Effect)>,
    pub cut: AtomicBool,
    /// `(step, input)`, in order.
    pub inputs: Vec<(Step, Input)>,
}

impl Host {
    pub fn new() -> Host {
        Host {
            out: Vec::new(),
            cut: AtomicBool::new(false),
            inputs: Vec::new(),
        }
    }

    pub fn run(&mut self, machine: &mut Machine, until: Step) {
        loop {
            let next = self.inputs.first().map_or(until, |(at, _)| (*at).min(until));
            match machine.run(next, &self.cut) {
                Stop::Reached if machine.now() >= until => return,
                // A clone's pool has no room for what an input may write.
                Stop::Reached if machine.frozen_room() < FROZEN_RESERVE as u32 => return,
                Stop::Reached => machine.inject(self.inputs.remove(0).1),
                Stop::Effects => {
                    while let Some(effect) = machine.take_effect() {
                        if let Effect::Disk(request) = &effect {
                            self.answer(machine.now(), request);
                        }
                        self.out.push((machine.now(), effect));
                    }
                }
                Stop::Waiting { wake_at } => {
                    let mtime = wake_at.expect("a timer is set");
                    assert!(mtime > machine.mtime());
                    machine.inject(Input::Clock { mtime, rate: RATE });
                }
                Stop::Off(_) | Stop::Cut | Stop::Full => return,
            }
        }
    }

    fn answer(&mut self, now: Step, request: &DiskRequest) {
        let DiskOperation::Read { sector, bytes } = request.operation else {
            panic!("no guest of these tests writes to its disk");
        };
        let word = (sector << 32 | request.id).to_le_bytes();
        let done = Input::DiskDone {
            disk: request.disk,
            id: request.id,
            status: DiskStatus::Ok,
            data: word.into_iter().cycle().take(bytes as usize).collect(),
        };
        let at = now.after(200 + request.id * 797 % 1500);
        let place = self.inputs.partition_point(|(other, _)| *other <= at);
        self.inputs.insert(place, (at, done));
    }

    pub fn power(&self) -> Option<PowerState> {
        self.out.iter().find_map(|(_, effect)| match effect {
            Effect::PoweredOff(state) => Some(*state),
            _ => None,
        })
    }
}
