//! Opening a TAP interface and asking whether one is up: the two `ioctl`s that no crate in use wraps.
//!
//! # Safety argument
//! TUNSETIFF and SIOCGIFFLAGS read and write exactly one `struct ifreq`, 40 bytes on 64-bit Linux, at the
//! address given. `InterfaceRequest` is `repr(C)`, has that size (asserted at compile time), holds only
//! integers so that every bit pattern the kernel leaves in it is valid, and is borrowed mutably for the call
//! alone.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::ioctl::{Updater, ioctl};

const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
const SIOCGIFFLAGS: rustix::ioctl::Opcode = 0x8913;
const IFF_UP: u16 = 0x0001;
const IFF_RUNNING: u16 = 0x0040;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
/// IFNAMSIZ, which includes the final zero.
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
    let mut request = request(name, IFF_TAP | IFF_NO_PI)?;
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

/// Whether the interface `name` is up and has a carrier; `None`: there is no such interface.
///
/// # Errors
/// The kernel does not say.
pub fn is_running(name: &str) -> io::Result<Option<bool>> {
    let running = IFF_UP | IFF_RUNNING;
    Ok(flags(name)?.map(|flags| flags & running == running))
}

/// Whether somebody has set the interface `name` up, with or without a carrier; `None`: there is no such
/// interface.
///
/// # Errors
/// The kernel does not say.
pub fn is_up(name: &str) -> io::Result<Option<bool>> {
    Ok(flags(name)?.map(|flags| flags & IFF_UP != 0))
}

/// The flags of the interface `name`; `None`: there is no such interface.
fn flags(name: &str) -> io::Result<Option<u16>> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let mut request = request(name, 0)?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: SIOCGIFFLAGS takes a pointer to one `ifreq`, which `InterfaceRequest` is (see above).
    let update = unsafe { Updater::<SIOCGIFFLAGS, _>::new(&mut request) };
    // SAFETY: the opcode and the argument belong together, and the argument outlives the call.
    match unsafe { ioctl(&socket, update) } {
        Ok(()) => Ok(Some(request.flags)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn request(name: &str, flags: u16) -> io::Result<InterfaceRequest> {
    let mut request = InterfaceRequest {
        name: [0; NAME_SIZE],
        flags,
        rest: [0; 22],
    };
    if name.is_empty() || name.len() >= NAME_SIZE || name.bytes().any(|b| b == b'/' || b <= b' ') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    Ok(request)
}
