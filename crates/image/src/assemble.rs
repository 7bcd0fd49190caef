//! From unpacked packages to the file tree of an appliance: what goes in, and which libraries it needs.
//!
//! All files of the packages go in, except documentation and files that only maintainer scripts, systemd or a
//! compiler would read. Shared libraries in the system's library directory go in only when a program or
//! another library names them, which keeps a Redis appliance at a third of what its packages unpack to.
//!
//! `appliance` calls this after `dpkg-deb` has unpacked the packages, and adds its own files to the tree. The
//! tree must depend on the packages alone, never on this machine's files: links are copied, not followed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rehearsal::{Node, Tree};

use super::elf;
use super::error::ImageError;

/// The directories whose libraries go in only when needed.
const LIBRARY_DIRECTORIES: [&str; 2] = ["usr/lib/riscv64-linux-gnu/", "usr/lib/"];

/// Libraries that no file says it needs: the C library opens this one by name, when a thread is cancelled.
const LIBRARIES_OPENED_LATER: [&str; 1] = ["libgcc_s.so.1"];

/// Beginnings of the paths that do not go in.
const LEFT_OUT: [&str; 37] = [
    "boot/",
    "etc/apparmor.d/",
    "etc/cron",
    "etc/init.d/",
    "etc/logrotate.d/",
    "etc/systemd/",
    "usr/bin/ldd/",
    "usr/bin/localedef/",
    "usr/bin/tzselect/",
    "usr/include/",
    "usr/lib/debug/",
    "usr/lib/modules/",
    "usr/lib/riscv64-linux-gnu/audit/",
    "usr/lib/riscv64-linux-gnu/gconv/",
    "usr/lib/riscv64-linux-gnu/opensbi/",
    "usr/lib/riscv32-linux-gnu/",
    "usr/lib/riscv64-linux-gnu/pkgconfig/",
    "usr/lib/systemd/",
    "usr/lib/sysusers.d/",
    "usr/lib/tmpfiles.d/",
    "usr/sbin/iconvconfig/",
    "usr/sbin/update-passwd/",
    "usr/sbin/zic/",
    "usr/share/base-passwd/",
    "usr/share/bash-completion/",
    "usr/share/bug/",
    "usr/share/common-licenses/",
    "usr/share/doc-base/",
    "usr/share/doc/",
    "usr/share/gcc/",
    "usr/share/gdb/",
    "usr/share/info/",
    "usr/share/initramfs-tools/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/zsh/",
];

/// Directories that Debian has merged into /usr: a package may still name the old place.
const MERGED: [&str; 3] = ["bin", "sbin", "lib"];

/// The tree of the packages unpacked in `root`.
pub fn package_files(root: &Path) -> Result<Tree, ImageError> {
    let mut everything = Tree::default();
    add_directory(root, "", &mut everything)?;
    let needed = needed_libraries(&everything);
    everything.retain(|path, _| !is_library(path) || needed.contains(path));
    for directory in MERGED {
        everything.insert(directory, Node::Symlink(format!("usr/{directory}")));
    }
    Ok(everything)
}

fn add_directory(root: &Path, prefix: &str, tree: &mut Tree) -> Result<(), ImageError> {
    let directory = root.join(prefix);
    for entry in fs::read_dir(&directory).map_err(ImageError::file("read", &directory))? {
        let entry = entry.map_err(ImageError::file("read", &directory))?;
        let host_path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(ImageError::package(
                "given",
                format!("{} has a strange name", host_path.display()),
            ));
        };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(ImageError::file("read", &host_path))?;
        let guest_path = merged(&path);
        let as_directory = format!("{guest_path}/");
        if LEFT_OUT.iter().any(|left_out| as_directory.starts_with(left_out)) {
            continue;
        }
        if kind.is_dir() {
            if !MERGED.contains(&path.as_str()) {
                let metadata = entry.metadata().map_err(ImageError::file("read", &host_path))?;
                let mode = metadata.permissions().mode() & 0o7777;
                tree.insert(&guest_path, Node::Directory { mode });
            }
            add_directory(root, &format!("{path}/"), tree)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&host_path).map_err(ImageError::file("read", &host_path))?;
            // Names in Debian's packages are UTF-8.
            tree.insert(&guest_path, Node::Symlink(target.to_string_lossy().into_owned()));
        } else if kind.is_file() {
            let data = fs::read(&host_path).map_err(ImageError::file("read", &host_path))?;
            let metadata = entry.metadata().map_err(ImageError::file("read", &host_path))?;
            tree.insert_file(&guest_path, metadata.permissions().mode() & 0o7777, data);
        }
    }
    Ok(())
}

/// Writes `bin/x` as `usr/bin/x`.
fn merged(path: &str) -> String {
    match path.split_once('/') {
        Some((first, _)) if MERGED.contains(&first) => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

/// Whether this is a shared library of the system's library directories, and not a plug-in below them.
fn is_library(path: &str) -> bool {
    library_name(path).is_some_and(|name| name.contains(".so"))
}

fn library_name(path: &str) -> Option<&str> {
    LIBRARY_DIRECTORIES
        .iter()
        .find_map(|directory| path.strip_prefix(directory))
        .filter(|name| !name.contains('/'))
}

/// The paths of the libraries that anything in the tree needs, links on the way included.
fn needed_libraries(tree: &Tree) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    // Names still to be looked up: first those that programs and plug-ins need, then those that these
    // libraries need, and so on.
    let mut names: Vec<String> = LIBRARIES_OPENED_LATER.map(str::to_owned).to_vec();
    names.extend(
        tree.iter()
            .filter(|(path, _)| !is_library(path))
            .flat_map(|(_, node)| libraries_of(node)),
    );
    while let Some(name) = names.pop() {
        for directory in LIBRARY_DIRECTORIES {
            let path = format!("{directory}{name}");
            let Some(node) = tree.get(&path) else { continue };
            if !needed.insert(path) {
                continue;
            }
            match node {
                // The link libx.so.1 -> libx.so.1.2.3 is in the same directory, or names its target in full.
                Node::Symlink(target) => names.extend(target.rsplit('/').next().map(str::to_owned)),
                node => names.extend(libraries_of(node)),
            }
        }
    }
    needed
}

fn libraries_of(node: &Node) -> Vec<String> {
    match node {
        Node::File { data, .. } => elf::needed_libraries(data),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Unpacked packages made by hand. The test program itself stands for a program: it needs the C library.
    fn fixture(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("lockstep-assemble-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let write = |path: &str, data: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, data).unwrap();
        };
        let library = "usr/lib/riscv64-linux-gnu";
        write("usr/bin/program", &fs::read("/proc/self/exe").unwrap());
        write("bin/old-place", b"#!/bin/sh\n");
        write("usr/share/doc/program/copyright", b"text");
        write(&format!("{library}/libc-2.99.so"), b"library");
        std::os::unix::fs::symlink("libc-2.99.so", root.join(library).join("libc.so.6")).unwrap();
        write(&format!("{library}/libunused.so.1"), b"library");
        write(&format!("{library}/program/plugin.so"), b"plug-in");
        write("etc/program.conf", b"setting");
        root
    }

    #[test]
    fn tree_has_programs_plugins_and_the_libraries_they_name() {
        let root = fixture("tree");
        let tree = package_files(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        for present in [
            "usr/bin/program",
            "usr/bin/old-place",
            "etc/program.conf",
            "usr/lib/riscv64-linux-gnu/libc.so.6",
            "usr/lib/riscv64-linux-gnu/libc-2.99.so",
            "usr/lib/riscv64-linux-gnu/program/plugin.so",
        ] {
            assert!(tree.get(present).is_some(), "{present} is missing");
        }
        for absent in [
            "usr/share/doc/program/copyright",
            "usr/lib/riscv64-linux-gnu/libunused.so.1",
            "bin/old-place",
        ] {
            assert!(tree.get(absent).is_none(), "{absent} is there");
        }
        assert_eq!(tree.get("bin"), Some(&Node::Symlink("usr/bin".into())));
    }
}
