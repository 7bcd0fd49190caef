//! The code of a program under construction: units, landings, forward branches.
//!
//! A *unit* is one instruction or a few that belong together; branches lead to the start of a unit. No unit
//! crosses a multiple of [`LANDING`] bytes, so that one starts there: where the runtime goes on after a jump
//! out of the code.
//!
//! The builder of units writes a [`Stream`] and gets [`Code`] when it is done. Positions never move once they
//! are written, since units may compute with them.

use crate::{
    encode::{
        C_EBREAK, C_NOP, ECALL, branch_offset, compressed_branch_offset, compressed_jump_offset, jump_offset,
    },
    layout::PAGE,
    runtime::LANDING,
};

/// The form of a branch whose target is not known yet.
#[derive(Clone, Copy)]
enum Form {
    Branch,
    Jump,
    CompressedBranch,
    CompressedJump,
    /// The `addi` behind an `auipc rd, 0`, so many bytes after it.
    Address(u64),
}

/// Code under construction. Positions are byte offsets in the pages for code.
pub struct Stream {
    /// Where the code starts.
    start: u64,
    /// The instructions so far.
    bytes: Vec<u8>,
    /// Where each unit starts.
    units: Vec<u64>,
    /// The branches without a target yet: index in `bytes`, form, and the number of the unit to go to.
    jumps: Vec<(usize, Form, usize)>,
}

/// Finished code.
pub struct Code {
    /// Where the code starts: a byte offset in the pages for code.
    pub start: u64,
    /// The instructions, up to a multiple of 8 bytes.
    pub bytes: Vec<u8>,
    /// Where each unit starts.
    pub units: Vec<u64>,
    /// Where the program ends.
    pub end: u64,
}

impl Stream {
    /// No code yet; the first instruction goes to `start`, a multiple of 8.
    pub fn new(start: u64) -> Stream {
        Stream {
            start,
            bytes: Vec::new(),
            units: Vec::new(),
            jumps: Vec::new(),
        }
    }

    /// The position of the next instruction.
    pub fn here(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Starts a unit of at most so many bytes.
    pub fn unit(&mut self, bytes: u64) {
        debug_assert!(bytes <= LANDING, "a unit fits between landings");
        if self.here() / LANDING != (self.here() + bytes - 1) / LANDING {
            while !self.here().is_multiple_of(LANDING) {
                self.half(C_NOP);
            }
        }
        self.units.push(self.here());
    }

    /// Bytes to the end of the page, if they are fewer than one landing's: then an instruction may
    /// [straddle](Stream::straddle) it.
    pub fn near_page_end(&self) -> bool {
        let left = PAGE - self.here() % PAGE;
        (2..LANDING).contains(&left)
    }

    /// A unit of one 32-bit instruction, half of it on the next page. There is a landing in its middle: its
    /// upper half must be `c.nop`.
    pub fn straddle(&mut self, word: u32) {
        debug_assert!(word >> 16 == u32::from(C_NOP), "the upper half is a landing");
        while self.here() % PAGE != PAGE - 2 {
            self.half(C_NOP);
        }
        self.units.push(self.here());
        self.word(word);
    }

    /// A 32-bit instruction.
    pub fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    /// A 16-bit instruction.
    pub fn half(&mut self, half: u16) {
        self.bytes.extend(half.to_le_bytes());
    }

    /// A branch, without its offset, over so many following units.
    pub fn branch(&mut self, word: u32, over: usize) {
        self.defer(Form::Branch, over);
        self.word(word);
    }

    /// A `jal`, without its offset, over so many following units.
    pub fn jump(&mut self, word: u32, over: usize) {
        self.defer(Form::Jump, over);
        self.word(word);
    }

    /// A `c.beqz` or `c.bnez`, without its offset, over so many following units; more than two are out of its
    /// range.
    pub fn compressed_branch(&mut self, half: u16, over: usize) {
        self.defer(Form::CompressedBranch, over.min(2));
        self.half(half);
    }

    /// A `c.j`, without its offset, over so many following units.
    pub fn compressed_jump(&mut self, half: u16, over: usize) {
        self.defer(Form::CompressedJump, over);
        self.half(half);
    }

    /// The `addi` that follows an `auipc` so many bytes behind it, to the address over so many units.
    pub fn address(&mut self, addi: u32, behind: u64, over: usize) {
        self.defer(Form::Address(behind), over);
        self.word(addi);
    }

    /// Remembers that the next instruction needs the offset of a unit that is not there yet.
    fn defer(&mut self, form: Form, over: usize) {
        self.jumps.push((self.bytes.len(), form, self.units.len() + over));
    }

    /// Ends the program with an `ecall` and puts the targets in.
    pub fn finish(mut self) -> Code {
        self.unit(4);
        let end = self.here();
        self.word(ECALL);
        self.units.pop();
        while !self.bytes.len().is_multiple_of(8) {
            self.half(C_EBREAK);
        }
        for (at, form, unit) in std::mem::take(&mut self.jumps) {
            let target = self.units.get(unit).copied().unwrap_or(end);
            let by = (target - self.start) as i32 - at as i32;
            let bits = match form {
                Form::Branch => branch_offset(by),
                Form::Jump => jump_offset(by),
                Form::CompressedBranch => u32::from(compressed_branch_offset(by)),
                Form::CompressedJump => u32::from(compressed_jump_offset(by)),
                Form::Address(behind) => ((by + behind as i32) as u32) << 20,
            };
            for (byte, bits) in self.bytes[at..].iter_mut().zip(bits.to_le_bytes()) {
                *byte |= bits;
            }
        }
        Code {
            start: self.start,
            bytes: self.bytes,
            units: self.units,
            end,
        }
    }
}

impl Code {
    /// Lets the program be over before its unit number `units`. Positions stay as they are.
    pub fn truncate(&mut self, units: usize) {
        let Some(&end) = self.units.get(units) else { return };
        self.end = end;
        for half in self.bytes[(end - self.start) as usize..].chunks_mut(2) {
            half.copy_from_slice(&C_EBREAK.to_le_bytes());
        }
    }
}
