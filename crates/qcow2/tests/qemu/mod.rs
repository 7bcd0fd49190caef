//! QEMU's own tools of the package qemu-utils, for what the tests of this crate are compared with; and
//! numbers that look random.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::process::Command;

/// Runs a program of QEMU in a directory; what it says.
pub fn run(directory: &Path, program: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program)
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("the programs of the package qemu-utils");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs `qemu-img`, which must succeed.
pub fn img(directory: &Path, arguments: &[&str]) {
    let (code, text) = run(directory, "qemu-img", arguments);
    assert_eq!(code, Some(0), "qemu-img {arguments:?}: {text}");
}

/// Runs commands of `qemu-io` on an image, which must succeed.
pub fn io(directory: &Path, image: &str, commands: &[&str]) {
    let mut arguments = vec!["-f", "qcow2", image];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    let (code, text) = run(directory, "qemu-io", &arguments);
    assert_eq!(code, Some(0), "qemu-io {commands:?}: {text}");
}

/// Numbers that look random (splitmix64).
pub struct Draw(pub u64);

impl Draw {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Bytes, of which one half compresses well.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let number = self.next();
            let word = if number.is_multiple_of(3) {
                number
            } else {
                number >> 60
            };
            bytes.extend(word.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
