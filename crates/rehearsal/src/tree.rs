//! `Tree`: the files of a guest in memory, with their modes and owners.
//!
//! `image` fills a tree with the files of packages and writes it as an initramfs; the rest of this crate does
//! to it what the installation of the packages would do. A tree must depend on nothing of this machine: its
//! owners are numbers of the guest's, and its links lead to what is in the tree.

use std::collections::BTreeMap;

/// Number of symbolic links that a path may lead through, as with Linux.
const LINKS_MAX: usize = 40;

/// What stands at a path of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file with its permission bits and content.
    File {
        /// Permission bits.
        mode: u32,
        /// Content of the file.
        data: Vec<u8>,
    },
    /// A symbolic link to this target.
    Symlink(String),
    /// A character device.
    Character {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Node {
    /// A directory as most are: everybody reads it, its owner writes it.
    pub const DIRECTORY: Self = Self::Directory { mode: 0o755 };

    /// The permission bits, which a symbolic link has none of.
    pub fn mode_mut(&mut self) -> Option<&mut u32> {
        match self {
            Self::Directory { mode } | Self::File { mode, .. } | Self::Character { mode, .. } => Some(mode),
            Self::Symlink(_) => None,
        }
    }
}

/// The numbers of the user and of the group to whom a node belongs; by default root's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Number of the user.
    pub user: u32,
    /// Number of the group.
    pub group: u32,
}

/// A file tree: paths without a leading slash, in an order in which a directory comes before what is in it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    /// To whom the nodes belong that are not root's.
    owners: BTreeMap<String, Owner>,
}

impl Tree {
    /// Puts `node` at `path`, with the directories that lead there. A node that was there is replaced; the
    /// new one is root's.
    pub fn insert(&mut self, path: &str, node: Node) {
        for (slash, _) in path.match_indices('/') {
            self.nodes
                .entry(path[..slash].to_owned())
                .or_insert(Node::DIRECTORY);
        }
        self.owners.remove(path);
        self.nodes.insert(path.to_owned(), node);
    }

    /// Puts a directory at `path` unless there is one, whose mode is then kept.
    pub fn insert_directory(&mut self, path: &str) {
        if !matches!(self.nodes.get(path), Some(Node::Directory { .. })) {
            self.insert(path, Node::DIRECTORY);
        }
    }

    /// Takes the node at `path` away.
    pub fn remove(&mut self, path: &str) -> Option<Node> {
        self.owners.remove(path);
        self.nodes.remove(path)
    }

    /// Gives the node at `path` to `owner`.
    pub fn set_owner(&mut self, path: &str, owner: Owner) {
        if owner == Owner::default() {
            self.owners.remove(path);
        } else {
            self.owners.insert(path.to_owned(), owner);
        }
    }

    /// To whom the node at `path` belongs.
    pub fn owner(&self, path: &str) -> Owner {
        self.owners.get(path).copied().unwrap_or_default()
    }

    /// Paths of the nodes below the directory `path`.
    pub fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{path}/");
        let from = self.nodes.range(prefix.clone()..);
        from.take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, _)| path.as_str())
    }

    /// The path in this tree that a program in the guest means by the absolute `path`: symbolic links to
    /// directories on the way are followed, the last part is not. `None`: the links run in a circle.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut resolved, mut links) = (String::new(), 0);
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    resolved.truncate(resolved.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let here = if resolved.is_empty() {
                part
            } else {
                format!("{resolved}/{part}")
            };
            let is_last = rest.iter().all(String::is_empty);
            match self.nodes.get(&here) {
                Some(Node::Symlink(target)) if !is_last => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
                _ => resolved = here,
            }
        }
        Some(resolved)
    }

    /// Puts a regular file at `path`.
    pub fn insert_file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.insert(
            path,
            Node::File {
                mode,
                data: data.into(),
            },
        );
    }

    /// The node at `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at `path`, to be changed.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// All paths with their nodes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Keeps only the paths for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.nodes.retain(|path, node| keep(path, node));
        self.owners.retain(|path, _| self.nodes.contains_key(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_through_the_links_to_directories_on_its_way() {
        let mut tree = Tree::default();
        tree.insert_file("usr/bin/tool", 0o755, *b"\x7fELF");
        tree.insert("bin", Node::Symlink("usr/bin".into()));
        tree.insert("var/run", Node::Symlink("../run".into()));
        tree.insert("var/lock", Node::Symlink("/var/run/lock".into()));
        tree.insert("loop", Node::Symlink("loop/x".into()));
        assert_eq!(tree.resolve("/bin/tool").as_deref(), Some("usr/bin/tool"));
        assert_eq!(tree.resolve("/var/lock/x/").as_deref(), Some("run/lock/x"));
        assert_eq!(
            tree.resolve("/bin").as_deref(),
            Some("bin"),
            "the last part is not followed"
        );
        assert_eq!(tree.resolve("/loop/y"), None);
        assert_eq!(tree.resolve("/../..//new/./name").as_deref(), Some("new/name"));
    }
}
