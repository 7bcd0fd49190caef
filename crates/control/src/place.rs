//! `Place`: the file of a control socket, and the files of others that were left behind.
//!
//! The name says the VM and the process, so that the two halves of a pair do not meet on one host. A name is
//! never used again, and whoever sees it sees a socket that is listened to: so a socket that refuses a call
//! is one whose process has ended, and its file may be removed by anybody. The process itself cannot remove
//! it: what it could remove from inside the sandbox, it could remove of others.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use os::entropy;
use replica::VmName;
use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::limits::{BACKLOG, PROCESSES_MAX};

/// How the name of a control socket ends.
const SUFFIX: &str = ".control";
/// Hexadecimal digits that tell the processes of a VM apart.
const TAG_LEN: usize = 16;
/// Bytes that the kernel takes of a socket's path, without its end.
const PATH_LEN_MAX: usize = 107;

/// A control socket that is listened to, and that nobody answers yet.
#[derive(Debug)]
pub struct Place {
    pub(crate) listener: UnixListener,
    pub(crate) vm: String,
}

impl Place {
    /// Makes the control socket of a process of `vm` in `directory`, which is this user's alone. Only this
    /// user may call it. What dead processes have left behind is removed. Call it before the sandbox is
    /// entered.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn make(directory: &Path, vm: &VmName) -> io::Result<Place> {
        drop(sockets(directory));
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // The file that `bind` makes gets the mode that the socket has.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let tag = format!("{:032x}", entropy::random_u128());
        let tag = tag.get(..TAG_LEN).unwrap_or_default();
        let own = format!(".{tag}{SUFFIX}");
        at(directory, &own, |address| bind(&socket, address))?;
        listen(&socket, BACKLOG)?;
        // Whoever sees the name sees it listened to.
        fs::rename(
            directory.join(&own),
            directory.join(format!("{vm}.{tag}{SUFFIX}")),
        )?;
        Ok(Place {
            listener: socket.into(),
            vm: vm.to_string(),
        })
    }
}

/// The control sockets of this user's processes that live, by the names of their VMs and then of their files.
/// The files of others are removed.
pub fn sockets(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let vm = vm_of(entry.file_name().to_str()?)?;
            entry.file_type().ok()?.is_socket().then(|| (vm, entry.path()))
        })
        .take(PROCESSES_MAX)
        .collect();
    found.retain(|(_, path)| match call(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let _ = fs::remove_file(path);
            false
        }
        // One that is busy lives.
        _ => true,
    });
    found.sort();
    found
}

/// The name of the VM whose control socket has this name.
fn vm_of(file: &str) -> Option<String> {
    let (vm, tag) = file.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let is_tag = tag.len() == TAG_LEN && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_tag && VmName::new(vm).is_ok()).then(|| vm.to_owned())
}

/// Calls a control socket.
///
/// # Errors
/// Nobody listens there (`ConnectionRefused`), or too many wait there already (`WouldBlock`).
pub fn call(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new("."));
    at(directory, name, |address| connect(&socket, address))?;
    Ok(socket)
}

/// Uses the address of the socket `name` in `directory`. A path that is too long for the kernel goes through
/// the directory's descriptor.
fn at(
    directory: &Path,
    name: &str,
    act: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let path = directory.join(name);
    if path.as_os_str().len() <= PATH_LEN_MAX {
        return Ok(act(&SocketAddrUnix::new(&path)?)?);
    }
    let held = File::open(directory)?;
    let short = format!("/proc/self/fd/{}/{name}", held.as_raw_fd());
    Ok(act(&SocketAddrUnix::new(short)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn vm(name: &str) -> VmName {
        VmName::new(name).unwrap()
    }

    #[test]
    fn the_dead_are_swept_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let lives = Place::make(dir.path(), &vm("web")).unwrap();
        drop(Place::make(dir.path(), &vm("web")).unwrap());
        drop(Place::make(dir.path(), &vm("a.b")).unwrap());
        for other in ["web.control", "web.0123456789abcdef.control", "web.lock"] {
            fs::write(dir.path().join(other), "").unwrap();
        }
        let found = sockets(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "web");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        drop(lives);
        assert!(sockets(dir.path()).is_empty());
    }

    #[test]
    fn only_its_user_may_call_it_and_a_long_path_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(100));
        fs::create_dir(&deep).unwrap();
        let name = "n".repeat(replica::VM_NAME_LEN_MAX);
        let _lives = Place::make(&deep, &vm(&name)).unwrap();
        let found = sockets(&deep);
        assert_eq!(found[0].0, name);
        assert_eq!(found[0].1.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        call(&found[0].1).unwrap();
    }
}
