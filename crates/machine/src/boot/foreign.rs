//! Files that are no programs for this board, by the marks that they begin with: what they are, and what to
//! give instead.
//!
//! [`program`](super::program) asks before it takes a file for flat code, which has no mark of its own.
//! Nothing is refused here that could be meant: a file without any of these marks is taken.

/// A mark: an offset in the file, the bytes there, and the rest of the sentence "the kernel is ...".
const MARKS: [(usize, &[u8], &str); 21] = [
    (
        0,
        b"\xfd7zXZ\0",
        "compressed with xz; unpack it with `unxz` first",
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd; unpack it with `unzstd` first",
    ),
    (0, b"BZh", "compressed with bzip2; unpack it with `bunzip2` first"),
    (
        0,
        b"\x02\x21\x4c\x18",
        "compressed with lz4; unpack it with `unlz4` first",
    ),
    (
        0,
        b"\x04\x22\x4d\x18",
        "compressed with lz4; unpack it with `unlz4` first",
    ),
    (
        0,
        b"\x89LZO",
        "compressed with lzop; unpack it with `lzop -d` first",
    ),
    (
        0,
        b"\x5d\0\0",
        "compressed with lzma; unpack it with `unlzma` first",
    ),
    (
        0,
        b"\x27\x05\x19\x56",
        "a uImage for U-Boot; give the Image that it was made of (`dumpimage -T kernel -p 0 -o Image FILE`)",
    ),
    (
        0,
        b"\xd0\x0d\xfe\xed",
        "a FIT image or a device tree; give the Image that is in it (`dumpimage -T flat_dt -p 0 -o Image \
         FILE`)",
    ),
    (0x202, b"HdrS", "a kernel for x86; give one for 64-bit RISC-V"),
    (56, b"ARM\x64", "a kernel for ARM; give one for 64-bit RISC-V"),
    (
        0,
        b"MZ",
        "an EFI program and no kernel with an EFI stub; give the kernel itself (arch/riscv/boot/Image)",
    ),
    (0, b"07070", "an initramfs; give it as the initrd"),
    (
        0,
        b"QFI\xfb",
        "a disk in the format qcow2; give it as one, and U-Boot as the kernel to boot from it",
    ),
    (
        0x200,
        b"EFI PART",
        "a disk; give it as one, and U-Boot as the kernel to boot from it",
    ),
    (
        0x8001,
        b"CD001",
        "a CD; give it as a read-only disk, and U-Boot as the kernel to boot from it",
    ),
    (0, b"hsqs", "a file system; give it as a disk"),
    (0, b"!<arch>\n", "a package or an archive; unpack it first"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (
        0,
        b"\xca\xfe\xba\xbe",
        "a program for another system; give one for 64-bit RISC-V",
    ),
];
/// How many bytes of text at the beginning make a file a text: code has others among its first few.
const TEXT_BYTES: usize = 128;

/// What this file is if it cannot be flat code, as the rest of the sentence "the kernel is ...".
pub fn found(file: &[u8]) -> Option<&'static str> {
    if file.is_empty() {
        return Some("empty; give another file");
    }
    let marked =
        |&(at, mark, _): &(usize, &[u8], &str)| file.get(at..).is_some_and(|file| file.starts_with(mark));
    if let Some((_, _, found)) = MARKS.into_iter().find(marked) {
        return Some(found);
    }
    let text = |&byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let begin = file.get(..TEXT_BYTES.min(file.len())).unwrap_or_default();
    begin.iter().all(text).then_some("a text; give a program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_program_is_named() {
        for (at, mark, sentence) in MARKS {
            let mut file = vec![0x93; 0x9000];
            file[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(found(&file), Some(sentence));
        }
        assert!(found(b"").is_some());
        assert!(found(b"#!/bin/sh\nexit\n").unwrap().starts_with("a text"));
    }

    #[test]
    fn code_without_a_mark_is_taken() {
        // li a0, 0; ret, and what a compiler of C begins with: auipc sp.
        assert_eq!(found(&[0x01, 0x45, 0x82, 0x80]), None);
        assert_eq!(found(&[0x17, 0x91, 0, 0, 0x13, 1, 1, 0]), None);
    }
}
