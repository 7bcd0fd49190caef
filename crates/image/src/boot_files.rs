//! The files that a machine is started from, taken out of Debian's packages: firmware, kernel, initramfs.
//!
//! All are stored as the loader takes them and so that the guest has least to do with them: a flat Image, and
//! an initramfs that is not compressed.

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use rehearsal::Tree;

use super::cpio;
use super::error::ImageError;

/// The package with OpenSBI.
pub const FIRMWARE_PACKAGE: &str = "opensbi";

/// Path of the firmware in that package.
const FIRMWARE_PATH: &str = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin";

/// Names of the files of an image.
pub const KERNEL: &str = "kernel";
pub const INITRD: &str = "initrd";
pub const FIRMWARE: &str = "fw_dynamic.bin";

/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// First bytes of an entry of a cpio archive, length of its header, and name of the last entry.
const CPIO: &[u8] = b"070701";
const CPIO_HEADER_BYTES: usize = 110;
const CPIO_END: &[u8] = b"TRAILER!!!\0";

/// Copies the firmware of the package unpacked in `unpacked`.
pub fn copy_firmware(unpacked: &Path, output: &Path) -> Result<(), ImageError> {
    let source = unpacked.join(FIRMWARE_PATH);
    fs::copy(&source, output)
        .map(drop)
        .map_err(ImageError::file("copy", &source))
}

/// Writes the kernel in the directory `boot` as a flat Image, decompressed if the package has it compressed.
pub fn write_kernel(boot: &Path, package: &str, output: &Path) -> Result<(), ImageError> {
    let source = only_entry(boot, "vmlinu", package)?;
    let image = fs::read(&source).map_err(ImageError::file("read", &source))?;
    let image = if image.starts_with(&GZIP) {
        gunzip(&mut image.as_slice()).map_err(ImageError::file("decompress", &source))?
    } else {
        image
    };
    // The header of a RISC-V Image has this mark at offset 56.
    if image.get(56..60) != Some(b"RSC\x05".as_slice()) {
        return Err(ImageError::package(
            package,
            "its kernel is not a flat RISC-V Image",
        ));
    }
    fs::write(output, image).map_err(ImageError::file("write", output))
}

/// Writes a tree as an initramfs.
pub fn write_initramfs(tree: &Tree, output: &Path) -> Result<(), ImageError> {
    let file = fs::File::create(output).map_err(ImageError::file("create", output))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    cpio::write(tree, &mut file)?;
    file.flush().map_err(ImageError::file("write", output))
}

/// Writes the initramfs that initramfs-tools made in the directory `boot`, decompressed.
pub fn write_plain_initramfs(boot: &Path, output: &Path) -> Result<(), ImageError> {
    let source = only_entry(boot, "initrd.img-", "initramfs-tools")?;
    let data = fs::read(&source).map_err(ImageError::file("read", &source))?;
    let plain = plain_initramfs(&data).map_err(ImageError::file("decompress", &source))?;
    fs::write(output, plain).map_err(ImageError::file("write", output))
}

/// The only entry of `directory` whose name begins with `prefix`.
pub fn only_entry(directory: &Path, prefix: &str, package: &str) -> Result<PathBuf, ImageError> {
    let entries = fs::read_dir(directory).map_err(ImageError::file("read", directory))?;
    let mut found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let reason = format!("it should have exactly one {prefix}* in {name}");
            Err(ImageError::package(package, reason))
        }
    }
}

/// Decompresses an initramfs, which is any number of cpio archives, each plain or compressed, with zeros
/// between them. initramfs-tools writes files that are compressed already into a plain archive, and the rest,
/// here, into one with gzip.
fn plain_initramfs(mut data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    loop {
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        data = &data[zeros..];
        plain.resize(plain.len().next_multiple_of(4), 0);
        if data.is_empty() {
            return Ok(plain);
        } else if data.starts_with(&GZIP) {
            plain.append(&mut gunzip(&mut data)?);
        } else {
            let end = archive_bytes(data).ok_or_else(|| {
                std::io::Error::other("a part of it is neither a cpio archive nor compressed with gzip")
            })?;
            plain.extend(&data[..end]);
            data = &data[end..];
        }
    }
}

/// Takes one compressed file from the beginning of `data`.
fn gunzip(data: &mut &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(data).read_to_end(&mut plain)?;
    Ok(plain)
}

/// The size of the cpio archive that `data` begins with.
fn archive_bytes(data: &[u8]) -> Option<usize> {
    let mut at: usize = 0;
    loop {
        let header = data
            .get(at..at.checked_add(CPIO_HEADER_BYTES)?)
            .filter(|header| header.starts_with(CPIO))?;
        let field = |index: usize| -> Option<usize> {
            let digits = std::str::from_utf8(header.get(6 + 8 * index..14 + 8 * index)?).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name_at = at + CPIO_HEADER_BYTES;
        let name = data.get(name_at..name_at.checked_add(name_size)?)?;
        let content_at = (name_at + name_size).next_multiple_of(4);
        at = content_at.checked_add(size)?.next_multiple_of(4);
        if name == CPIO_END {
            return (at <= data.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn archive(name: &str) -> Vec<u8> {
        let mut tree = Tree::default();
        tree.insert_file(name, 0o644, *b"content");
        let mut bytes = Vec::new();
        cpio::write(&tree, &mut bytes).unwrap();
        // The zeros at the end are not kept.
        bytes.truncate(archive_bytes(&bytes).unwrap());
        bytes
    }

    fn compressed(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn directory_with(test: &str, name: &str, data: &[u8]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("lockstep-boot-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), data).unwrap();
        directory
    }

    #[test]
    fn initramfs_of_several_archives_becomes_plain() {
        let (first, second) = (archive("first"), archive("second"));
        let plain = plain_initramfs(&[first.clone(), vec![0; 300], compressed(&second)].concat()).unwrap();
        assert_eq!(plain, [first.clone(), second].concat());
        assert_eq!(plain_initramfs(&first).unwrap(), first);
    }

    #[test]
    fn initramfs_in_another_form_is_an_error() {
        let archive = archive("file");
        assert!(plain_initramfs(b"\x28\xb5\x2f\xfd").is_err(), "zstd");
        assert!(
            plain_initramfs(&archive[..archive.len() / 2]).is_err(),
            "cut short"
        );
        assert!(
            plain_initramfs(&compressed(&archive)[..20]).is_err(),
            "cut short, compressed"
        );
        assert!(plain_initramfs(b"070701ffffffffffffffff").is_err(), "damaged");
    }

    #[test]
    fn kernel_is_decompressed_and_must_be_a_flat_image() {
        let mut image = vec![0; 64];
        image[56..60].copy_from_slice(b"RSC\x05");
        let directory = directory_with("kernel", "vmlinuz-6.12", &compressed(&image));
        let output = directory.join(KERNEL);
        write_kernel(&directory, "linux-image", &output).unwrap();
        assert_eq!(fs::read(&output).unwrap(), image);
        fs::write(directory.join("vmlinuz-6.12"), [0; 64]).unwrap();
        assert!(write_kernel(&directory, "linux-image", &output).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn entry_that_is_missing_or_not_the_only_one_is_an_error() {
        let directory = directory_with("entry", "vmlinux-6.12", b"");
        assert!(only_entry(&directory, "vmlinu", "linux-image").is_ok());
        assert!(only_entry(&directory, "initrd.img-", "linux-image").is_err());
        fs::write(directory.join("vmlinux-6.13"), b"").unwrap();
        assert!(only_entry(&directory, "vmlinu", "linux-image").is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
