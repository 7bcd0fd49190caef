//! From the files of packages to a system in which a service finds what it expects: users, directories with
//! their owners, names of hosts, links.
//!
//! `appliance` calls [`settle`] between `assemble`, which brings the files of the packages, and its own
//! files. What the packages ask for is the matter of the crate `rehearsal`; what every system has is added
//! here, and must never replace a file of a package.

use std::path::Path;

use rehearsal::{Node, Package, Tree, Undone};

use super::error::ImageError;

/// The packages that every Debian system has, whose files a service counts on: directories, users, locale.
pub const BASE_PACKAGES: [&str; 3] = ["base-files", "base-passwd", "libc-bin"];

/// Files that are there even if no package brings them.
const FALLBACK_FILES: [(&str, &str); 5] = [
    ("etc/hostname", "lockstep\n"),
    (
        "etc/hosts",
        "127.0.0.1 localhost\n127.0.1.1 lockstep\n::1 localhost ip6-localhost ip6-loopback\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    ("etc/fstab", ""),
    ("etc/resolv.conf", ""),
];

/// The links in /dev that programs open by name, and that nobody else makes without udev.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// Makes a system of the files in `tree`. `root`: where the packages are unpacked, with the files that did
/// not go into the tree. Returns what the installation of the packages would do besides.
pub fn settle(tree: &mut Tree, root: &Path, packages: &[Package]) -> Result<Vec<Undone>, ImageError> {
    let undone = rehearsal::rehearse(tree, root, packages)?;
    add_fallbacks(tree);
    Ok(undone)
}

/// Puts in place what base-files would have brought if it is not there, and what makes names work.
fn add_fallbacks(tree: &mut Tree) {
    for directory in [
        "data",
        "dev",
        "proc",
        "root",
        "run",
        "sys",
        "usr/local/bin",
        "usr/sbin",
        "var/lib",
        "var/log",
        "var/tmp",
    ] {
        tree.insert_directory(directory);
    }
    for directory in ["tmp", "var/tmp", "run/lock"] {
        tree.insert(directory, Node::Directory { mode: 0o1777 });
    }
    for (path, target) in DEVICE_LINKS {
        tree.insert(path, Node::Symlink(target.to_owned()));
    }
    if tree.get("usr/bin/sh").is_none() {
        tree.insert("usr/bin/sh", Node::Symlink("busybox".to_owned()));
    }
    for (path, text) in FALLBACK_FILES {
        if tree.get(path).is_none() {
            tree.insert_file(path, 0o644, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_has_names_of_hosts_and_a_directory_for_everybody_and_keeps_what_packages_bring() {
        let root = tempfile::tempdir().unwrap();
        let masters = root.path().join("usr/share/base-passwd");
        std::fs::create_dir_all(&masters).unwrap();
        for list in ["passwd.master", "group.master"] {
            std::fs::write(masters.join(list), "").unwrap();
        }
        let mut tree = Tree::default();
        tree.insert_file("etc/nsswitch.conf", 0o644, *b"hosts: files\n");
        assert_eq!(settle(&mut tree, root.path(), &[]).unwrap(), []);
        let text = |path: &str| match tree.get(path) {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        };
        assert_eq!(tree.get("tmp"), Some(&Node::Directory { mode: 0o1777 }));
        assert!(text("etc/hosts").contains("127.0.0.1 localhost\n"));
        assert_eq!(text("etc/nsswitch.conf"), "hosts: files\n");
    }

    #[test]
    fn a_list_of_base_passwd_that_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = settle(&mut Tree::default(), root.path(), &[]).unwrap_err();
        let path = root.path().join("usr/share/base-passwd/passwd.master");
        assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
    }
}
