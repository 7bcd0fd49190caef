//! What a VM, its pair and a gateway need after their start, read from what the operator asked for.

use std::path::Path;

use super::Needs;
use super::files::directory_of;
use crate::console::ConsoleSpec;
use crate::net::gateway::{GatewayConfig, GuestListen, Resolvers};
use crate::net::{Endpoint, PortSpec};
use crate::spec::{PairSpec, VmSpec};

/// Where the resolvers of the host are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Needs {
    /// Of a VM; with `pair` of one half of a pair.
    #[must_use]
    pub fn of_vm(spec: &VmSpec, pair: Option<&PairSpec>) -> Needs {
        let mut needs = Needs::of_anybody();
        // Which boot of this host it is (of the locks).
        needs.files.read("/proc/sys/kernel/random/boot_id");
        for disk in &spec.disks {
            let path = disk.path.canonicalize().unwrap_or_else(|_| disk.path.clone());
            if disk.read_only {
                needs.files.read(&path);
            } else {
                needs.files.write(&path);
                needs.files.replace(directory_of(&path));
            }
            needs.surely("the disk", &path, !disk.read_only);
        }
        if let Some(path) = &spec.events {
            needs.files.replace_like(path);
        }
        match &spec.serial {
            ConsoleSpec::None | ConsoleSpec::Stdio => {}
            ConsoleSpec::File(path) => needs.files.replace_like(path),
            ConsoleSpec::Socket(path) => needs.files.socket(path),
        }
        needs.files.connect_to([]);
        for net in &spec.nets {
            needs.port(&net.port);
        }
        if let Some(pair) = pair {
            needs.files.connect_to([pair.address.port()]);
            needs.files.replace(&pair.arbiter);
            needs.surely("the arbiter directory", &pair.arbiter, true);
        }
        needs
    }

    /// Its own memory in use, and how many processors there are, by which the C library's allocator shares memory among threads.
    fn of_anybody() -> Needs {
        let mut needs = Needs::default();
        needs.files.read("/proc/self");
        needs.files.read("/sys/devices/system/cpu/online");
        needs
    }

    fn port(&mut self, port: &PortSpec) {
        match port {
            PortSpec::None => {}
            PortSpec::Tap(_) => self.sockets.taps = true,
            PortSpec::Gateway { endpoint, .. } => match endpoint {
                Endpoint::Tcp(address) => {
                    self.files.connect_to([address.port()]);
                    self.sockets.tcp = true;
                }
                Endpoint::Unix(_) => self.sockets.unix = true,
            },
        }
    }

    /// Of a gateway.
    #[must_use]
    pub fn of_gateway(config: &GatewayConfig) -> Needs {
        let mut needs = Needs::of_anybody();
        needs.sockets.anybody = true;
        if let GuestListen::Unix(path) = &config.listen {
            needs.files.socket(path);
        }
        if config.resolvers == Resolvers::Host {
            needs.files.read(RESOLV_CONF);
            // What replaces the file is another one. Where the name leads to a directory of its own, that is allowed; /etc is not.
            let target = Path::new(RESOLV_CONF).canonicalize();
            if let Some(directory) = target.ok().map(|path| directory_of(&path))
                && directory != Path::new("/etc")
            {
                needs.files.read(directory);
            }
        }
        needs
    }
}
