//! `Backend`: the seam between a disk and what stores its sectors. What a request does to the storage is
//! decided in `policy`, and `lock` decides who may write; a backend does what it is told.

use std::io;

use crate::limits::DISK_THREADS;

/// The body of a thread that a backend needs as long as its disk is used.
pub type Attendant = Box<dyn FnOnce() + Send>;

/// Length of a sector in bytes.
pub const SECTOR_LEN: u64 = 512;

/// Storage made of sectors. Offsets and lengths are bytes within the capacity. All functions but `capacity`
/// and `settles` may block.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Capacity in bytes: what requests may reach. It only grows.
    fn capacity(&self) -> u64;
    /// Looks at the storage and gives its present size in bytes; a larger one becomes the capacity.
    ///
    /// # Errors
    /// As the storage gives them.
    fn measure(&self) -> io::Result<u64>;
    /// Told once this process is the disk's writer, before its first write, and perhaps again: from now on
    /// nobody else changes the storage. What is open already has nothing to do.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn begin_writing(&self) -> io::Result<()> {
        Ok(())
    }
    /// Fills `data` from `offset`.
    ///
    /// # Errors
    /// As the storage gives them.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// As the storage gives them.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all finished writes durable.
    ///
    /// # Errors
    /// As the storage gives them.
    fn flush(&self) -> io::Result<()>;
    /// Tells the storage that the content is not needed any more.
    ///
    /// # Errors
    /// As the storage gives them; storage that cannot forget does nothing.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Makes the content zero; with `unmap` the file system may take the space back.
    ///
    /// # Errors
    /// As the storage gives them.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;
    /// Whether every finished write is durable by itself. Then nothing is lost when a flush fails, and
    /// another flush may be tried.
    fn settles(&self) -> bool;
    /// Looks whether the name leads to the storage that is open, and changes nothing. `placed`: as in
    /// [`Backend::reopen`].
    ///
    /// # Errors
    /// As the storage gives them, or the name leads to other storage.
    fn look_for(&self, placed: bool) -> io::Result<()>;
    /// Opens the storage anew by its name, so that nothing is read that was remembered from before. `placed`:
    /// the disk's lock shows that the name leads to where it did before, so that a file system may have been
    /// mounted anew.
    ///
    /// # Errors
    /// As the storage gives them, or the name leads to other storage; the disk then stays as it was.
    fn reopen(&self, placed: bool) -> io::Result<()>;
    /// Does the error say that the storage is away, and may come back? Then a request waits for it.
    fn is_away(&self, _error: &io::Error) -> bool {
        false
    }
    /// How many requests the storage should have at once: so many threads wait for it.
    fn threads(&self) -> usize {
        DISK_THREADS
    }
    /// The body of a thread that serves the storage until [`Backend::close`]; `None`: it needs none.
    fn attendant(&self) -> Option<Attendant> {
        None
    }
    /// Ends the use of the storage. No request is under way.
    fn close(&self) {}
}
