//! Numbers that stand for a history: everything that happens to a toy is mixed into one.
//!
//! Both programs mix their state with these functions, and the simulator its seeds, fingerprints and outputs.
//! The functions must give the same numbers for ever, because seeds are written into commit messages and test
//! names.

/// Mixes `value` into `hash`. Not cryptographic; good enough that two different histories meet once in 2^64.
#[must_use]
pub const fn mix(hash: u64, value: u64) -> u64 {
    let mut z = hash.rotate_left(23) ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Mixes bytes into `hash`.
#[must_use]
pub fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}
