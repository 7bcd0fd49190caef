//! `Options`: what a demo is asked for.

use std::path::PathBuf;

use clap::ValueEnum;

/// What the demo does to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// SIGKILL the primary
    Primary,
    /// SIGKILL the backup
    Backup,
    /// SIGSTOP the primary for three timeouts, then SIGCONT
    Stall,
    /// Nothing is killed
    None,
}

/// Where the hosts of the demo's site keep what people want of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DirectoryKind {
    /// In a directory that all hosts share
    Shared,
    /// In an etcd server, which the demo starts
    Etcd,
}

/// What a demo is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do to the pair.
    pub kill: Kill,
    /// How many times to do it, at least once.
    pub kills: u64,
    /// Seconds of load at least.
    pub seconds: u64,
    /// Harts of the guest.
    pub harts: usize,
    /// Client connections of the pair's demo; a site's demo has one.
    pub clients: u64,
    /// Silence in ms after which a side is suspected.
    pub timeout_ms: u64,
    /// Shall a death be found out by the timeout alone, as the death of a host is?
    pub timeout_only: bool,
    /// Where the hosts of a site keep what people want; `None`: in etcd if it is installed, else shared.
    pub directory: Option<DirectoryKind>,
    /// Shall each host of a site be a network namespace?
    pub netns: bool,
    /// Is the network namespace of the demo itself made already?
    pub is_within: bool,
    /// Shall the demo's directory stay?
    pub keep: bool,
    /// Is one line of JSON wanted instead of a page?
    pub json: bool,
    /// The directory of this user's control sockets.
    pub sockets: PathBuf,
}
