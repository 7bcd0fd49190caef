//! Compressed kernels: gzip, alone or inside an EFI program that unpacks itself (zboot).
//!
//! [`program`](super::program) has a file unpacked before it looks what it is. What comes out is a function
//! of the file alone, so both replicas have the same. The file may be damaged, or small and unpack to
//! terabytes: no more comes out than the guest has memory for.
//!
//! Sources: RFC 1952 (gzip); Linux `drivers/firmware/efi/libstub/zboot-header.S`.

use std::{io::Read, sync::Arc};

use flate2::read::GzDecoder;

use super::BootError;
use crate::narrow::{index, wide};

/// What a file that gzip has compressed begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What an EFI program begins with.
const EFI_MAGIC: [u8; 2] = *b"MZ";
/// Offset of the mark in a kernel that unpacks itself.
const ZBOOT_MAGIC: usize = 4;
/// That mark.
const ZBOOT_MAGIC_VALUE: [u8; 4] = *b"zimg";
/// Offset of the field that says where the compressed kernel begins; how long it is stands behind it.
const ZBOOT_PAYLOAD: usize = 8;
/// Offset of the name of the compression, which ends with a zero byte.
const ZBOOT_COMPRESSION: usize = 24;

/// The file, or what it was before it was compressed; at most `max` bytes. `image` names it in errors.
///
/// # Errors
/// If the file is damaged, unpacks to more, or is compressed otherwise inside an EFI program.
pub fn unpacked(image: &'static str, file: &Arc<[u8]>, max: u64) -> Result<Arc<[u8]>, BootError> {
    if file.starts_with(&GZIP_MAGIC) {
        gunzip(image, file, max)
    } else if is_zboot(file) {
        gunzip(image, zboot_payload(image, file)?, max)
    } else {
        Ok(Arc::clone(file))
    }
}

fn is_zboot(file: &[u8]) -> bool {
    let behind = file.get(ZBOOT_MAGIC..).unwrap_or_default();
    file.starts_with(&EFI_MAGIC) && behind.starts_with(&ZBOOT_MAGIC_VALUE)
}

/// The compressed kernel inside an EFI program.
fn zboot_payload<'a>(image: &'static str, file: &'a [u8]) -> Result<&'a [u8], BootError> {
    let damaged = BootError::Damaged {
        image,
        format: "an EFI program that unpacks itself (zboot)",
    };
    let number = |at: usize| {
        let bytes = file.get(at..)?.first_chunk()?;
        Some(index(u64::from(u32::from_le_bytes(*bytes))))
    };
    let payload = || {
        let from = number(ZBOOT_PAYLOAD)?;
        file.get(from..from.checked_add(number(ZBOOT_PAYLOAD + 4)?)?)
    };
    let compression = file.get(ZBOOT_COMPRESSION..).unwrap_or_default();
    if !compression.starts_with(b"gzip\0") {
        let found = "an EFI program (zboot) that is not compressed with gzip; give the flat Image \
                     (arch/riscv/boot/Image)";
        return Err(BootError::Foreign { image, found });
    }
    payload().ok_or(damaged)
}

fn gunzip(image: &'static str, file: &[u8], max: u64) -> Result<Arc<[u8]>, BootError> {
    let mut bytes = Vec::new();
    let read = GzDecoder::new(file)
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes);
    if wide(bytes.len()) > max {
        return Err(BootError::TooLarge {
            what: image,
            needs: wide(bytes.len()),
            room: max,
        });
    }
    match read {
        Ok(_) => Ok(bytes.into()),
        Err(_) => Err(BootError::Damaged {
            image,
            format: "compressed with gzip",
        }),
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// An EFI program with a payload.
    pub fn zboot(compression: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 0x100];
        file[..8].copy_from_slice(b"MZ\0\0zimg");
        file[8..12].copy_from_slice(&0x100_u32.to_le_bytes());
        file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file[24..24 + compression.len()].copy_from_slice(compression);
        file.extend_from_slice(payload);
        file.extend_from_slice(b"more of the program");
        file
    }

    fn unpack(file: &[u8], max: u64) -> Result<Arc<[u8]>, BootError> {
        unpacked("kernel", &Arc::from(file), max)
    }

    #[test]
    fn both_forms_give_what_was_compressed_and_others_are_left_alone() {
        let text = b"a kernel ".repeat(1000);
        let packed = gzip(&text);
        for file in [packed.clone(), zboot(b"gzip", &packed), text.clone()] {
            assert_eq!(&*unpack(&file, 1 << 20).unwrap(), text);
        }
    }

    #[test]
    fn no_more_is_unpacked_than_there_is_room_for() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 100_000);
        let error = unpack(&bomb, 1 << 20).unwrap_err();
        assert!(
            matches!(error, BootError::TooLarge { room: 0x10_0000, .. }),
            "{error}"
        );
        assert_eq!(unpack(&bomb, 10 << 20).unwrap().len(), 10 << 20);
    }

    #[test]
    fn damage_is_told_from_what_is_not_supported() {
        let mut packed = gzip(&b"a kernel ".repeat(1000));
        assert!(matches!(
            unpack(&zboot(b"zstd22", &packed), 1 << 20),
            Err(BootError::Foreign { .. })
        ));
        let last = packed.len() - 6;
        packed[last] ^= 1; // The checksum.
        for file in [
            &packed[..],
            &packed[..20],
            &packed[..2],
            &zboot(b"gzip", &packed[..9])[..0x104],
        ] {
            assert!(matches!(unpack(file, 1 << 20), Err(BootError::Damaged { .. })));
        }
    }
}
