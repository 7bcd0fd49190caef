//! The programs that scripts in an appliance need to be run by.
//!
//! Debian lets packages use bash and perl without saying that they depend on them, as every system has both.
//! An appliance has them only if a program in it begins with their name; `appliance` asks here and fetches
//! the packages. Whatever else a script may need must stand in its package's dependencies, and is not looked
//! for.

use rehearsal::{Node, Tree};

/// The interpreters that packages need not depend on, and the packages that bring them.
const ESSENTIAL: [(&str, &str); 2] = [("bash", "bash"), ("perl", "perl-base")];

/// Directories in which programs are. A script elsewhere is an example, or part of something that names it.
const PROGRAM_DIRECTORIES: [&str; 2] = ["usr/bin/", "usr/sbin/"];

/// The packages of interpreters that programs in the tree need and that are not there.
pub fn missing(tree: &Tree) -> Vec<&'static str> {
    let is_needed = |name: &str| {
        tree.iter().any(|(path, node)| {
            PROGRAM_DIRECTORIES
                .iter()
                .any(|directory| path.starts_with(directory))
                && interpreter(node) == Some(name)
        })
    };
    ESSENTIAL
        .into_iter()
        .filter(|(name, _)| tree.get(&format!("usr/bin/{name}")).is_none() && is_needed(name))
        .map(|(_, package)| package)
        .collect()
}

/// The name of the program that a script's first line names.
fn interpreter(node: &Node) -> Option<&str> {
    let Node::File { data, .. } = node else {
        return None;
    };
    let line = data.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let name = words.next()?.rsplit('/').next()?;
    if name == "env" { words.next() } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_of_programs_are_missing_until_they_are_there() {
        let mut tree = Tree::default();
        tree.insert_file("usr/share/doc/example", 0o755, *b"#!/usr/bin/perl\n");
        tree.insert_file("usr/bin/tool", 0o755, *b"#!/bin/sh\n");
        tree.insert_file("usr/bin/binary", 0o755, *b"\x7fELF\n#!/bin/bash");
        assert_eq!(missing(&tree), [""; 0]);
        tree.insert_file("usr/bin/wrapper", 0o755, *b"#! /bin/bash -e\n");
        tree.insert_file("usr/sbin/admin", 0o755, *b"#!/usr/bin/env perl\n");
        assert_eq!(missing(&tree), ["bash", "perl-base"]);
        tree.insert_file("usr/bin/bash", 0o755, *b"");
        assert_eq!(missing(&tree), ["perl-base"]);
    }
}
