//! The workspace: the memory that generated code and its engine share.
//!
//! It holds the integer registers and, after them, the fields by which the two tell each other what they
//! need to know. An engine sets the fields before it enters generated code and whenever it has done an
//! instruction for it. Generated code reaches everything from one host register, which points to the
//! [`MIDDLE`]; it takes the distances from this type. The layout is no format: nothing outlives a run.

use std::{
    mem::offset_of,
    ops::{Index, IndexMut},
};

use super::plan::STREAMS_MAX;
use crate::{fpu::Flags, op::SINK};

/// No offset in RAM: the value of [`Workspace::reserved`] if there is no reservation.
pub const NOTHING: u64 = u64::MAX;

/// Values of the flags in the host's MXCSR.
pub const HOST_FLAGS: usize = 64;

/// The guest's flags for each of them.
const FLAGS: [u8; HOST_FLAGS] = {
    let mut flags = [0; HOST_FLAGS];
    let mut host = 0;
    while host < HOST_FLAGS {
        flags[host] = Flags::of_host(host as u32).0;
        host += 1;
    }
    flags
};

/// The host's MXCSR with no flag raised, all exceptions masked and round to nearest even: as Rust demands it
/// (Intel SDM volume 1, "MXCSR Control and Status Register").
pub const STATUS_CLEAN: u64 = 0x1f80;

/// The register that the host register points to, so that all of x0 to x31 are within reach of a displacement
/// of one byte.
const MIDDLE_REGISTER: usize = 16;

/// Where the host register points to, in bytes from the beginning of the workspace.
pub const MIDDLE: usize = offset_of!(Workspace, registers) + MIDDLE_REGISTER * size_of::<u64>();

/// The registers that an op may name: x0 to x31, and [`SINK`].
const REGISTERS: usize = SINK as usize + 1;

/// Words of a workspace: as many as an index of one byte may name. So an engine needs no check of the indices
/// in an op, though none beyond [`SINK`] is in any.
const WORDS: usize = u8::MAX as usize + 1;

/// Words behind the named fields.
const REST: usize = WORDS - REGISTERS - NAMED - STREAMS_MAX - KEPT - HOST_FLAGS / size_of::<u64>();

/// How many distances the workspace keeps that lookups for several accesses have found.
pub const KEPT: usize = 4;

/// Fields of one word.
const NAMED: usize = 30;

const _: () = assert!(size_of::<Workspace>() == WORDS * size_of::<u64>());

/// What generated code and its engine share. "Address" means one of the guest, "host address" one of the
/// host.
///
/// The registers come first, and the fields right behind them. The alignment, besides that of a line of the
/// host's cache, makes Rust put a workspace at the beginning of the struct that an engine keeps it in, so
/// that one host register leads to the guest's registers and to the engine's own fields: elsewhere the
/// interpreter is a tenth slower. With the fields 2 KiB further on, behind as many registers as a byte may
/// name, a guest that enters its kernel often was an eighth slower.
#[repr(C, align(64))]
pub struct Workspace {
    /// The integer registers x0 to x31, of which x0 is 0, and [`SINK`], which no instruction reads.
    pub registers: [u64; REGISTERS],
    /// The address of the present page. It is not known when code is made, as code is kept by physical page.
    pub page: u64,
    /// The host address of the TLB's entries for loads.
    pub data: u64,
    /// The host address of the TLB's entries for fetches.
    pub fetch: u64,
    /// The host address of the entry points of all places.
    pub entries: u64,
    /// The number of steps left. While generated code runs, it is in a host register.
    pub left: u64,
    /// The address of the next instruction, when generated code is left or is told where to go on.
    pub pc: u64,
    /// The host address of the floating-point registers.
    pub float: u64,
    /// Not 0 if `mstatus.FS` is not Off, so that the floating-point registers may be read.
    pub float_on: u64,
    /// The bit SD of `sstatus`: not 0 if `mstatus.FS` is Dirty, so that the floating-point registers may be
    /// written without notice.
    pub float_dirty: u64,
    /// Not 0 if the floating-point registers may be written and the rounding mode is RNE, so that the host
    /// may compute what is written: `float_dirty & float_mode`.
    pub float_plain: u64,
    /// All ones if the rounding mode is RNE, else 0.
    pub float_mode: u64,
    /// The host address of the CSRs.
    pub csrs: u64,
    /// Not 0 outside user mode.
    pub supervisor: u64,
    /// The bits of `sstatus` that cannot be written, without SD.
    pub status_constants: u64,
    /// Not 0 if no enabled interrupt is pending, so that none comes if `sstatus.SIE` is set.
    pub calm: u64,
    /// Not 0 if SFENCE.VMA is allowed in the present mode.
    pub fences: u64,
    /// The host address of RAM.
    pub ram: u64,
    /// The offset in RAM of the doubleword that LR reserved, or [`NOTHING`].
    pub reserved: u64,
    /// Not 0 if `cbo.zero` is allowed in the present mode.
    pub zeroes: u64,
    /// The host's stack pointer, while rsp points into the frames.
    pub host_stack: u64,
    /// The host address of the last frame, while rsp does not hold it.
    pub frames: u64,
    /// The host address where generated code goes on when the interpreter has done an instruction for it.
    pub return_to: u64,
    /// The first argument of the function that interprets: the engine.
    pub engine: u64,
    /// The host address of the function that interprets.
    pub interpret: u64,
    /// Of a loop with streams: the number of steps left at which it is time to look the streams up. It may be
    /// negative.
    pub floor: u64,
    /// Of a loop with streams, while they are looked up: for how many turns all of them stay in their pages.
    pub turns: u64,
    /// Not 0 if `float_plain` and `float_live` are not: the host may compute at once. It may be 0 though both
    /// are not.
    pub float_ready: u64,
    /// Not 0 if flags that the host's arithmetic has raised since generated code was entered are the guest's:
    /// they stand in the host's MXCSR, and go to `float_status` wherever generated code is left.
    pub float_live: u64,
    /// The host's MXCSR as generated code leaves it. Between two runs it is [`STATUS_CLEAN`], from where the
    /// host's register is cleared.
    pub float_status: u64,
    /// The host's MXCSR, where generated code looks at it and goes on.
    pub float_seen: u64,
    /// Of a loop with streams: for each what to add to its addresses to get host addresses.
    pub distances: [u64; STREAMS_MAX],
    /// What to add to guest addresses to get host addresses, as lookups for several accesses have found it. A
    /// superblock keeps here what it has no register for.
    pub kept: [u64; KEPT],
    /// The guest's floating-point flags for each value of the host's, which are the lowest bits of MXCSR. It
    /// never changes.
    pub float_flags: [u8; HOST_FLAGS],
    /// Words that nobody uses, so that every byte is the index of a word.
    rest: [u64; REST],
}

impl Workspace {
    /// A workspace with the integer registers x0 to x31, whose fields are still to be set.
    pub fn new(guest: &[u64; 32]) -> Workspace {
        let mut registers = [0; REGISTERS];
        registers[..guest.len()].copy_from_slice(guest);
        Workspace {
            registers,
            page: 0,
            data: 0,
            fetch: 0,
            entries: 0,
            left: 0,
            pc: 0,
            float: 0,
            float_on: 0,
            float_dirty: 0,
            float_plain: 0,
            float_mode: 0,
            csrs: 0,
            supervisor: 0,
            status_constants: 0,
            calm: 0,
            fences: 0,
            ram: 0,
            reserved: NOTHING,
            zeroes: 0,
            host_stack: 0,
            frames: 0,
            return_to: 0,
            engine: 0,
            interpret: 0,
            floor: 0,
            turns: 0,
            float_ready: 0,
            float_live: 0,
            float_status: STATUS_CLEAN,
            float_seen: 0,
            distances: [0; STREAMS_MAX],
            kept: [0; KEPT],
            float_flags: FLAGS,
            rest: [0; REST],
        }
    }
}

impl Workspace {
    /// The integer registers x0 to x31.
    pub fn guest(&self) -> [u64; 32] {
        std::array::from_fn(|register| self.registers[register])
    }
}

/// How generated code goes on when the interpreter has done an instruction for it, as the number that the
/// code is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It does not go on; [`Workspace::pc`] and [`Workspace::left`] are set.
    Leave = 0,
    /// It goes on with the next instruction. Not allowed after an instruction that [`ends`](super::ends) a
    /// superblock.
    Next = 1,
    /// It goes on at [`Workspace::pc`]; [`Workspace::left`] is set.
    Jump = 2,
}

// Generated code compares the answer with `Next`.
const _: () =
    assert!((Resume::Leave as u32) < Resume::Next as u32 && (Resume::Next as u32) < Resume::Jump as u32);

/// The integer registers by number. An op names none beyond [`SINK`]; a larger index would reach the fields.
impl Index<usize> for Workspace {
    type Output = u64;

    #[inline]
    fn index(&self, register: usize) -> &u64 {
        debug_assert!(register < REGISTERS, "no op names register {register}");
        // SAFETY: a workspace is so many words, one behind the other, by `repr(C)` and the assertion on its
        // size.
        let words = unsafe { &*(&raw const *self).cast::<[u64; WORDS]>() };
        &words[register]
    }
}

impl IndexMut<usize> for Workspace {
    #[inline]
    fn index_mut(&mut self, register: usize) -> &mut u64 {
        debug_assert!(register < REGISTERS, "no op names register {register}");
        // SAFETY: as above.
        let words = unsafe { &mut *(&raw mut *self).cast::<[u64; WORDS]>() };
        &mut words[register]
    }
}
