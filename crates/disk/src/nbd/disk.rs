//! `NbdDisk`: a disk at an NBD server as the lane has it: a backend whose requests wait for replies, and a
//! keeper that asks the server.

use std::io;
use std::sync::Arc;

use block::Mode;
use block::nbd::{Operation, TransmissionFlags};
use replica::Epoch;

use super::place::{NbdPlace, Scheme};
use super::remote::Remote;
use super::way::{Of, Way};
use crate::backend::{Attendant, Backend, SECTOR_LEN};
use crate::error::DiskError;
use crate::keeper::Keeper;
use crate::limits::{NBD_THREADS, ZEROES_LEN};
use crate::lock::{Holder, LockError};

/// A disk at an NBD server. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct NbdDisk {
    remote: Arc<Remote>,
    read_only: bool,
}

impl NbdDisk {
    /// Finds the server and looks at the export, as a disk of `vm`. Takes as long as looking up a name and a
    /// short conversation do.
    ///
    /// # Errors
    /// The server cannot be reached, has no such export for this VM, or cannot serve a disk of sectors.
    pub fn open(place: NbdPlace, of: Of<'_>, read_only: bool) -> io::Result<NbdDisk> {
        let security = match (place.scheme, of.security) {
            (Scheme::Nbd, _) => None,
            (Scheme::Lockstep, Some(security)) => Some(security.clone()),
            (Scheme::Lockstep, None) => {
                let text = "a disk at lockstep:// needs the server's key: give `--key FILE`, or `--insecure`";
                return Err(io::Error::other(text));
            }
        };
        let way = Way {
            addresses: place.addresses()?,
            place,
            security,
        };
        let nobody = Holder {
            vm: of.vm.clone(),
            epoch: Epoch(0),
            owner: 0,
        };
        let shape = way.look(&nobody).map_err(io::Error::other)?;
        let lacks = |flag| !read_only && !shape.flags.contains(flag);
        if lacks(TransmissionFlags::SEND_FLUSH) {
            return Err(io::Error::other(
                "the server cannot make writes durable: it offers no flush",
            ));
        }
        if !read_only && shape.answer.is_none() && shape.flags.contains(TransmissionFlags::READ_ONLY) {
            return Err(io::Error::other(
                "the server lets nobody write to it; say `readonly`",
            ));
        }
        if u64::from(shape.block_min) > SECTOR_LEN {
            let min = shape.block_min;
            return Err(io::Error::other(format!(
                "the server has blocks of {min} bytes, which are no sectors"
            )));
        }
        Ok(NbdDisk {
            remote: Arc::new(Remote::new(way, shape)),
            read_only,
        })
    }

    /// Does the server let only the newest epoch write?
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.remote.shape.answer.is_some()
    }
}

impl Backend for NbdDisk {
    fn capacity(&self) -> u64 {
        self.remote.shape.bytes - self.remote.shape.bytes % SECTOR_LEN
    }

    fn measure(&self) -> io::Result<u64> {
        // The size of an export is told when it is entered, and does not change until the next time.
        Ok(self.capacity())
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        for part in data.chunks_mut(self.remote.shape.payload_max as usize) {
            let read = self.remote.ask(Operation::Read, at, part.len() as u32, &[])?;
            part.copy_from_slice(&read);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for part in data.chunks(self.remote.shape.payload_max as usize) {
            self.remote.ask(Operation::Write, at, part.len() as u32, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if let Some(loss) = &self.remote.inside().loss {
            return Err(io::Error::other(loss.clone()));
        }
        self.remote.ask(Operation::Flush, 0, 0, &[])?;
        match &self.remote.inside().loss {
            Some(loss) => Err(io::Error::other(loss.clone())),
            None => Ok(()),
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.remote.shape.flags.contains(TransmissionFlags::SEND_TRIM) {
            self.in_parts(Operation::Trim, offset, length)?;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64, _unmap: bool) -> io::Result<()> {
        if self
            .remote
            .shape
            .flags
            .contains(TransmissionFlags::SEND_WRITE_ZEROES)
        {
            return self.in_parts(Operation::WriteZeroes, offset, length);
        }
        let zeroes = vec![0; ZEROES_LEN];
        let mut at = offset;
        while at < offset + length {
            let part = (offset + length - at).min(ZEROES_LEN as u64);
            self.write(at, &zeroes[..part as usize])?;
            at += part;
        }
        Ok(())
    }

    fn settles(&self) -> bool {
        false
    }

    fn look_for(&self, _placed: bool) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&self, _placed: bool) -> io::Result<()> {
        Ok(())
    }

    fn is_away(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotConnected
    }

    fn threads(&self) -> usize {
        NBD_THREADS
    }

    fn attendant(&self) -> Option<Attendant> {
        // From here on nobody else makes connections.
        self.remote.inside().attended = true;
        let remote = Arc::clone(&self.remote);
        Some(Box::new(move || remote.attend()))
    }

    fn close(&self) {
        self.remote.close();
    }
}

impl NbdDisk {
    /// Asks for a change of a long range. The parts are as long as a request can say and still begin and end
    /// at sectors.
    fn in_parts(&self, operation: Operation, offset: u64, length: u64) -> io::Result<()> {
        const PART: u64 = 1 << 30;
        let mut at = offset;
        while at < offset + length {
            let part = (offset + length - at).min(PART);
            self.remote.ask(operation, at, part as u32, &[])?;
            at += part;
        }
        Ok(())
    }
}

impl Keeper for NbdDisk {
    /// Asks the server who may write. The number of the writer's process is random, so another server cannot
    /// pass.
    fn check_writer(&self, writer: &Holder) -> Result<(), DiskError> {
        let open = |source| DiskError::Server {
            path: self.remote.name.clone(),
            source,
        };
        let looked = self.remote.way.look(writer).map_err(io::Error::other);
        let answer = looked.map_err(open)?.answer;
        let finding = match answer {
            Some(found) if (found.epoch, found.owner) == (writer.epoch.0, writer.owner) => {
                let mut inside = self.remote.inside();
                inside.answer = Some(found);
                inside.watch(writer);
                return Ok(());
            }
            Some(found) => format!("the disk server knows epoch {} of '{}'", found.epoch, writer.vm),
            None => "the disk server knows no epochs".into(),
        };
        Err(DiskError::NotShared {
            path: self.remote.name.clone(),
            host: os::identity::host_name(),
            finding,
            vm: writer.vm.to_string(),
            epoch: writer.epoch.0,
        })
    }

    fn lock(&self, holder: &Holder, _ended: Epoch) -> Result<(), LockError> {
        if self.read_only {
            return Ok(());
        }
        let mode = if holder.epoch.0 == 0 {
            Mode::Start
        } else {
            Mode::Write
        };
        self.remote.show(holder, mode)
    }

    fn confirm(&self) -> Result<(), LockError> {
        // The server looks at each change itself.
        match &self.remote.inside().lost {
            Some(lost) => Err(lost.error(&self.remote.name)),
            None => Ok(()),
        }
    }

    fn is_placed(&self) -> bool {
        true
    }

    fn release(&self) {
        self.remote.close();
    }

    fn stand_by(&self, next: &Holder) {
        let mut inside = self.remote.inside();
        inside.watch(next);
        inside.session += 1;
        inside.hang_up();
    }
}
