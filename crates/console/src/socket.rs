//! A Unix socket as the guest's console, for one client at a time. Without a client output goes nowhere and
//! nothing waits. A thread accepts clients and reads what they type; an outlet's thread writes to them.
//!
//! Only the socket's owner may ever connect: who writes to a console is as good as logged in.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use crate::keys::{HELP, Key, Keys};
use crate::limits::{CONSOLE_INPUT_LEN, CONSOLE_PATIENCE, CONSOLE_RETRY};
use crate::typed::{ConsoleError, Typed};
use os::sandbox::{self, Kind};
use os::wake::Waker;

/// How many clients may wait to be accepted while one is there.
const BACKLOG: i32 = 16;

/// The socket's file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    client: Client,
}

/// The client that is connected; `None` inside: there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Client(Arc<Mutex<Option<UnixStream>>>);

impl Client {
    fn current(&self) -> MutexGuard<'_, Option<UnixStream>> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Written outside the lock: a client that does not read must not keep the next one from coming.
        let stream = self.current().as_ref().and_then(|stream| stream.try_clone().ok());
        let Some(mut stream) = stream else {
            return Ok(bytes.len());
        };
        loop {
            let why = match stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => "its client did not read it",
                Err(_) | Ok(0) => "its client has gone",
                Ok(written) => return Ok(written),
            };
            // The thread that reads sees that too, and takes the next client.
            let _ = stream.shutdown(Shutdown::Both);
            return Err(io::Error::other(why));
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(stream) = self.client.current().as_ref() {
            // The thread that reads ends now.
            let _ = stream.shutdown(Shutdown::Read);
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens on `path`. A socket file that nobody listens on any more is replaced. `keys`: clients have the
/// escape key.
pub(super) fn listen(
    path: &Path,
    sender: SyncSender<Typed>,
    waker: Waker,
    keys: bool,
) -> Result<(SocketFile, Client), ConsoleError> {
    let error = |source| ConsoleError::Socket {
        path: path.into(),
        source,
    };
    let listener = match private_listener(path) {
        Err(taken) if taken.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
            std::fs::remove_file(path)
                .and_then(|()| private_listener(path))
                .map_err(error)?
        }
        other => other.map_err(error)?,
    };
    let client = Client::default();
    let file = SocketFile {
        path: path.into(),
        client: client.clone(),
    };
    let current = client.clone();
    sandbox::spawn(Kind::Console, "console input", move || {
        let mut told = false;
        for stream in listener.incoming() {
            let mut stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // This host, or this process, has no more files at present. That is no reason to be deaf
                    // for ever.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the console takes no client at present, and tries again: {error}");
                    }
                    std::thread::sleep(CONSOLE_RETRY);
                    continue;
                }
            };
            told = false;
            // A client that does not read for so long is sent away.
            let _ = stream.set_write_timeout(Some(CONSOLE_PATIENCE));
            *current.current() = stream.try_clone().ok();
            if !read_client(&mut stream, &sender, &waker, keys) {
                return;
            }
            *current.current() = None;
        }
    });
    Ok((file, client))
}

/// A socket that only its owner may connect to, from its first moment on.
fn private_listener(path: &Path) -> io::Result<UnixListener> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The file that `bind` makes gets the mode that the socket has.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Is this a socket that nobody listens on any more, and no other kind of file?
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err()
}

/// Reads what the client types until it leaves. False: the console is closed.
fn read_client(stream: &mut UnixStream, sender: &SyncSender<Typed>, waker: &Waker, with_keys: bool) -> bool {
    let mut keys = with_keys.then(Keys::default);
    let mut buffer = [0; CONSOLE_INPUT_LEN];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let bytes = &buffer[..length];
        let plain = || vec![Key::Typed(Typed::Bytes(bytes.to_vec()))];
        for key in keys.as_mut().map_or_else(plain, |keys| keys.take(bytes)) {
            let typed = match key {
                Key::Typed(typed) => typed,
                Key::Help => {
                    // A client that does not read its help has no need of it.
                    let _ = stream.write(HELP);
                    continue;
                }
            };
            if sender.send(typed).is_err() {
                return false;
            }
            waker.wake();
        }
    }
    true
}
