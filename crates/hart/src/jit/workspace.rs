//! The fields that generated code shares with the engine.

/// Registers, fields, and whatever else an index may reach.
pub const WORDS: usize = 256;

/// The word that rbp points to: from there, all registers are within the reach of a one-byte displacement.
pub const MIDDLE: usize = 16;

/// What generated code shares with the engine: indices behind the registers.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Field {
    /// Virtual address of the page, which is not known at translation, as code is kept by physical page.
    Page = 33,
    /// Host address of the TLB's entries for loads.
    Data,
    /// Host address of the TLB's entries for fetches.
    Fetch,
    /// Host address of the entry points of all places.
    Entries,
    /// Steps left.
    Left,
    /// Virtual address of the next instruction.
    Pc,
    /// Host address of the floating-point registers.
    Float,
    /// Not 0 if `mstatus.FS` is not Off, so that they may be read.
    FloatOn,
    /// SD of `sstatus`: not 0 if `mstatus.FS` is Dirty, so that they may be written and need no notice of it.
    FloatDirty,
    /// Likewise, if besides NX is accrued already and the rounding mode is RNE, so that a normal result
    /// changes no flag.
    FloatPlain,
    /// All ones if NX is accrued already and the rounding mode is RNE, or 0.
    FloatMode,
    /// Host address of the CSRs.
    Csrs,
    /// Not 0 outside user mode.
    Supervisor,
    /// The bits of `sstatus` that cannot be written, without SD.
    StatusConstants,
    /// Not 0 if no enabled interrupt is pending, so that none comes if `sstatus.SIE` is set.
    Calm,
    /// Not 0 where SFENCE.VMA is allowed.
    Fences,
    /// Host address of RAM.
    Ram,
    /// Where in RAM the doubleword is that LR reserved; [`NOTHING`]: none.
    Reserved,
    /// Not 0 if `cbo.zero` may be executed in this mode.
    Zeroes,
    /// Where the host's stack is, while rsp points into the frames.
    HostStack,
    /// The last frame, while rsp does not point there.
    Frames,
    /// Where generated code goes on when the interpreter has done an instruction for it.
    Return,
    /// First argument of the function that interprets.
    Engine,
    /// Host address of the function that interprets.
    Interpret,
    /// Of a loop with streams: the steps left when it is time to look them up.
    Floor,
    /// For how many turns streams stay in their pages.
    Turns,
    /// Where streams are; and in the words behind it.
    Places,
}

/// No offset in RAM.
pub const NOTHING: u64 = u64::MAX;
