//! The etcd server of the demo's site: one, with its data in the demo's directory. It ends with the demo,
//! however that ends.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::live::{Live, TICK};

/// Runs etcd until the demo's end of the pipe closes, which is when the demo ends.
const KEEPER: &str = "\"$@\" & pid=$!; read _; kill -9 $pid; wait";
/// What the server says when it serves its clients.
const READY: &str = "ready to serve client requests";
/// The server has this long to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server.
pub struct Etcd {
    keeper: Child,
    /// How clients call it.
    pub endpoint: String,
}

/// Is etcd installed?
pub fn is_installed() -> bool {
    let asked = Command::new("etcd").arg("--version").output();
    asked.is_ok_and(|answer| answer.status.success())
}

impl Etcd {
    /// Starts a server that listens at this address, and waits until it serves.
    pub fn start(directory: &Path, address: Ipv4Addr, live: &mut Live) -> Result<Etcd> {
        let endpoint = format!("http://{address}:2379");
        let peer = format!("http://{address}:2380");
        let words = directory.join("etcd.errors");
        let data = directory.join("etcd").display().to_string();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", "etcd", "--name", "demo", "--data-dir", &data])
            .args([
                "--listen-client-urls",
                &endpoint,
                "--advertise-client-urls",
                &endpoint,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("demo={peer}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&words)?)
            // Ctrl-C is for the demo, which then closes the pipe.
            .process_group(0)
            .spawn()
            .context("cannot start etcd")?;
        let mut server = Etcd { keeper, endpoint };
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(&words).unwrap_or_default();
            if text.contains(READY) {
                return Ok(server);
            }
            if server.keeper.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let last = text.lines().last().unwrap_or("it has said nothing");
                bail!("etcd does not serve: {last}");
            }
            live.tick(|| "etcd begins".into())?;
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It waits for etcd, which it has killed.
        let _ = self.keeper.wait();
    }
}
