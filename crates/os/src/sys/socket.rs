//! Asking how much of what was written to a TCP socket its other end has not acknowledged: an `ioctl` that no
//! crate in use wraps.
//!
//! # Safety argument
//! SIOCOUTQ writes exactly one `int` to the address given and reads nothing. The opcode and the type stand
//! together below, and `Getter` makes room for one `c_int`, of which every bit pattern is valid.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

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
