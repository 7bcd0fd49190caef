//! The rehearsal of a whole installation: [`rehearse`] does to a tree what the packages' own declarations and
//! scripts ask for.
//!
//! `lib.rs` passes it on to `image`. Everything comes from what the packages say themselves: base-passwd's
//! lists, sysusers.d, tmpfiles.d, units, the owners of their files, and maintainer scripts. What could not be
//! done for a package is returned, never dropped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use super::accounts::Accounts;
use super::script::{self, Scripts, Undone};
use super::tree::{Owner, Tree};
use super::{sysusers, tmpfiles};

/// Directory of base-passwd's lists.
const MASTERS: &str = "usr/share/base-passwd";

/// A path of a package that is not root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The path, without a leading slash.
    pub path: String,
    /// Name of the user.
    pub user: String,
    /// Name of the group.
    pub group: String,
}

/// What a package says of itself besides its files.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// The maintainer scripts.
    pub scripts: Scripts,
    /// The paths that are not root's.
    pub owned: Vec<Owned>,
}

/// A file of the unpacked packages could not be read.
#[derive(Debug, Error)]
#[error("cannot read {}", path.display())]
pub struct Unreadable {
    /// Path of the file.
    pub path: PathBuf,
    /// Error that the operating system gave.
    pub source: io::Error,
}

impl Unreadable {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_owned(),
            source,
        }
    }
}

/// Does to `tree` what the installation of the packages does besides bringing their files, as far as that can
/// be known without running anything. `root`: where the packages are unpacked, base-passwd among them, with
/// the files that did not go into the tree. Returns what the installation would do besides.
///
/// # Errors
/// A file below `root` cannot be read.
pub fn rehearse(tree: &mut Tree, root: &Path, packages: &[Package]) -> Result<Vec<Undone>, Unreadable> {
    let read = |name: &str| {
        let path = root.join(MASTERS).join(name);
        fs::read_to_string(&path).map_err(Unreadable::at(&path))
    };
    let mut accounts = Accounts::of_masters(&read("passwd.master")?, &read("group.master")?);
    let mut undone = Vec::new();
    for (name, text) in texts(&root.join("usr/lib/sysusers.d"), "conf")? {
        let left = sysusers::obey(&text, &mut accounts);
        undone.extend(declared(&name, &left));
    }
    // The first time for the users alone: a script may give a file to a user that a later script makes.
    for package in packages {
        let _ = script::rehearse(&package.scripts, &mut accounts, &mut Tree::default());
    }
    give_to_owners(tree, &accounts, packages);
    for package in packages {
        undone.extend(script::rehearse(&package.scripts, &mut accounts, tree));
    }
    for (name, text) in texts(&root.join("usr/lib/tmpfiles.d"), "conf")? {
        let left = tmpfiles::obey(&text, &accounts, tree);
        undone.extend(declared(&name, &left));
    }
    for (_, text) in texts(&root.join("usr/lib/systemd/system"), "service")? {
        tmpfiles::obey_unit(&text, &accounts, tree);
    }
    accounts.write(tree);
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
fn texts(directory: &Path, ending: &str) -> Result<Vec<(String, String)>, Unreadable> {
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
            let data = fs::read(path).map_err(Unreadable::at(path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), String::from_utf8_lossy(&data).into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

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
        let undone = rehearse(&mut tree, root.path(), &packages).unwrap();
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
