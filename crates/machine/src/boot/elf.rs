//! ELF files: which bytes of the file lie where in memory, and where execution begins.
//!
//! [`program`](super::program) asks for it when a kernel or a firmware is an ELF file. Addresses are the
//! physical ones of the program headers, as QEMU's loader takes them. The file is the operator's, so nothing
//! of it is believed: what it says is checked against its own length here, and against RAM by
//! [`firmware`](super::firmware).
//!
//! Source: System V ABI, "Object Files" (ELF64), chapters 4 and 5; RISC-V ELF psABI specification.

use std::ops::Range;

use super::BootError;
use crate::narrow::{index, wide};

/// What every ELF file begins with.
const MAGIC: [u8; 4] = *b"\x7fELF";
/// Bytes of the file's header.
const HEADER_BYTES: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER_BYTES: u64 = 56;
/// The most program headers that are looked at: linkers make a handful.
pub const PROGRAM_HEADERS_MAX: u64 = 256;
/// `EI_CLASS` and `EI_DATA` of 64-bit little-endian files.
const CLASS_64_LITTLE: [u8; 2] = [2, 1];
/// `EM_RISCV`.
const MACHINE_RISCV: u64 = 243;
/// `ET_EXEC` and `ET_DYN`: files that are linked.
const LINKED: [u64; 2] = [2, 3];
/// `PT_LOAD`.
const LOAD: u64 = 1;

/// What an ELF file puts into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The physical address of the first instruction.
    pub entry: u64,
    /// The parts of the file that are loaded, in the file's order; at least one.
    pub segments: Vec<Segment>,
}

/// One part of the file that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The physical address where the part goes.
    pub address: u64,
    /// Which bytes of the file they are.
    pub bytes: Range<usize>,
    /// How many bytes the part occupies in memory; those that the file has not are zero.
    pub size: u64,
}

/// Does this file begin as ELF files do?
pub fn is_elf(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// Reads the headers. `image` names the file in errors.
///
/// # Errors
/// If the file is for another machine, is not linked, or contradicts itself.
pub fn read(image: &'static str, file: &[u8]) -> Result<Elf, BootError> {
    let damaged = || BootError::Damaged {
        image,
        format: "an ELF file",
    };
    let header = file.get(..HEADER_BYTES).ok_or_else(damaged)?;
    let field = |at: usize, bytes: usize| number(header, at, bytes).ok_or_else(damaged);
    if header.get(4..6) != Some(&CLASS_64_LITTLE) || field(18, 2)? != MACHINE_RISCV {
        let found = "an ELF file for another machine; give one for 64-bit RISC-V";
        return Err(BootError::Foreign { image, found });
    }
    if !LINKED.contains(&field(16, 2)?) {
        let found = "an object file; link it first";
        return Err(BootError::Foreign { image, found });
    }
    let mut elf = Elf {
        entry: field(24, 8)?,
        segments: Vec::new(),
    };
    let (first, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    if size != PROGRAM_HEADER_BYTES || count > PROGRAM_HEADERS_MAX {
        return Err(damaged());
    }
    let mut entry = None;
    for place in 0..count {
        let at = first.checked_add(place * size).ok_or_else(damaged)?;
        let part = slice(file, at, size).and_then(|range| file.get(range));
        let part = part.ok_or_else(damaged)?;
        let field = |at: usize, bytes: usize| number(part, at, bytes).ok_or_else(damaged);
        let (kind, offset) = (field(0, 4)?, field(8, 8)?);
        let (virtual_address, address) = (field(16, 8)?, field(24, 8)?);
        let (in_file, in_memory) = (field(32, 8)?, field(40, 8)?);
        if kind != LOAD || in_memory == 0 {
            continue;
        }
        let bytes = slice(file, offset, in_file)
            .filter(|_| in_file <= in_memory)
            .ok_or_else(damaged)?;
        // The entry is a virtual address: it stands for the place where that will have been loaded.
        let inside = elf.entry.wrapping_sub(virtual_address);
        if inside < in_memory {
            entry.get_or_insert(address.wrapping_add(inside));
        }
        elf.segments.push(Segment {
            address,
            bytes,
            size: in_memory,
        });
    }
    elf.entry = entry.unwrap_or(elf.entry);
    if elf.segments.is_empty() {
        return Err(damaged());
    }
    Ok(elf)
}

/// The little-endian number of up to 8 bytes at an offset.
fn number(from: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = from.get(at..at.checked_add(bytes)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    )
}

/// The bytes from `at` on, if the file has so many.
fn slice(file: &[u8], at: u64, length: u64) -> Option<Range<usize>> {
    let end = at.checked_add(length)?;
    (end <= wide(file.len())).then(|| index(at)..index(end))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An ELF file with an entry and segments: virtual address, physical address, content, size in memory.
    pub fn elf(entry: u64, segments: &[(u64, u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..20].copy_from_slice(&[2, 0, 243, 0]);
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = segments.len() as u8;
        let mut offset = (HEADER_BYTES + 56 * segments.len()) as u64;
        for (from, to, bytes, size) in segments {
            file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
            for field in [offset, *from, *to, bytes.len() as u64, *size, 4096] {
                file.extend(field.to_le_bytes());
            }
            offset += bytes.len() as u64;
        }
        for (_, _, bytes, _) in segments {
            file.extend_from_slice(bytes);
        }
        file
    }

    #[test]
    fn segments_go_to_their_physical_addresses_and_the_entry_with_them() {
        let file = elf(
            0xffff_0010,
            &[
                (0x1000, 0x8000_0000, b"abc", 3),
                (0xffff_0000, 0x8001_0000, b"de", 0x100),
            ],
        );
        let elf = read("kernel", &file).unwrap();
        assert_eq!(elf.entry, 0x8001_0010);
        let seen: Vec<_> = elf
            .segments
            .iter()
            .map(|segment| (segment.address, &file[segment.bytes.clone()], segment.size))
            .collect();
        assert_eq!(
            seen,
            [(0x8000_0000, &b"abc"[..], 3), (0x8001_0000, &b"de"[..], 0x100)]
        );
    }

    #[test]
    fn a_physical_entry_stays_what_it_is() {
        let file = elf(0x8000_0004, &[(0xffff_0000, 0x8000_0000, b"abc", 3)]);
        assert_eq!(read("kernel", &file).unwrap().entry, 0x8000_0004);
    }

    #[test]
    fn files_for_other_machines_and_unlinked_ones_are_named() {
        for (at, value) in [(4, 1), (5, 2), (18, 62), (16, 1)] {
            let mut file = elf(0, &[(0, 0x8000_0000, b"abc", 3)]);
            file[at] = value;
            let error = read("kernel", &file).unwrap_err();
            assert!(matches!(error, BootError::Foreign { .. }), "{error}");
        }
    }

    #[test]
    fn no_file_makes_it_reach_outside_or_panic() {
        let good = elf(0x8000_0000, &[(0x8000_0000, 0x8000_0000, b"abcdef", 9)]);
        for length in 0..good.len() {
            assert!(read("kernel", &good[..length]).is_err(), "{length} bytes");
        }
        // Every byte of the headers with values that are too large in one way or another.
        for at in 4..HEADER_BYTES + 56 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = good.clone();
                file[at] = value;
                if let Ok(elf) = read("kernel", &file) {
                    for segment in elf.segments {
                        assert!(segment.bytes.end <= file.len());
                        assert!(segment.bytes.len() as u64 <= segment.size);
                    }
                }
            }
        }
    }
}
