//! The header of a flat RISC-V kernel, `Image`: where the kernel wants to lie and how much room it needs.
//!
//! [`program`](super::program) looks for it in a kernel that is not compressed. An EFI stub, which makes the
//! file an EFI program too, changes nothing of it. The file is the operator's; nothing of it is executed
//! here, and whether the kernel fits is for [`firmware`](super::firmware) to see.
//!
//! Source: Linux `Documentation/arch/riscv/boot-image-header.rst`.

use super::{BootError, MEMORY_UNIT};

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

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where to load the kernel, in bytes from the start of RAM: a multiple of 2 MiB. `None`: the header
    /// says 0, which for a kernel of S-mode leaves the place to the loader.
    pub text_offset: Option<u64>,
    /// How many bytes the kernel occupies once it runs, its zeroed data included; 0: the header does not say.
    pub size: u64,
}

impl Header {
    /// Reads the header; `None`: the file has none.
    ///
    /// # Errors
    /// If the kernel wants to lie where no kernel can.
    pub fn read(kernel: &[u8]) -> Result<Option<Header>, BootError> {
        let header: Option<&[u8; HEADER_BYTES]> = kernel.first_chunk();
        let Some(header) = header.filter(|header| header.get(MAGIC2..).is_some_and(is_marked)) else {
            return Ok(None);
        };
        let number = |at: usize| {
            let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let text_offset = match number(TEXT_OFFSET) {
            0 => None,
            offset if offset.is_multiple_of(MEMORY_UNIT) => Some(offset),
            offset => return Err(BootError::KernelOffset(offset)),
        };
        Ok(Some(Header {
            text_offset,
            size: number(IMAGE_SIZE),
        }))
    }
}

fn is_marked(from_magic: &[u8]) -> bool {
    from_magic.starts_with(&MAGIC2_VALUE)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn image(text_offset: u64, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&size.to_le_bytes());
        bytes[56..60].copy_from_slice(b"RSC\x05");
        bytes
    }

    #[test]
    fn a_flat_image_tells_offset_and_size() {
        let header = |text_offset, size| Header::read(&image(text_offset, size)).unwrap().unwrap();
        assert_eq!(
            header(0x40_0000, 0x1234),
            Header {
                text_offset: Some(0x40_0000),
                size: 0x1234
            }
        );
        assert_eq!(header(0, 5).text_offset, None);
        assert_eq!(
            Header::read(&image(0x1000, 1)),
            Err(BootError::KernelOffset(0x1000))
        );
    }

    #[test]
    fn an_efi_stub_changes_nothing_and_other_files_have_no_header() {
        let mut stub = image(0x20_0000, 0x1234);
        stub[..2].copy_from_slice(b"MZ");
        assert_eq!(Header::read(&stub).unwrap().unwrap().size, 0x1234);
        for other in [&[0; 200][..], b"\x7fELF", &stub[..63]] {
            assert_eq!(Header::read(other), Ok(None));
        }
    }
}
