//! The files by which a host is one of a site: `agent.toml` and the site's key. `agent` writes them on the
//! first host, `joining` on each further one.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use arbiter::Place;
use membership::config::DirectoryConfig;
use toml::{Table, Value};

use crate::args::PlaceArgs;

/// Name of the file with the site's key, beside `agent.toml`.
pub const KEY_FILE: &str = "site.key";

/// Writes a file that its user alone may read, and that must not be there.
pub fn write_new(path: &Path, text: &str) -> Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = path.display();
            bail!("{file} is there already; change it by hand, or remove it first");
        }
        other => other.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Makes a directory for its user alone, unless it is there.
pub fn private_directory(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the directory {}", path.display()))
}

/// What a host's file says that is alike on all hosts of the site.
pub struct OfSite {
    /// Where the site's wishes are kept.
    pub directory: DirectoryConfig,
    /// Where the arbiter is.
    pub arbiter: Place,
    /// Ports that are not the usual ones: of agents, and the first and the last of processes that wait.
    pub ports: Option<[u16; 3]>,
}

/// The text of `agent.toml`.
pub fn text(place: &PlaceArgs, address: IpAddr, of_site: &OfSite) -> Result<String> {
    let text = |path: &Path| Value::from(path.display().to_string());
    let mut top = Table::new();
    top.insert(
        "host".into(),
        Value::from(place.host.clone().unwrap_or_else(os::identity::host_name)),
    );
    if let Some(zone) = &place.zone {
        top.insert("zone".into(), Value::from(zone.clone()));
    }
    top.insert("address".into(), Value::from(address.to_string()));
    top.insert("key".into(), Value::from(KEY_FILE));
    let paths = [("state_dir", &place.state_dir), ("run_dir", &place.run_dir)];
    for (word, path) in paths {
        if let Some(path) = path {
            top.insert(word.into(), text(path));
        }
    }
    if let Some([agents, first, last]) = of_site.ports {
        let number = |word: &str, port: u16| (word.to_owned(), Value::from(i64::from(port)));
        let pair = Table::from_iter([number("first_port", first), number("last_port", last)]);
        top.insert(
            "api".into(),
            Value::from(Table::from_iter([number("port", agents)])),
        );
        top.insert("pair".into(), Value::from(pair));
    }
    top.insert("directory".into(), Value::try_from(&of_site.directory)?);
    let (word, arbiter) = match &of_site.arbiter {
        Place::Directory(path) => ("path", text(path)),
        Place::Etcd(_) | Place::Server(_) => ("place", Value::from(of_site.arbiter.to_string())),
    };
    let arbiter = Table::from_iter([(word.to_owned(), arbiter)]);
    top.insert("arbiter".into(), Value::from(arbiter));
    Ok(format!(
        "# What this host's agent is to know; `man lockstep-agent` explains it.\n{top}"
    ))
}
