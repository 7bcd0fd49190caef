//! `Parcel`: bytes with room in front of them, so that a head is put before them without copying them.
//!
//! The log is encoded straight into the parcel that goes to the link or into the file: the frame's head and
//! then the message's are written before the entries when these are complete. The kernel's network buffers do
//! the same (`skb_push`). A parcel never knows what its bytes mean.

use std::fmt;
use std::ops::Deref;

/// Bytes with room in front of them. Equal if the bytes are, whatever the room.
#[derive(Clone, Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    /// How many of `bytes`, from the first, are room and do not count; never more than there are.
    room: usize,
}

impl Parcel {
    /// No bytes, and `room` bytes of room before them.
    #[must_use]
    pub fn with_room(room: usize) -> Parcel {
        Parcel {
            bytes: vec![0; room],
            room,
        }
    }

    /// Puts a head before the bytes: in the room, or by moving all bytes if there is not enough.
    pub fn prepend(&mut self, head: &[u8]) {
        let Some(start) = self.room.checked_sub(head.len()) else {
            self.bytes.splice(..self.room, head.iter().copied());
            self.room = 0;
            return;
        };
        if let Some(place) = self.bytes.get_mut(start..self.room) {
            place.copy_from_slice(head);
        }
        self.room = start;
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }
}

impl Deref for Parcel {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.room..).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Parcel {
    fn from(bytes: Vec<u8>) -> Parcel {
        Parcel { bytes, room: 0 }
    }
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Parcel) -> bool {
        **self == **other
    }
}

impl Eq for Parcel {}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_stands_before_the_bytes_with_room_for_it_and_without() {
        for room in 0..8 {
            let mut parcel = Parcel::with_room(room);
            parcel.extend(b"body");
            parcel.prepend(b"two ");
            parcel.prepend(b"one ");
            assert_eq!(&*parcel, b"one two body", "{room} bytes of room");
        }
    }
}
