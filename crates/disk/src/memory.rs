//! A disk that can only be read, made of bytes that this process holds: no file stands behind it, and nothing
//! of it is ever lost or late. What the guest's cloud-init reads is such a disk.
//!
//! Nobody locks it, and each half of a pair has its own. So the disk's serial tells its content, and where
//! the halves compare their machines they compare that.

use std::io;
use std::sync::Arc;

use replica::ImageId;

use super::backend::Backend;
use super::direct::Access;
use super::{Disk, DiskError};

/// How many bytes of the content's SHA-256 a serial tells, which has 20 bytes in all.
const TOLD: usize = 4;

/// The bytes of a disk.
#[derive(Debug)]
struct MemoryDisk(Arc<[u8]>);

impl Disk {
    /// A disk of these bytes, which the guest can only read. `name` is what people read of the disk and how
    /// its serial begins: at most 11 bytes.
    ///
    /// # Errors
    /// The bytes are no whole number of sectors.
    pub fn of_bytes(name: &str, bytes: Arc<[u8]>, access: Access) -> Result<Disk, DiskError> {
        let sha256 = ImageId::of(&bytes).sha256;
        let digits: String = sha256
            .iter()
            .take(TOLD)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let serial = format!("{name}-{digits}");
        let mut disk = Disk::new(name.into(), Box::new(MemoryDisk(bytes)), access, true, &serial)?;
        disk.tells_content = true;
        Ok(disk)
    }
}

/// What no disk of this kind is ever asked for, since it is read-only.
fn read_only() -> io::Error {
    io::Error::from(io::ErrorKind::ReadOnlyFilesystem)
}

impl Backend for MemoryDisk {
    fn capacity(&self) -> u64 {
        self.0.len() as u64
    }

    fn measure(&self) -> io::Result<u64> {
        Ok(self.capacity())
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|offset| {
            let end = offset.checked_add(data.len())?;
            self.0.get(offset..end)
        });
        data.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        Err(read_only())
    }

    fn settles(&self) -> bool {
        true
    }

    fn look_for(&self, _placed: bool) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&self, _placed: bool) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use machine::{DiskOperation, DiskStatus};

    use super::*;
    use crate::policy::{Outcome, carry_out};

    fn disk(content: &[u8]) -> Disk {
        Disk::of_bytes("cloud-init", content.into(), Access::Pair).unwrap()
    }

    fn answer(disk: &Disk, operation: DiskOperation) -> (DiskStatus, Vec<u8>) {
        match carry_out(disk, &operation) {
            Outcome::Answer(status, data) => (status, data),
            _ => panic!("such a disk always answers"),
        }
    }

    #[test]
    fn it_is_read_within_its_bounds_and_never_changed() {
        let content: Vec<u8> = (0..2048_u32).map(|at| (at % 251) as u8).collect();
        let disk = disk(&content);
        assert!(disk.config().read_only);
        assert_eq!(disk.config().sectors, 4);
        let read = |sector, bytes| answer(&disk, DiskOperation::Read { sector, bytes });
        assert_eq!(read(1, 1024), (DiskStatus::Ok, content[512..1536].to_vec()));
        let outcome = carry_out(
            &disk,
            &DiskOperation::Read {
                sector: 3,
                bytes: 1024,
            },
        );
        assert!(matches!(outcome, Outcome::Wait(_)), "no driver asks for that");
        let write = DiskOperation::Write {
            sector: 0,
            data: vec![9; 512].into(),
        };
        assert_eq!(answer(&disk, write).0, DiskStatus::Failed);
        assert_eq!(answer(&disk, DiskOperation::Flush).0, DiskStatus::Ok);
        assert_eq!(read(0, 512).1, content[..512]);
    }

    #[test]
    fn it_is_no_disk_of_a_guest_that_has_begun_with_another_content() {
        let (one, other) = (disk(&[1; 512]), disk(&[2; 512]));
        let serial = one.config().serial;
        assert!(
            serial.starts_with("cloud-init-") && serial.len() <= 20,
            "{serial}"
        );
        assert_eq!(serial, disk(&[1; 512]).config().serial);
        one.check(&one.config()).unwrap();
        let sentence = one.check(&other.config()).unwrap_err().to_string();
        assert!(
            sentence.starts_with(&format!(
                "the cloud-init disk has another content here ({serial})"
            )),
            "{sentence}"
        );
    }

    #[test]
    fn bytes_that_make_no_whole_sectors_are_refused() {
        assert!(Disk::of_bytes("cloud-init", vec![0; 100].into(), Access::Solo).is_err());
        assert!(Disk::of_bytes("cloud-init", Vec::new().into(), Access::Solo).is_err());
    }
}
