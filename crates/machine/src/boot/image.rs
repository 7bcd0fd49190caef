//! The header of a flat RISC-V kernel, `Image`: where the kernel wants to lie and how much room it needs.
//!
//! [`firmware`](super::firmware) reads it when it places the kernel. The file is the operator's, so a wrong
//! one is named; nothing of it is executed or unpacked here.
//!
//! Source: Linux `Documentation/arch/riscv/boot-image-header.rst`.

use super::BootError;
use crate::narrow::wide;

/// Offset of the kernel from the start of RAM if its header names none.
pub const OFFSET_DEFAULT: u64 = 0x20_0000;
/// Bytes of the header.
const HEADER_BYTES: usize = 64;
/// Offset of `text_offset` in the header.
const TEXT_OFFSET: usize = 8;
/// Offset of `image_size` in the header.
const IMAGE_SIZE: usize = 16;
/// Offset of `magic2` in the header.
const MAGIC2: usize = 56;
/// What `magic2` is in every RISC-V `Image`.
const MAGIC2_VALUE: [u8; 4] = *b"RSC\x05";
/// What a file that gzip has compressed begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Offset of the mark in a kernel that unpacks itself (Linux `drivers/firmware/efi/libstub/zboot-header.S`).
const ZBOOT_MAGIC: usize = 4;
/// That mark.
const ZBOOT_MAGIC_VALUE: [u8; 4] = *b"zimg";

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where to load the kernel, in bytes from the start of RAM.
    pub text_offset: u64,
    /// How many bytes the kernel occupies once it runs, its zeroed data included; at least the file's size.
    pub size: u64,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// If the file is no such kernel: says what it is instead, where that can be told.
    pub fn read(kernel: &[u8]) -> Result<Header, BootError> {
        if kernel.starts_with(&GZIP_MAGIC) {
            return Err(BootError::GzipKernel);
        }
        let header: &[u8; HEADER_BYTES] = kernel.first_chunk().ok_or(BootError::NotAnImage)?;
        let behind = |at: usize| header.get(at..).unwrap_or_default();
        if behind(ZBOOT_MAGIC).starts_with(&ZBOOT_MAGIC_VALUE) {
            return Err(BootError::ZbootKernel);
        }
        if !behind(MAGIC2).starts_with(&MAGIC2_VALUE) {
            return Err(BootError::NotAnImage);
        }
        let number = |at| {
            let bytes = behind(at).first_chunk();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let text_offset = match number(TEXT_OFFSET) {
            0 => OFFSET_DEFAULT,
            offset if offset % OFFSET_DEFAULT == 0 => offset,
            offset => return Err(BootError::KernelOffset(offset)),
        };
        Ok(Header {
            text_offset,
            size: number(IMAGE_SIZE).max(wide(kernel.len())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text_offset: u64, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        bytes[56..60].copy_from_slice(b"RSC\x05");
        bytes
    }

    #[test]
    fn a_flat_image_tells_offset_and_size() {
        let header = Header::read(&image(0x40_0000, 0x1234)).unwrap();
        assert_eq!(
            header,
            Header {
                text_offset: 0x40_0000,
                size: 0x1234
            }
        );
        assert_eq!(
            Header::read(&image(0, 5)).unwrap(),
            Header {
                text_offset: 0x20_0000,
                size: 128
            }
        );
    }

    #[test]
    fn other_files_are_named() {
        assert_eq!(Header::read(&[0x1f, 0x8b, 8, 0]), Err(BootError::GzipKernel));
        assert_eq!(Header::read(&[0; 200]), Err(BootError::NotAnImage));
        assert_eq!(Header::read(b"\x7fELF"), Err(BootError::NotAnImage));
        assert_eq!(
            Header::read(&image(0x1000, 1)),
            Err(BootError::KernelOffset(0x1000))
        );
        let mut zboot = image(0, 1);
        zboot[..8].copy_from_slice(b"MZ\0\0zimg");
        assert_eq!(Header::read(&zboot), Err(BootError::ZbootKernel));
    }
}
