//! Opening a TAP interface: the one `ioctl` that no crate in use wraps.
//!
//! # Safety argument
//! TUNSETIFF reads and writes exactly one `struct ifreq`, 40 bytes on 64-bit Linux, at the address given.
//! `InterfaceRequest` is `repr(C)`, has that size (asserted at compile time), holds only integers so that
//! every bit pattern the kernel leaves in it is valid, and is borrowed mutably for the call alone.
#![allow(unsafe_code, reason = "unsafe island 3: see the safety argument")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::ioctl::{Updater, ioctl};

const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
/// IFNAMSIZ, with the final zero.
const NAME_SIZE: usize = 16;

#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_SIZE],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);

/// Opens the TAP interface `name`, non-blocking, without packet information. Creates it if the caller may.
///
/// # Errors
/// As the kernel gives them: ENOENT without the `tun` module, EPERM, EBUSY, EINVAL for a name in other use.
pub fn open_tap(name: &str) -> io::Result<File> {
    let mut request = InterfaceRequest {
        name: [0; NAME_SIZE],
        flags: IFF_TAP | IFF_NO_PI,
        rest: [0; 22],
    };
    if name.is_empty() || name.len() >= NAME_SIZE || name.bytes().any(|b| b == b'/' || b <= b' ') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open("/dev/net/tun")?;
    // SAFETY: TUNSETIFF takes a pointer to one `ifreq`, which `InterfaceRequest` is (see above).
    let update = unsafe { Updater::<TUNSETIFF, _>::new(&mut request) };
    // SAFETY: the opcode and the argument belong together, and the argument outlives the call.
    unsafe { ioctl(&device, update) }?;
    Ok(device)
}
