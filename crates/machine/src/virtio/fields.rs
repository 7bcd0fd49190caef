//! `Fields`: the numbers of a structure that the driver wrote, one after the other, little-endian
//! (VIRTIO 1.4).
//!
//! A device copies a structure out of guest memory first and reads its numbers from the copy, so that the
//! guest cannot change one between two looks. Nothing here fails: a structure that is too short reads as
//! zero.

/// What is left of a structure.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_order_and_then_zeroes() {
        let mut fields = Fields(&[1, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 5]);
        assert_eq!(fields.u16(), 1);
        assert_eq!(fields.u32(), 0x0003_0200);
        assert_eq!(fields.u64(), 4 << 56);
        assert_eq!((fields.u64(), fields.u16()), (0, 0));
    }
}
