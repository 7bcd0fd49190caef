//! Random numbers from the host: what the guest asked for, and names that nobody else chooses.
//!
//! Numbers for the guest go through the log; nothing of a replay asks here.

use machine::Input;

/// Bytes that the guest gets at most for one wish.
const ENTROPY_LEN_MAX: u32 = 64 << 10;

/// The answer to a wish for `bytes` random bytes.
#[must_use]
pub fn answer(bytes: u32) -> Input {
    let mut random = vec![0; bytes.min(ENTROPY_LEN_MAX) as usize];
    fill(&mut random);
    Input::Entropy { bytes: random }
}

/// A random number that no other process draws, for an owner or a name.
#[must_use]
pub fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    // This fails only on kernels without getrandom(2) and without /dev/urandom, where nothing here can run.
    assert!(getrandom::fill(bytes).is_ok(), "the host gives no random numbers");
}
