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

/// A new UUID of random bits (RFC 9562 section 5.4), in lower case.
#[must_use]
pub fn uuid() -> String {
    let bits = random_u128();
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{bits:032x}");
    let (a, rest) = text.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    // This fails only on kernels without getrandom(2) and without /dev/urandom, where nothing here can run.
    assert!(getrandom::fill(bytes).is_ok(), "the host gives no random numbers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_and_says_of_which_version_and_variant_it_is() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&one[14..15], "4");
        assert!("89ab".contains(&one[19..20]), "{one}");
    }
}
