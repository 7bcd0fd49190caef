//! What no crate in use wraps of TCP sockets: how much of what was written the other end has not
//! acknowledged (an `ioctl`), and how fast the kernel may send (a socket option).
//!
//! # Safety argument
//! SIOCOUTQ writes exactly one `int` to the address given and reads nothing. The opcode and the type stand
//! together below, and `Getter` makes room for one `c_int`, of which every bit pattern is valid.
//! `setsockopt` only reads, from the address given, as many bytes as it is told: those of one `u64` that
//! lives through the call. The descriptor is borrowed, so it is open.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::ioctl::{Getter, Opcode, ioctl};

/// SIOCOUTQ, which has the number of TIOCOUTQ.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were written to a connected TCP socket and that its other end has not acknowledged; the end of
/// the stream counts as one.
///
/// # Errors
/// The socket is no TCP socket, or it listens.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ gives one `int` (see above).
    let question = unsafe { Getter::<SIOCOUTQ, c_int>::new() };
    // SAFETY: the opcode and the type of the answer belong together.
    let bytes = unsafe { ioctl(socket, question) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Has the kernel send no faster over this socket than so many bytes a second (SO_MAX_PACING_RATE of
/// socket(7)); `None`: as fast as it can. The bytes are those on the wire, headers included.
///
/// # Errors
/// The kernel is older than this option.
pub fn set_max_pacing_rate(socket: &impl AsFd, bytes_per_second: Option<u64>) -> io::Result<()> {
    // All bits set is the kernel's word for "unlimited".
    let rate = bytes_per_second.unwrap_or(u64::MAX);
    let fd = socket.as_fd().as_raw_fd();
    let length = size_of::<u64>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE);
    // SAFETY: the kernel reads the eight bytes of `rate`, which lives through the call (see above).
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const rate).cast(), length) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_the_other_end_has_no_room_for_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&near).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(length) = near.write(&[1; 65536]) {
            sent += length;
        }
        assert!(unacknowledged(&near).unwrap() > 0);
        far.read_exact(&mut vec![0; sent]).unwrap();
        while unacknowledged(&near).unwrap() > 0 {}
    }
}
