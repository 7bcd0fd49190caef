//! The demo's gateway: the network of the VM, through which the clients reach Redis. No half is ever told of
//! them, and no client of a failover.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::channel;

use anyhow::{Context, Result, bail};

use super::process::Process;

/// The gateway's process, and where it is reached.
pub struct Gateway {
    _process: Process,
    /// Where replicas reach it, as `--net gateway=` takes it.
    pub frames: String,
    /// Where Redis is reached from this host.
    pub redis: SocketAddr,
}

impl Gateway {
    /// Starts a gateway that listens at `listen`, an address or the path of a socket. A socket and its
    /// directory belong to this user alone, so that network frames need no key there; over TCP they do.
    pub fn start(directory: &Path, listen: &str, key: Option<&Path>) -> Result<Gateway> {
        let (sender, lines) = channel();
        let words = ["gateway", "--listen", listen, "--forward", "127.0.0.1:0-:6379"];
        let mut arguments: Vec<String> = words.map(str::to_owned).into();
        if let Some(key) = key {
            arguments.extend(["--key".to_owned(), key.display().to_string()]);
        }
        let process = Process::start(directory, "gateway", &arguments, move |line| {
            // Only the first line matters; nobody listens for more.
            let _ = sender.send(line);
        })?;
        let Ok(line) = lines.recv() else {
            bail!("the gateway has ended: {}", process.last_words())
        };
        let ready: serde_json::Value =
            serde_json::from_str(&line).context("the gateway's first line is not JSON")?;
        let redis = ready["forwards"][0]
            .as_str()
            .context("the gateway forwards nothing")?;
        let frames = ready["listen"].as_str().context("the gateway does not listen")?;
        Ok(Gateway {
            redis: redis.parse()?,
            frames: frames.to_owned(),
            _process: process,
        })
    }
}
