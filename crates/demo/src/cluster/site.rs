//! `Site`: the demo's three hosts with what is between them, from the first process to the last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use image::Appliance;
use serde_json::json;

use super::etcd::{self, Etcd};
use super::host::Host;
use super::network::Network;
use crate::directory::Directory;
use crate::gateway::Gateway;
use crate::live::{Live, TICK};
use crate::options::{DirectoryKind, Options};
use crate::pair::{MEMORY, VM};

/// The hosts' names.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
/// The agents have this long to hear of each other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Port of the gateway where it is reached over TCP.
const GATEWAY_PORT: u16 = 7700;

/// The demo's hosts, gateway and store. They end with this value: the hosts first, and the files last.
pub struct Site {
    /// In the order of [`NAMES`].
    pub hosts: Vec<Host>,
    /// What the clients reach.
    pub gateway: Gateway,
    /// Where the hosts keep what people want.
    pub kind: DirectoryKind,
    settings: String,
    _etcd: Option<Etcd>,
    network: Network,
    directory: Directory,
}

impl Site {
    /// Starts all but the VM, and waits until the agents know each other.
    pub fn start(image: &Appliance, args: &Options, live: &mut Live) -> Result<Site> {
        let kind = kind(args)?;
        let network = match args.netns {
            true => Network::namespaces(&NAMES)?,
            false => Network::loopback(),
        };
        let directory = Directory::make(args.keep)?;
        let path = directory.path();
        let etcd = match kind {
            DirectoryKind::Shared => None,
            DirectoryKind::Etcd => Some(Etcd::start(path, network.middle(), live)?),
        };
        let gateway = match network.has_links() {
            true => {
                let listen = format!("{}:{GATEWAY_PORT}", network.middle());
                Gateway::start(path, &listen, Some(&path.join("key")))?
            }
            false => Gateway::start(path, &path.join("gateway.sock").display().to_string(), None)?,
        };
        let endpoint = etcd.as_ref().map(|etcd| etcd.endpoint.as_str());
        let hosts = NAMES.iter().enumerate().map(|(index, name)| {
            let lead_in = network.lead_in(index);
            let mut host = Host::make(name, path, network.address(index), endpoint, lead_in)?;
            host.start()?;
            Ok(host)
        });
        let mut site = Site {
            hosts: hosts.collect::<Result<_>>()?,
            settings: settings(image, args, &gateway.frames),
            gateway,
            kind,
            _etcd: etcd,
            network,
            directory,
        };
        site.await_agents(live)?;
        Ok(site)
    }

    /// The demo's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until each agent hears each other, and reads what people want.
    fn await_agents(&mut self, live: &mut Live) -> Result<()> {
        let began = Instant::now();
        loop {
            let states = self.hosts.iter().map(|host| Ok(host.agent.site()?));
            let states: Vec<Result<_>> = states.collect();
            let is_ready = |state: &Result<agent::types::SiteObject>| {
                let ready = state.as_ref().is_ok_and(|site| site.hosts_ready == NAMES.len());
                ready && state.as_ref().is_ok_and(|site| site.directory_away.is_none())
            };
            if states.iter().all(is_ready) {
                return Ok(());
            }
            for host in &mut self.hosts {
                host.check(live)?;
            }
            if began.elapsed() > PATIENCE {
                let why = states.into_iter().find_map(Result::err);
                return Err(why.unwrap_or_else(|| anyhow!("an agent does not hear another one")))
                    .context("the agents do not find together");
            }
            live.tick(|| "the agents begin".into())?;
            std::thread::sleep(TICK);
        }
    }

    /// Creates the VM, protected, and starts it on the first host.
    pub fn create(&self) -> Result<()> {
        let first = self.host(0)?;
        let created = first.agent.create(&json!({ "toml": self.settings }));
        created.context("the VM cannot be created")?;
        let wanted = json!({ "wanted": "on", "on": first.name });
        let started = first.agent.change("PUT", "/power", &wanted);
        started.context("the VM cannot be started")?;
        Ok(())
    }

    /// The host of this index.
    pub fn host(&self, index: usize) -> Result<&Host> {
        self.hosts.get(index).context("there is no such host")
    }

    /// Ends a host as a power cut does: first its link, if it has one, then all its processes.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        self.network.set_link(index, false)?;
        self.hosts.get_mut(index).context("there is no such host")?.die()
    }

    /// Starts a host again that has died.
    pub fn revive(&mut self, index: usize) -> Result<()> {
        self.network.set_link(index, true)?;
        self.hosts
            .get_mut(index)
            .context("there is no such host")?
            .start()
    }

    /// Has all agents end. False: one did not end as it should.
    pub fn end(&mut self, live: &mut Live) -> Result<bool> {
        let mut good = true;
        for host in &mut self.hosts {
            good &= host.end(live)?;
        }
        Ok(good)
    }

    /// The files of the events of all processes of the VM that there were.
    pub fn events(&self) -> Vec<PathBuf> {
        self.hosts.iter().flat_map(Host::events).collect()
    }
}

/// Where the hosts are to keep what people want.
fn kind(args: &Options) -> Result<DirectoryKind> {
    match args.directory {
        Some(DirectoryKind::Etcd) if !etcd::is_installed() => bail!(
            "`--directory etcd` needs the program `etcd` (Debian: etcd-server); `--directory shared` needs \
             nothing"
        ),
        Some(kind) => Ok(kind),
        None if etcd::is_installed() => Ok(DirectoryKind::Etcd),
        None => Ok(DirectoryKind::Shared),
    }
}

/// The settings of the VM, as `VM.toml` has them.
fn settings(image: &Appliance, args: &Options, frames: &str) -> String {
    let path = |path: &Path| toml::Value::from(path.display().to_string());
    let settings = [
        ("name", VM.into()),
        ("kernel", path(&image.kernel)),
        ("initrd", path(&image.initrd)),
        ("firmware", path(&image.firmware)),
        ("append", image.append.clone().into()),
        ("memory", MEMORY.into()),
        ("net", format!("gateway={frames}").into()),
        ("timeout_only", args.timeout_only.into()),
    ];
    let numbers = [
        ("harts", i64::try_from(args.harts)),
        ("timeout_ms", i64::try_from(args.timeout_ms)),
    ];
    // Both were read as numbers of a few digits.
    let numbers = numbers.map(|(word, number)| (word, number.unwrap_or(i64::MAX).into()));
    let all = settings.into_iter().chain(numbers);
    toml::Table::from_iter(all.map(|(word, value)| (word.to_owned(), value))).to_string()
}
