//! `Backend`: something with sectors. What a request does to it is decided above, who may write it as well.

use std::io;

/// Bytes of a sector.
pub const SECTOR_LEN: u64 = 512;

/// Something with sectors. Offsets and lengths are bytes within the capacity. All of it may block.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Capacity in bytes.
    fn capacity(&self) -> u64;
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
    /// The content is not needed any more.
    ///
    /// # Errors
    /// As the storage gives them; storage that cannot forget does nothing.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Makes the content zero; with `unmap` the space may be given back.
    ///
    /// # Errors
    /// As the storage gives them.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;
    /// Is every finished write durable by itself? Then nothing is lost when a flush fails, and another one
    /// may be tried.
    fn settles(&self) -> bool;
    /// Opens the storage anew by its name, so that nothing is read that was remembered from before. `placed`:
    /// its lock shows that the name leads to where it did before, so that a file system may have been mounted
    /// anew.
    ///
    /// # Errors
    /// As the storage gives them, or the name leads to another one; the disk is as it was then.
    fn reopen(&self, placed: bool) -> io::Result<()>;
}
