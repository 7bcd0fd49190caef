//! Memory for generated code: one file in memory, mapped twice, so that no page is ever writable and executable at the
//! same address (W^X).

use std::io;

/// Code that has been written, in the order in which it was; all of it goes at once. What is executed often lies in the
/// first half, close together; the rest in the second.
pub struct Memory {
    writable: *mut u8,
    executable: *const u8,
    size: usize,
    used: usize,
    used_cold: usize,
}

// SAFETY: both mappings belong to this value alone and are not tied to a thread.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps so many bytes, which the host allocates as they are used.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn new(size: usize) -> io::Result<Memory> {
        // SAFETY: the name is a C string; the call touches no memory of ours.
        let file = unsafe { libc::memfd_create(c"lockstep-code".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        let map = |protection| {
            // SAFETY: a fresh mapping at an address of the kernel's choice touches no other memory.
            unsafe { libc::mmap(std::ptr::null_mut(), size, protection, libc::MAP_SHARED, file, 0) }
        };
        // SAFETY: `file` is open.
        let sized = unsafe { libc::ftruncate(file, size as libc::off_t) };
        let writable = map(libc::PROT_READ | libc::PROT_WRITE);
        let executable = map(libc::PROT_READ | libc::PROT_EXEC);
        let error = io::Error::last_os_error();
        // SAFETY: `file` is open, and closed only here; the mappings keep what is behind it.
        unsafe { libc::close(file) };
        if sized < 0 || writable == libc::MAP_FAILED || executable == libc::MAP_FAILED {
            return Err(error);
        }
        Ok(Memory {
            writable: writable.cast(),
            executable: executable.cast_const().cast(),
            size,
            used: 0,
            used_cold: size / 2,
        })
    }

    /// Where the next code will be.
    pub fn next(&self) -> u64 {
        self.executable as u64 + self.used as u64
    }

    /// Where the next code that is rarely executed will be.
    pub fn next_cold(&self) -> u64 {
        self.executable as u64 + self.used_cold as u64
    }

    /// Overwrites four bytes of code at an address that it has.
    pub fn patch(&mut self, at: u64, bytes: [u8; 4]) {
        let offset = at.wrapping_sub(self.executable as u64) as usize;
        assert!(offset <= self.size - bytes.len(), "this is not code");
        self.write(offset, &bytes);
    }

    /// Copies code and what of it is rarely executed to where they were said to be; `None` if they do not fit. Returns the
    /// former's address.
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
        Some(unsafe { self.executable.add(begin) })
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.size && bytes.len() <= self.size - offset);
        // SAFETY: inside the mapping or at its end, as has just been checked.
        let to = unsafe { self.writable.add(offset) };
        // SAFETY: likewise for all of them; nobody else's bytes are in the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Forgets all code behind the first `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        self.used = keep.next_multiple_of(16);
        self.used_cold = self.size / 2;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; nobody executes it without a borrow of its owner.
        unsafe { libc::munmap(self.writable.cast(), self.size) };
        // SAFETY: as above.
        unsafe { libc::munmap(self.executable.cast_mut().cast(), self.size) };
    }
}
