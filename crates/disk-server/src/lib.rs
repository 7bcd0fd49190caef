//! The disk server: offers files and block devices over NBD, and lets only the newest epoch of a VM write
//! (FT 2.3-e, FT 3.4, FT 4.1).
//!
//! A directory that hosts share is a weak disk for a VM with a backup: a primary that stood still can still
//! land one write, and nothing but a path decides. Here the server decides, with the fence of crate `block`,
//! and what it has decided outlives it.
//!
//! `config` is what an operator writes, `site` has the exports and one `guard` for each VM, `state` is what
//! the server remembers, `connection` leads one client's conversation, `control` answers
//! questions as an arbiter, `work` does a request, with `workers`
//! for what waits for drives, `storage` is an export's content, and `stream` its connection. docs/disks.md
//! says what is promised.
#![forbid(unsafe_code)]

pub mod config;
mod connection;
mod control;
#[cfg(feature = "faults")]
pub mod faults;
mod guard;
pub mod limits;
mod site;
mod state;
mod storage;
mod stream;
mod work;
mod workers;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use link::Security;

pub use config::{Config, ConfigError, Door};
pub use site::SiteError;
pub use state::StateError;

use crate::limits::{CLOSE_LOOK_EVERY, CLOSE_PATIENCE, CONNECTIONS_MAX};
use crate::site::Site;
use crate::state::State;
use crate::stream::{Listener, Taken};

/// Why a server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The state or an export cannot be used.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The door cannot be opened.
    #[error("cannot listen on {door}; is another server there?")]
    Listen {
        /// The door.
        door: Door,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// No connection can be taken any more.
    #[error("cannot take connections any more")]
    Accept(#[source] io::Error),
}

/// Makes the state of a new server.
///
/// # Errors
/// There is one already, or the directory cannot be written.
pub fn init(state: &Path) -> Result<(), StateError> {
    State::init(state)
}

/// A server that listens.
#[derive(Debug)]
pub struct DiskServer {
    site: Arc<Site>,
    listeners: Vec<Listener>,
    connections: AtomicUsize,
}

impl DiskServer {
    /// Opens state and exports, and listens.
    ///
    /// # Errors
    /// Something cannot be used; nothing was changed then.
    pub fn open(config: &Config) -> Result<DiskServer, ServerError> {
        let site = Arc::new(Site::open(config)?);
        let guarded = config
            .listen
            .iter()
            .map(|(address, security)| (Door::Tcp(*address), Some(security.clone())));
        let open = config.nbd.iter().map(|door| (door.clone(), None));
        let listen = |(door, security): (Door, Option<Security>)| {
            Listener::at(&door, security).map_err(|source| ServerError::Listen { door, source })
        };
        Ok(DiskServer {
            site,
            listeners: guarded.chain(open).map(listen).collect::<Result<_, _>>()?,
            connections: AtomicUsize::new(0),
        })
    }

    /// Where it listens: for Lockstep if it does, then for NBD if it does. A port that was left to the kernel
    /// is known now.
    #[must_use]
    pub fn doors(&self) -> Vec<&Door> {
        self.listeners.iter().map(Listener::door).collect()
    }

    /// Serves until [`DiskServer::close`].
    ///
    /// # Errors
    /// No connection can be taken any more.
    pub fn serve(self: &Arc<DiskServer>) -> Result<(), ServerError> {
        thread::scope(|scope| {
            let serve = |listener| scope.spawn(move || self.serve_at(listener));
            let threads: Vec<_> = self.listeners.iter().map(serve).collect();
            let ended = threads.into_iter().map(|thread| {
                // A panic aborts the process, so a thread that can be joined has ended well.
                thread.join().unwrap_or(Ok(()))
            });
            ended.collect()
        })
    }

    fn serve_at(self: &Arc<DiskServer>, listener: &Listener) -> Result<(), ServerError> {
        loop {
            match listener.accept() {
                Ok(Some(taken)) => self.begin(taken),
                Ok(None) => return Ok(()),
                // The client has gone already.
                Err(error) if is_passing(&error) => tracing::debug!("a connection was not taken: {error}"),
                Err(error) => return Err(ServerError::Accept(error)),
            }
        }
    }

    fn begin(self: &Arc<DiskServer>, taken: Taken) {
        if self.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            tracing::warn!("a connection is not taken: there are {CONNECTIONS_MAX} already");
            return;
        }
        let server = Arc::clone(self);
        let serve = move || {
            match taken.stream() {
                Ok(stream) => connection::serve(&server.site, stream),
                Err(error) => tracing::warn!("{}", os::error::chain(&error)),
            }
            server.connections.fetch_sub(1, Ordering::SeqCst);
        };
        if let Err(error) = thread::Builder::new().name("connection".into()).spawn(serve) {
            self.connections.fetch_sub(1, Ordering::SeqCst);
            tracing::warn!("a connection lacks a thread: {error}");
        }
    }

    /// Takes no more connections, ends all that there are, and waits a little until the changes that were
    /// begun are done.
    pub fn close(&self) {
        self.listeners.iter().for_each(Listener::close);
        self.site.close();
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while self.connections.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            thread::sleep(CLOSE_LOOK_EVERY);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset
    )
}
