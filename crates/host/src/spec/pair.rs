//! What the operator asked for about a VM's other host: how the two find and trust each other.

use std::ffi::OsString;
use std::net::SocketAddr;

use arbiter::Place;
use link::{KeyError, KeyFile, Security};
use replica::{OnSlow, Span};

/// How the two halves of a pair find and trust each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSpec {
    /// Primary: the backup's address. Backup: where to listen.
    pub address: SocketAddr,
    /// File with the shared key; `None`: neither encrypted nor authenticated.
    pub key: Option<KeyFile>,
    /// The arbiter, which both hosts reach.
    pub arbiter: Place,
    /// The failure-detection timeout: the peer's silence for this long is suspicion.
    pub timeout: Span,
    /// The primary calls the backup for at most this long.
    pub patience: Span,
    /// Is a process that dies found out by the timeout alone, as a host is? Then no notice of a death is
    /// left, and none believed.
    pub timeout_only: bool,
    /// What becomes of a backup that is too slow.
    pub on_slow: OnSlow,
    /// The program that watches a primary's process, with its arguments (`os::watcher`); empty: nobody does.
    pub watcher: Vec<OsString>,
}

/// What a VM needs to get a backup while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectSpec {
    /// File with the key that both hosts share; `None`: neither encrypted nor authenticated.
    pub key: Option<KeyFile>,
    /// The failure-detection timeout of the pair.
    pub timeout: Span,
    /// How the VM is set up around its machine, for the host that takes the backup (`Hello::settings`).
    pub settings: String,
    /// As [`PairSpec::timeout_only`].
    pub timeout_only: bool,
    /// As [`PairSpec::on_slow`].
    pub on_slow: OnSlow,
    /// As [`PairSpec::watcher`].
    pub watcher: Vec<OsString>,
}

impl ProtectSpec {
    /// How links are protected.
    ///
    /// # Errors
    /// The key file is of no use.
    pub fn security(&self) -> Result<Security, KeyError> {
        security(self.key.as_ref())
    }

    /// The program that watches this process, with its arguments; empty: nobody does.
    #[must_use]
    pub fn watcher(&self) -> &[OsString] {
        if self.timeout_only { &[] } else { &self.watcher }
    }
}

/// How links are protected with this key, or without one.
fn security(key: Option<&KeyFile>) -> Result<Security, KeyError> {
    match key {
        Some(file) => Ok(Security::Key(file.load()?)),
        None => Ok(Security::Insecure),
    }
}

impl PairSpec {
    /// The program that is to watch a primary's process; empty: nobody shall.
    #[must_use]
    pub fn watcher(&self) -> &[OsString] {
        if self.timeout_only { &[] } else { &self.watcher }
    }

    /// How the link is protected.
    ///
    /// # Errors
    /// The key file is of no use.
    pub fn security(&self) -> Result<Security, KeyError> {
        security(self.key.as_ref())
    }
}
