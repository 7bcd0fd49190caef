//! Reference counts in a refcount block: numbers of 1 to 64 bits, one for each cluster of the file.
//!
//! Counts of less than a byte begin at the byte's lowest bits; longer ones have their highest byte first.

/// The count at `index` of a block whose counts have 2^`order` bits; 0 behind the end of the block.
pub fn get(block: &[u8], index: usize, order: u32) -> u64 {
    if order < 3 {
        let (byte, shift, mask) = place(index, order);
        return block.get(byte).map_or(0, |byte| u64::from(byte >> shift & mask));
    }
    let length = 1 << (order - 3);
    let bytes = block
        .get(index * length..(index + 1) * length)
        .unwrap_or_default();
    bytes.iter().fold(0, |count, byte| count << 8 | u64::from(*byte))
}

/// Changes the count at `index` of a block whose counts have 2^`order` bits. The count must fit them.
pub fn set(block: &mut [u8], index: usize, order: u32, count: u64) {
    if order < 3 {
        let (byte, shift, mask) = place(index, order);
        if let Some(byte) = block.get_mut(byte) {
            *byte = *byte & !(mask << shift) | (count as u8 & mask) << shift;
        }
        return;
    }
    let length = 1 << (order - 3);
    let bytes = count.to_be_bytes();
    let from = bytes.get(8 - length..).unwrap_or_default();
    if let Some(place) = block.get_mut(index * length..(index + 1) * length) {
        place.copy_from_slice(from);
    }
}

/// The byte in which a count of less than a byte stands, how far it is shifted there, and its bits.
fn place(index: usize, order: u32) -> (usize, u32, u8) {
    let (bits, in_byte) = (1 << order, 8 >> order);
    let shift = (index % in_byte) as u32 * bits;
    (index / in_byte, shift, (1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_each_width_stay_apart() {
        for order in 0..=6 {
            let mut block = vec![0; 64];
            let counts = (64 * 8) >> order;
            let largest = u64::MAX >> (64 - (1 << order));
            let value = |index: usize| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & largest;
            for index in 0..counts {
                set(&mut block, index, order, largest);
                set(&mut block, index, order, value(index));
            }
            for index in 0..counts {
                assert_eq!(get(&block, index, order), value(index), "{order} {index}");
            }
            assert_eq!(get(&block, counts, order), 0);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut block = [0; 8];
        set(&mut block, 1, 4, 0x1234);
        assert_eq!(block, [0, 0, 0x12, 0x34, 0, 0, 0, 0]);
        set(&mut block, 9, 0, 1);
        assert_eq!(block[1], 2);
        set(&mut block, 1, 2, 5);
        assert_eq!(block[0], 0x50);
    }
}
