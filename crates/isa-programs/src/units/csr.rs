//! CSR instructions: every number is read; what may be written is what cannot take the program out of the
//! runtime's hands.
//!
//! Values and numbers for which QEMU does not do as the manual says are left out (docs/isa-differences.md).

use super::Builder;
use crate::{
    encode::{csr, csrw, number},
    protection::{CHANGEABLE, Protection},
    space::Mode,
    values,
};

const FS: u64 = 3 << 13;
/// The interrupts of M-mode and S-mode in `mie`, `mip` and `mideleg`.
const INTERRUPTS: u64 = 0xaaa;
/// The interrupts that software can make pending.
const SOFTWARE: u64 = 1 << 1 | 1 << 5 | 1 << 9;
/// UXL and SXL, which QEMU lets a program set to 32 bits.
const WIDTHS: u64 = 15 << 32;
/// What a write to `mstatus` must leave alone: MPP and MPRV say whose memory M-mode accesses.
const MSTATUS_KEPT: u64 = 3 << 11 | 1 << 17 | WIDTHS;
/// CBCFE and CBZE in `menvcfg` and `senvcfg`.
const BLOCKS: u64 = 3 << 6;
/// Exceptions that may go to S-mode: not its own `ecall`s, by which the stub reaches M-mode, nor failed
/// fetches, which would never leave an S-mode whose `stvec` points nowhere.
pub const DELEGABLE: u64 = 0xb3ff & !(1 << 9) & !FETCH_FAULTS;
/// Instruction access and page faults.
pub const FETCH_FAULTS: u64 = 1 << 1 | 1 << 12;

impl Builder<'_> {
    pub(super) fn csr(&mut self) {
        match (self.random.below(10), self.setting.home) {
            (0..=3, _) => self.float_csr(),
            (4, _) => self.any_csr(),
            (5, _) => self.counter(),
            (_, Mode::User) => self.float_csr(),
            (_, Mode::Supervisor) => self.supervisor_csr(),
            (_, Mode::Machine) => self.machine_csr(),
        }
    }

    /// `fflags`, `frm`, `fcsr`, in all forms.
    fn float_csr(&mut self) {
        let number = 1 + self.random.field(3);
        let rd = self.destination();
        let form = self.random.pick(&[1, 2, 3, 5, 6, 7]);
        self.code.unit(12);
        if form == 2 || form == 3 {
            // With a register that is zero QEMU does not write, and FS stays as it is.
            self.make_float_dirty();
        }
        // A reserved dynamic mode makes most of the rest of the program illegal: not for long.
        let value = self.random.register();
        let number = if number == 2 && form < 5 && self.random.percent(70) {
            1
        } else {
            number
        };
        self.code.word(csr(form, rd, number, value));
        if number > 1 && self.random.percent(80) {
            let mode = self.random.field(5);
            self.code.word(csr(5, 0, 2, mode));
        }
    }

    /// A counter: its value only if it stands still, else whether it may be read.
    fn counter(&mut self) {
        let number = self.random.pick(&[
            number::CYCLE,
            number::TIME,
            number::INSTRET,
            number::MCYCLE,
            number::MINSTRET,
        ]);
        let may_look = self.setting.inhibited && number != number::TIME;
        let rd = if may_look { self.destination() } else { 0 };
        let writes = may_look && self.random.percent(40);
        self.code.unit(4);
        if writes {
            let (form, rs1) = (self.random.pick(&[1, 2, 3, 5, 6, 7]), self.random.register());
            self.code.word(csr(form, rd, number, rs1));
        } else {
            self.code
                .word(csr(self.random.pick(&[2, 3, 6, 7]), rd, number, 0));
        }
    }

    /// Any number: mostly illegal. In M-mode only reads.
    fn any_csr(&mut self) {
        loop {
            let number = match self.random.below(3) {
                0 => self.random.field(4096),
                1 => self.random.pick(&[0x100, 0x300, 0xc00, 0xb00, 0x200]) | self.random.field(0x60),
                _ => self.random.pick(&[0x140, 0x340, 0x3a0, 0x180, 0xf10, 0x7a0]) | self.random.field(16),
            };
            let form = self.random.pick(&[1, 2, 3, 5, 6, 7]);
            let mut rs1 = self.random.register();
            let form = if self.setting.home == Mode::Machine {
                rs1 = 0;
                form | 2
            } else {
                form
            };
            let reads_only = form & 2 != 0 && rs1 == 0;
            if self.csr_is_sound(number, reads_only) {
                let rd = self.destination();
                self.code.unit(4);
                self.code.word(csr(form, rd, number, rs1));
                return;
            }
        }
    }

    /// May a CSR be accessed with any value?
    pub(super) fn csr_is_sound(&self, number: u32, reads_only: bool) -> bool {
        let machine = self.setting.home == Mode::Machine;
        match number {
            // The float CSRs have their own units.
            1..=3 => reads_only,
            // The counters change with time, and not everywhere in the same way.
            number::CYCLE..=number::INSTRET => !self.setting.counters && !machine,
            number::MCYCLE | number::MINSTRET => !machine,
            // These name the implementation.
            number::MVENDORID..=number::MIMPID => !machine,
            // Address space and vector are changed by units of their own.
            number::STVEC => reads_only || self.setting.stvec,
            number::SATP => reads_only,
            // UXL is writable in QEMU.
            number::SSTATUS => reads_only,
            // WARL fields: what QEMU takes there and we do not (docs/isa-differences.md).
            number::SENVCFG | number::SCOUNTEREN => reads_only,
            // QEMU 10 does not show STIP while `stimecmp` drives it.
            number::SIP => !self.setting.timer,
            // `stimecmp` is 0 or never, or the time would be seen.
            number::STIMECMP => reads_only,
            // QEMU keeps bit 0.
            number::SEPC | number::MEPC => reads_only,
            _ => true,
        }
    }

    /// Accesses one of several CSRs with a value.
    fn operand(&mut self, value: u64, numbers: &[u32], forms: &[u32]) {
        let number = self.random.pick(numbers);
        let register = self.scratch();
        let rd = self.destination();
        let form = self.random.pick(forms);
        self.load_constant(register, value);
        self.code.word(csr(form, rd, number, register));
    }

    fn supervisor_csr(&mut self) {
        self.code.unit(40);
        let value = values::integer(self.random);
        match self.random.below(10) {
            0..=2 => {
                let bits = self.random.next() & !WIDTHS;
                let forms = self.random.pick(&[(2, 0), (3, FS), (1, 0)]);
                let keep = if forms.0 == 1 {
                    self.random.pick(&[FS, 1 << 13, 2 << 13])
                } else {
                    0
                };
                self.operand(bits & !forms.1 | keep, &[number::SSTATUS], &[forms.0]);
            }
            3 => self.operand(
                value & !1,
                &[number::SSCRATCH, number::SEPC, number::SCAUSE, number::STVAL],
                &[1, 2, 3],
            ),
            4 => self.operand(value | self.setting.interrupt, &[number::SIE], &[1, 2, 3]),
            5 if !self.setting.timer => {
                let others = SOFTWARE & !self.setting.interrupt;
                self.operand(value & !others, &[number::SIP], &[1, 2, 3]);
            }
            6 if self.setting.sstc || self.setting.home != Mode::Machine => {
                let time = if self.setting.timer {
                    self.random.pick(&[0, u64::MAX])
                } else {
                    u64::MAX
                };
                self.operand(time, &[number::STIMECMP], &[1]);
            }
            // The same address space with another ASID: nothing may change.
            7 => {
                let asid = self.random.below(1 << 16) << 44;
                let satp = if self.space.levels == 0 {
                    self.space.satp & !(15 << 60)
                } else {
                    self.space.satp
                };
                self.operand(satp & !(0xffff << 44) | asid, &[number::SATP], &[1]);
            }
            8 => {
                let bits = value & (1 | BLOCKS) | self.random_invalidate();
                self.operand(bits, &[number::SENVCFG], &[2, 3]);
            }
            // A mode that does not exist: no effect.
            _ => {
                let mode = self.random.pick(&[1, 5, 7, 11, 15]) << 60;
                self.operand(self.space.satp & !(15 << 60) | mode, &[number::SATP], &[1]);
            }
        }
    }

    /// Bits of CBIE to set or clear: never so that the reserved value comes about, which QEMU takes.
    fn random_invalidate(&mut self) -> u64 {
        self.random.pick(&[0, 0, 0x30])
    }

    fn machine_csr(&mut self) {
        self.code.unit(44);
        let value = values::integer(self.random);
        match self.random.below(12) {
            0..=2 => self.machine_status(),
            3 => self.machine_scratch(),
            4 => self.operand(
                value & !1,
                &[number::MEPC, number::MCAUSE, number::MTVAL],
                &[1, 2, 3],
            ),
            5 => self.operand(value & DELEGABLE, &[number::MEDELEG], &[1, 2, 3]),
            6 => {
                let others = SOFTWARE & !self.setting.interrupt;
                // The interrupts of the hypervisor extension are always there in QEMU.
                self.operand(
                    value & INTERRUPTS & !others,
                    &[number::MIDELEG, number::MIE, number::MIP],
                    &[1, 2, 3],
                );
            }
            7 => {
                let bits = value & (1 | 1 << 61 | BLOCKS) | self.random_invalidate();
                self.operand(bits, &[number::MENVCFG], &[2, 3]);
            }
            8 if self.setting.holes => self.protection(),
            9 => self.operand(value, &[number::MISA], &[1, 2, 3]),
            _ => self.supervisor_csr(),
        }
    }

    fn machine_status(&mut self) {
        let bits = self.random.next() & !MSTATUS_KEPT;
        let form = self.random.pick(&[2, 3]);
        let bits = if form == 3 { bits & !FS } else { bits };
        self.operand(bits, &[number::MSTATUS], &[form]);
        if !self.setting.physical {
            // MPRV is set: loads and stores are S-mode's or U-mode's.
            let register = self.scratch();
            self.load_constant(register, 3 << 11);
            self.code.word(csr(3, 0, number::MSTATUS, register));
            // U, S, or the reserved encoding, which is not taken.
            let mode = self.random.pick(&[0, 1 << 11, 1 << 11, 2 << 11]);
            self.load_constant(register, mode);
            self.code.word(csr(2, 0, number::MSTATUS, register));
        }
    }

    /// `mscratch` holds the runtime's address: it is put back.
    fn machine_scratch(&mut self) {
        let (saved, other) = self.two_scratches();
        let form = self.random.pick(&[2, 3, 5, 6, 7]);
        let value = self.random.register();
        self.code.word(csr(1, saved, number::MSCRATCH, value));
        self.code.word(csr(form, other, number::MSCRATCH, value));
        self.code.word(csr(1, other, number::MSCRATCH, saved));
    }

    /// Another random PMP entry.
    fn protection(&mut self) {
        let protection = Protection::new(self.random);
        let entry = self.random.below(CHANGEABLE as u64) as usize;
        let register = self.scratch();
        if self.random.percent(60) {
            self.load_constant(register, protection.address[entry]);
            self.code.word(csrw(number::PMPADDR0 + entry as u32, register));
        } else {
            self.operand(protection.register(0), &[number::PMPCFG0], &[1]);
        }
    }
}
