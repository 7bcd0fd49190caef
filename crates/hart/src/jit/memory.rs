//! Memory for generated code. It is mapped twice, so that no page is ever writable and executable at the same
//! address (W^X).
//!
//! Code is only added, after what was added before, until all of it goes at once. Hot code lies in the first
//! half of the memory, close together, and cold code in the second.
//!
//! The directory (`translations`) owns the memory: it adds the code of each superblock and patches the jumps
//! between superblocks; `support` maps as much once, to ask whether the kernel gives it. Nothing here knows
//! what the bytes do or whether they are being executed, so only the directory may decide when all code goes:
//! never while generated code runs.

use std::io;

/// Bytes of machine code that are kept at most: 128 MiB.
pub const CODE_MAX: usize = 128 << 20;

/// Memory that holds code.
pub struct Memory {
    /// The mapping through which code is written.
    writable: Mapping,
    /// The mapping at which it is executed; all addresses are those of this one.
    executable: Mapping,
    /// Bytes of each mapping.
    size: usize,
    /// Where the next hot code will be, as an offset; at most half the size.
    used: usize,
    /// Where the next cold code will be, as an offset; at least half the size.
    used_cold: usize,
}

// SAFETY: both mappings belong to this value alone and are not tied to a thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps so many bytes, which the host allocates as they are used.
    ///
    /// # Errors
    /// As the kernel gives them; then nothing is mapped.
    pub fn new(size: usize) -> io::Result<Memory> {
        let executable = Mapping::new(size)?;
        let writable = executable.again()?;
        Ok(Memory {
            writable,
            executable,
            size,
            used: 0,
            used_cold: size / 2,
        })
    }

    /// The address where the next hot code will be.
    pub fn next(&self) -> u64 {
        self.executable.at as u64 + self.used as u64
    }

    /// The address where the next cold code will be.
    pub fn next_cold(&self) -> u64 {
        self.executable.at as u64 + self.used_cold as u64
    }

    /// Lets the jump whose last four bytes are at an address of the code lead to another such address.
    pub fn patch(&mut self, at: u64, to: u64) {
        let offset = at.wrapping_sub(self.executable.at as u64) as usize;
        assert!(offset <= self.size - 4, "this is not code");
        let distance = to.wrapping_sub(at + 4) as u32;
        self.write(offset, &distance.to_le_bytes());
    }

    /// Copies hot code and cold code to where [`Memory::next`] and [`Memory::next_cold`] said. Returns the
    /// address of the hot code; `None` if they do not fit.
    pub fn add(&mut self, code: &[u8], cold: &[u8]) -> Option<*const u8> {
        let (begin, begin_cold) = (self.used, self.used_cold);
        let (end, end_cold) = (begin + code.len(), begin_cold + cold.len());
        if end > self.size / 2 || end_cold > self.size {
            return None;
        }
        self.write(begin, code);
        self.write(begin_cold, cold);
        self.used = end.next_multiple_of(16).min(self.size / 2);
        self.used_cold = end_cold;
        // SAFETY: `begin` is inside the mapping or at its end.
        Some(unsafe { self.executable.at.cast_const().add(begin) })
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.size && bytes.len() <= self.size - offset);
        // SAFETY: inside the mapping or at its end, as has just been checked.
        let to = unsafe { self.writable.at.add(offset) };
        // SAFETY: likewise for all of them; nobody else's bytes are in the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Forgets all code but the first `keep` bytes of hot code.
    pub fn clear(&mut self, keep: usize) {
        self.used = keep.next_multiple_of(16);
        self.used_cold = self.size / 2;
    }
}

/// One of the two mappings, which belongs to this value alone.
struct Mapping {
    at: *mut u8,
    size: usize,
}

impl Mapping {
    /// Fresh memory, to be executed.
    fn new(size: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // Neither private memory, which cannot be mapped a second time, nor a file: what is executed from one
        // is said to be that file's by `perf`, and not looked up in the map of a process that generates code.
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        Mapping::checked(at, size)
    }

    /// The same memory at another address, to be written. To take the right to execute away is always
    /// allowed, to add it is not (`PR_SET_MDWE`), hence this order.
    fn again(&self) -> io::Result<Mapping> {
        // SAFETY: a length of 0 leaves the old mapping as it is and makes a second one, at an address of the
        // kernel's choice.
        let at = unsafe { libc::mremap(self.at.cast(), 0, self.size, libc::MREMAP_MAYMOVE) };
        let mapping = Mapping::checked(at, self.size)?;
        // SAFETY: the mapping is ours and nobody uses it yet.
        match unsafe { libc::mprotect(at, self.size, libc::PROT_READ | libc::PROT_WRITE) } {
            0 => Ok(mapping),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn checked(at: *mut libc::c_void, size: usize) -> io::Result<Mapping> {
        match at {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            at => Ok(Mapping { at: at.cast(), size }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size; nobody executes or writes it without a borrow of its owner.
        unsafe { libc::munmap(self.at.cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_would_be_executed() {
        let mut memory = Memory::new(1 << 16).unwrap();
        let (next, next_cold) = (memory.next(), memory.next_cold());
        let code = memory.add(&[1, 2, 3, 4, 5], &[6, 7]).unwrap();
        memory.patch(next + 1, next + 5 + 0x0f0e_0d0c);
        // SAFETY: the code was put there.
        let hot = unsafe { std::slice::from_raw_parts(code, 5) };
        assert_eq!((code as u64, hot), (next, &[1, 12, 13, 14, 15][..]));
        // SAFETY: likewise.
        let cold = unsafe { std::slice::from_raw_parts(next_cold as *const u8, 2) };
        assert_eq!(cold, [6, 7]);
    }

    #[test]
    fn memory_that_the_kernel_does_not_give_is_an_error_and_leaves_nothing_mapped() {
        // More than there are addresses: the first mapping fails.
        assert!(Memory::new(1 << 62).is_err());
        // More than half of them: the first one succeeds, the second fails, and the first is there to be had
        // again.
        let size = 80 << 40;
        let Ok(first) = Mapping::new(size) else {
            return; // This host is more careful with addresses.
        };
        assert!(first.again().is_err());
        drop(first);
        assert!(Memory::new(size).is_err());
        assert!(Mapping::new(size).is_ok());
    }
}
