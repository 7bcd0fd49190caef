//! From the files of packages to a system in which a service finds what it expects: users, directories with
//! their owners, names of hosts, links.
//!
//! `appliance` calls [`settle`] between `assemble`, which brings the files of the packages, and its own
//! files. Everything comes from what the packages say themselves: base-passwd's lists, sysusers.d,
//! tmpfiles.d, units and maintainer scripts. What could not be done for a package is returned, never dropped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::apt::Owned;
use super::cpio::{Node, Owner, Tree};
use super::error::ImageError;
use super::script::{Scripts, Undone, rehearse};
use super::{sysusers, tmpfiles};

/// The packages that every Debian system has, whose files a service counts on: directories, users, locale.
pub const BASE_PACKAGES: [&str; 3] = ["base-files", "base-passwd", "libc-bin"];

/// Directory of base-passwd's lists.
const MASTERS: &str = "usr/share/base-passwd";

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
pub const DEVICE_LINKS: [(&str, &str); 4] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// What a package says of itself besides its files.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// The maintainer scripts.
    pub scripts: Scripts,
    /// The paths that are not root's.
    pub owned: Vec<Owned>,
}

/// Makes a system of the files in `tree`. `root`: where the packages are unpacked, with the files that did
/// not go into the tree. Returns what the packages' scripts would do besides.
pub fn settle(tree: &mut Tree, root: &Path, packages: &[Package]) -> Result<Vec<Undone>, ImageError> {
    let read = |name: &str| {
        let path = root.join(MASTERS).join(name);
        fs::read_to_string(&path).map_err(ImageError::file("read", &path))
    };
    let mut accounts = Accounts::of_masters(&read("passwd.master")?, &read("group.master")?);
    let mut undone = Vec::new();
    for (name, text) in texts(&root.join("usr/lib/sysusers.d"), "conf")? {
        let left = sysusers::obey(&text, &mut accounts);
        undone.extend(declared(&name, &left));
    }
    // The first time for the users alone: a script may give a file to a user that a later script makes.
    for package in packages {
        let _ = rehearse(&package.scripts, &mut accounts, &mut Tree::default());
    }
    give_to_owners(tree, &accounts, packages);
    for package in packages {
        undone.extend(rehearse(&package.scripts, &mut accounts, tree));
    }
    for (name, text) in texts(&root.join("usr/lib/tmpfiles.d"), "conf")? {
        let left = tmpfiles::obey(&text, &accounts, tree);
        undone.extend(declared(&name, &left));
    }
    for (_, text) in texts(&root.join("usr/lib/systemd/system"), "service")? {
        tmpfiles::obey_unit(&text, &accounts, tree);
    }
    accounts.write(tree);
    add_fallbacks(tree);
    Ok(undone)
}

/// What a file of declarations says that was not obeyed.
fn declared(file: &str, left: &[String]) -> Option<Undone> {
    (!left.is_empty()).then(|| Undone {
        package: file.to_owned(),
        what: format!("declares {}", left.join("; ")),
    })
}

/// Gives the files of packages to those whom the packages name.
fn give_to_owners(tree: &mut Tree, accounts: &Accounts, packages: &[Package]) {
    for owned in packages.iter().flat_map(|package| &package.owned) {
        let numbers = (
            accounts.user_number(&owned.user),
            accounts.group_number(&owned.group),
        );
        if let (Some(user), Some(group)) = numbers
            && let Some(path) = tree.resolve(&owned.path)
            && tree.get(&path).is_some()
        {
            tree.set_owner(&path, Owner { user, group });
        }
    }
}

/// The files in `directory` whose names end in `.ending`, sorted by name; none if there is no such directory.
fn texts(directory: &Path, ending: &str) -> Result<Vec<(String, String)>, ImageError> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let paths: BTreeSet<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == ending) && path.is_file())
        .collect();
    paths
        .iter()
        .map(|path| {
            let data = fs::read(path).map_err(ImageError::file("read", path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), String::from_utf8_lossy(&data).into_owned()))
        })
        .collect()
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

    /// Packages as they are unpacked, with a web server like nginx among them.
    fn unpacked() -> (tempfile::TempDir, Tree, Vec<Package>) {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "usr/share/base-passwd/passwd.master",
            "root:*:0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n",
        );
        write(
            "usr/share/base-passwd/group.master",
            "root:*:0:\nadm:*:4:\nwww-data:*:33:\nnogroup:*:65534:\n",
        );
        write(
            "usr/lib/sysusers.d/cache.conf",
            "u cache - \"a cache\" /var/cache/web\n",
        );
        write(
            "usr/lib/tmpfiles.d/web.conf",
            "d /run/web 0755 web adm\nd /run/x 0755 nosuch adm\n",
        );
        write(
            "usr/lib/systemd/system/web.service",
            "[Service]\nUser=web\nStateDirectory=web\n",
        );
        let mut tree = Tree::default();
        tree.insert("var/log/web", Node::DIRECTORY);
        tree.insert("etc/web/enabled", Node::DIRECTORY);
        tree.insert_file("etc/web/available/default", 0o644, *b"");
        let before = Scripts {
            package: "a-user-of-web".into(),
            after: Some("#!/bin/sh\nchown web /etc/web\n".into()),
            ..Scripts::default()
        };
        let web = Scripts {
            package: "web".into(),
            after: Some(
                "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ -z \"$2\" ]; then\n\
                 adduser --system --no-create-home web\n\
                 ln -s /etc/web/available/default /etc/web/enabled/default\n\
                 web-make-cluster\nfi\n"
                    .into(),
            ),
            ..Scripts::default()
        };
        let owned = Owned {
            path: "var/log/web".into(),
            user: "www-data".into(),
            group: "adm".into(),
        };
        let packages = vec![
            Package {
                scripts: before,
                owned: vec![owned],
            },
            Package {
                scripts: web,
                owned: Vec::new(),
            },
        ];
        (root, tree, packages)
    }

    #[test]
    fn a_service_finds_its_users_its_directories_and_its_default_site() {
        let (root, mut tree, packages) = unpacked();
        let undone = settle(&mut tree, root.path(), &packages).unwrap();
        let text = |path: &str| match tree.get(path) {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        };
        let passwd = text("etc/passwd");
        for user in ["root:x:0:0:", "www-data:x:33:33:", "cache:x:", "web:x:"] {
            assert!(
                passwd.lines().any(|line| line.starts_with(user)),
                "{user} is not in {passwd}"
            );
        }
        assert_eq!(tree.owner("var/log/web"), Owner { user: 33, group: 4 });
        let web = tree.owner("run/web").user;
        assert_ne!(web, 0);
        assert_eq!(tree.owner("var/lib/web").user, web);
        assert_eq!(
            tree.owner("etc/web").user,
            web,
            "given before the user's own package makes it"
        );
        assert!(tree.get("etc/web/enabled/default").is_some());
        assert_eq!(tree.get("tmp"), Some(&Node::Directory { mode: 0o1777 }));
        assert!(text("etc/hosts").contains("127.0.0.1 localhost\n"));
        let told: Vec<String> = undone.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "web: runs web-make-cluster",
                "web.conf: declares d /run/x 0755 nosuch adm"
            ]
        );
    }
}
