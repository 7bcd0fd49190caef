//! What an operator does and reads, with real processes: signals, keys, closed and full pipes, sentences and
//! events.
//!
//! `site` starts the processes and `guests` has what runs in them; the other files are the tests, by subject.

mod arbiters;
mod deaths;
mod disk_servers;
mod ends;
mod guests;
mod lives;
#[path = "../../../etcd/tests/cluster/pki.rs"]
mod pki;
#[path = "../../../etcd/tests/cluster/server.rs"]
#[allow(dead_code, reason = "only a part of what an etcd can be told is needed here")]
mod server;
mod site;
mod tellings;
#[path = "../terminal/mod.rs"]
mod terminal;
mod terminals;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use report::{Course, Ender, HaltCode, Happening, Line, RoleWord, SuspicionWord};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::Signal;

use guests::{PANIC, addi, lui, sw, writer};
use site::{Replica, Site};
