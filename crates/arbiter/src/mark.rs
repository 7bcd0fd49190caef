//! `Mark`: what one host leaves at an arbiter and another one looks for there, by which both know that it is
//! the same one. Two hosts may have different directories under one path, or different servers at one
//! address, which nothing else would show before a VM lives twice.
//!
//! A mark is nobody's claim. What a process leaves that is killed is removed: a file after a week, with the
//! files of killed claimants, and a key of etcd by its lease.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use etcd::{Client, EtcdError, Keys, Lease, Operation};

use crate::error::ArbiterError;
use crate::etcd_place::EtcdPlace;
use crate::limits::MARK_TTL;
use crate::over_etcd::unusable;
use crate::over_server::ServerCells;
use crate::place::Place;

/// What the name of a mark's file begins with, and what it is behind the prefix in etcd.
const START: &str = ".probe.";
/// Hexadecimal digits of a mark's name.
const NAME_LEN: usize = 32;

/// A mark. It is removed with this value.
#[derive(Debug)]
pub struct Mark {
    name: String,
    left: Left,
}

/// What was left.
#[derive(Debug)]
enum Left {
    /// A file in a directory.
    File(PathBuf),
    /// A key in etcd, which goes with its lease.
    Key(Box<Client>, Lease),
    /// Something at a disk server, which goes with the connection.
    Connection {
        /// Kept for its connection.
        _cells: Box<ServerCells>,
    },
}

impl Mark {
    /// Leaves a mark at an arbiter.
    ///
    /// # Errors
    /// The arbiter is not there, or cannot be written.
    pub fn leave(place: &Place) -> Result<Mark, ArbiterError> {
        let mut name = format!("{:032x}", os::entropy::random_u128());
        let left = match place {
            Place::Server(server) => {
                let mut cells = ServerCells::open(server)?;
                name = cells.leave_mark()?;
                Ok(Left::Connection {
                    _cells: Box::new(cells),
                })
            }
            Place::Directory(directory) => {
                leave_file(directory, &name).map_err(|source| ArbiterError::Directory {
                    path: directory.clone(),
                    source,
                })
            }
            Place::Etcd(etcd) => leave_key(etcd, &name).map_err(|source| unusable(etcd, source)),
        };
        Ok(Mark { left: left?, name })
    }

    /// The name by which another host looks for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays does no harm.
        match &self.left {
            Left::File(path) => drop(fs::remove_file(path)),
            Left::Key(client, lease) => drop(client.revoke(*lease)),
            Left::Connection { .. } => {}
        }
    }
}

fn leave_file(directory: &Path, name: &str) -> io::Result<Left> {
    let path = directory.join(format!("{START}{name}"));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let left = Left::File(path);
    file.sync_all()?;
    Ok(left)
}

fn leave_key(place: &EtcdPlace, name: &str) -> Result<Left, EtcdError> {
    let client = Client::new(place.settings()?)?;
    let lease = client.grant(MARK_TTL)?;
    let put = Operation::Put {
        key: key(place, name),
        value: Vec::new(),
        lease: Some(lease),
    };
    client.transact(&[], &[put], &[])?;
    Ok(Left::Key(Box::new(client), lease))
}

fn key(place: &EtcdPlace, name: &str) -> Vec<u8> {
    format!("{}{START}{name}", place.prefix()).into_bytes()
}

/// Can this be the name of a mark?
#[must_use]
pub fn is_mark(name: &str) -> bool {
    name.len() == NAME_LEN && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Is the mark of this name at the arbiter? Its name was drawn at random just now, so no file system can
/// remember that it is not there.
///
/// # Errors
/// Nobody can say, since an etcd cannot be asked.
pub fn sees(place: &Place, name: &str) -> Result<bool, ArbiterError> {
    if !is_mark(name) {
        return Ok(false);
    }
    match place {
        Place::Server(server) => ServerCells::open(server)?.sees(name),
        Place::Directory(directory) => Ok(directory.join(format!("{START}{name}")).exists()),
        Place::Etcd(etcd) => {
            let look = || {
                let client = Client::new(etcd.settings()?)?;
                client.range(&Keys::One(key(etcd, name)), 1)
            };
            let found = look().map_err(|source| unusable(etcd, source))?;
            Ok(!found.found.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_in_its_directory_alone_and_leaves_nothing_behind() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = |dir: &tempfile::TempDir| Place::Directory(dir.path().into());
        let mark = Mark::leave(&place(&here)).unwrap();
        assert!(sees(&place(&here), mark.name()).unwrap());
        assert!(!sees(&place(&there), mark.name()).unwrap());
        assert!(!sees(&place(&here), "../secret").unwrap());
        drop(mark);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0);
        assert!(Mark::leave(&Place::Directory(here.path().join("none"))).is_err());
    }
}
