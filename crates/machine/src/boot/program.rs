//! Programs: what a file given as kernel or firmware puts where in memory.
//!
//! [`firmware`](super::firmware) asks for both and then finds places for the rest. The forms are those that
//! QEMU's `virt` board takes: a flat RISC-V `Image` (with an EFI stub or without), an ELF file, flat code
//! without any header such as `u-boot.bin`; each may be compressed with gzip, and an EFI program that unpacks
//! itself (zboot) is taken for what is in it. What cannot be a program is refused by name.
//!
//! Nothing here executes or changes a byte of a file, and no file is believed: pieces lie inside their file,
//! and whether they lie inside RAM is for [`firmware`](super::firmware) to see.

use std::{ops::Range, sync::Arc};

use hart::ram::BASE;

use super::{BootError, elf, foreign, image::Header, unpack::unpacked};
use crate::narrow::wide;

/// Part of a file, and where it goes.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The physical address of the first byte.
    pub address: u64,
    /// The file, or what it was before it was compressed.
    file: Arc<[u8]>,
    /// Which bytes of the file they are.
    range: Range<usize>,
    /// How many bytes the piece occupies, which is not less than it has.
    pub size: u64,
    /// Must what the piece occupies behind its own bytes be zero? So it is with ELF files; a flat kernel
    /// clears its own data.
    pub is_cleared: bool,
}

impl Piece {
    /// A whole file at a physical address, with room behind it up to `size` bytes.
    pub fn whole(address: u64, file: Arc<[u8]>, size: u64) -> Piece {
        Piece {
            address,
            range: 0..file.len(),
            size: size.max(wide(file.len())),
            is_cleared: false,
            file,
        }
    }

    /// The bytes that the file gives.
    pub fn bytes(&self) -> &[u8] {
        self.file.get(self.range.clone()).unwrap_or_default()
    }

    /// The first physical address behind the piece; `None`: there is no such address.
    pub fn end(&self) -> Option<u64> {
        self.address.checked_add(self.size)
    }
}

/// A kernel or a firmware.
#[derive(Clone, Debug)]
pub struct Program {
    /// What goes into memory; at least one piece.
    pub pieces: Vec<Piece>,
    /// The physical address of the first instruction.
    pub entry: u64,
}

impl Program {
    /// The kernel in a file, unpacked to at most `max` bytes. With a firmware below it, flat code and an
    /// `Image` that names no place lie 2 MiB behind the start of RAM; without, at the start.
    ///
    /// # Errors
    /// If the file is no kernel: says what it is instead, where that can be told.
    pub fn kernel(file: &Arc<[u8]>, max: u64, has_firmware: bool) -> Result<Program, BootError> {
        let file = unpacked("kernel", file, max)?;
        let offset = if has_firmware { super::MEMORY_UNIT } else { 0 };
        match Header::read(&file)? {
            Some(header) => {
                let offset = header.text_offset.unwrap_or(offset);
                Ok(Program::flat(BASE.saturating_add(offset), file, header.size))
            }
            None => Program::without_header("kernel", file, BASE + offset),
        }
    }

    /// The firmware in a file, unpacked to at most `max` bytes. Flat code lies at the start of RAM.
    ///
    /// # Errors
    /// If the file is no program: says what it is instead, where that can be told.
    pub fn firmware(file: &Arc<[u8]>, max: u64) -> Result<Program, BootError> {
        Program::without_header("firmware", unpacked("firmware", file, max)?, BASE)
    }

    /// A program that is no `Image`: an ELF file, or flat code, which is put at an address and entered there.
    fn without_header(image: &'static str, file: Arc<[u8]>, address: u64) -> Result<Program, BootError> {
        if elf::is_elf(&file) {
            let elf::Elf { entry, segments } = elf::read(image, &file)?;
            let piece = |segment: elf::Segment| Piece {
                address: segment.address,
                file: Arc::clone(&file),
                range: segment.bytes,
                size: segment.size,
                is_cleared: true,
            };
            let pieces = segments.into_iter().map(piece).collect();
            return Ok(Program { pieces, entry });
        }
        match foreign::found(&file) {
            Some(found) => Err(BootError::Foreign { image, found }),
            None => Ok(Program::flat(address, file, 0)),
        }
    }

    fn flat(address: u64, file: Arc<[u8]>, size: u64) -> Program {
        Program {
            pieces: vec![Piece::whole(address, file, size)],
            entry: address,
        }
    }
}
