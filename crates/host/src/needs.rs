//! What a VM and its pair need after their start, read from what the operator asked for.
//! `VmSpec::enter_sandbox` gives it to the sandbox, which takes away the rest.
//!
//! What is missing here is refused by the kernel later, at a time when the VM needs it: so whoever adds a
//! file or socket to a VM must add it here.

use arbiter::Place;
use os::sandbox::Needs;
use os::sandbox::files::directory_of;

use crate::spec::{Alone, PairSpec, VmSpec};
use console::ConsoleSpec;
use ports::{Endpoint, PortSpec};

impl VmSpec {
    /// What this VM needs; with `pair`, what one half of that pair needs.
    #[must_use]
    pub fn needs(&self, pair: Option<&PairSpec>) -> Needs {
        let mut needs = Needs::of_any_process();
        // The locks of disks say in which boot of this host they were taken.
        needs.files.read("/proc/sys/kernel/random/boot_id");
        for disk in &self.disks {
            if let Ok(Some(place)) = disk.file.place() {
                if self.protect.is_none() {
                    needs.files.connect_to([place.port]);
                }
                needs.sockets.tcp = true;
                continue;
            }
            // What is below an image is open by now.
            let path = disk.file.written();
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if disk.read_only {
                needs.files.read(&path);
            } else {
                needs.files.write(&path);
                needs.files.replace(directory_of(&path));
            }
            needs.surely("the disk", &path, !disk.read_only);
        }
        if let Some(path) = &self.events {
            needs.files.replace_like(path);
        }
        match &self.serial {
            ConsoleSpec::None | ConsoleSpec::Stdio => {}
            ConsoleSpec::File(path) => needs.files.replace_like(path),
            ConsoleSpec::Socket(path) | ConsoleSpec::Keys(path) => needs.files.socket(path),
        }
        // A VM that can be protected calls the host that takes its backup, by threads of the guest thread,
        // which have its rights at most.
        if self.protect.is_none() {
            needs.files.connect_to([]);
        } else {
            needs.sockets.tcp = true;
        }
        for net in &self.nets {
            port(&mut needs, &net.port, self.protect.is_none());
        }
        if let Some(pair) = pair
            && self.protect.is_none()
        {
            needs.files.connect_to([pair.address.port()]);
        }
        let arbiter = match (pair, &self.alone) {
            (Some(pair), _) => Some(&pair.arbiter),
            (None, Alone::Arbiter { place, .. }) => Some(place),
            (None, Alone::Locally | Alone::Unchecked) => None,
        };
        if let Some(directory) = arbiter.and_then(Place::directory) {
            needs.files.replace(directory);
            needs.surely("the arbiter directory", directory, true);
        }
        let called = arbiter.map_or_else(Vec::new, Place::ports);
        needs.sockets.arbiter = !called.is_empty();
        if self.protect.is_none() {
            needs.files.connect_to(called);
        }
        needs
    }
}

/// Adds what a network port needs. `few`: may the process call few TCP ports, so that each must be named? A
/// VM that can be protected calls whatever host its operator names.
fn port(needs: &mut Needs, port: &PortSpec, few: bool) {
    match port {
        PortSpec::None => {}
        PortSpec::Tap(_) => needs.sockets.taps = true,
        PortSpec::Gateway { endpoint, .. } => match endpoint {
            Endpoint::Tcp(address) => {
                if few {
                    needs.files.connect_to([address.port()]);
                }
                needs.sockets.tcp = true;
            }
            Endpoint::Unix(_) => needs.sockets.unix = true,
        },
    }
}
