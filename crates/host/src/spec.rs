//! `VmSpec` and `PairSpec`: what the operator asked for, and the machine, disks and surroundings made of it.
//! The program fills them in from its arguments and files; `run`, `pair` and `replay` open what they name.
//!
//! The order of opening is the caller's. Nothing here locks a disk, and no thread is started before
//! `enter_sandbox`.

mod disk_spec;
mod pair;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use machine::{Boot, Config, NetConfig, Transport};
use replica::{Header, Notice, Span};

use console::{Console, ConsoleError, ConsoleSpec};
pub use disk_spec::DiskSpec;
pub use pair::{PairSpec, ProtectSpec};

use crate::control_socket::{self, ControlSocket};
use crate::watch::settles_with_its_writer;
use crate::world::World;
use crate::world_error::WorldError;
use cable::mac::Mac;
use control::Place;
use disk::{Access, Disk, DiskError, DiskPool, DiskSecurity, Of};
use link::KeyError;
use os::sandbox::{Entered, OutOfReach};
use os::signals::Signals;
use os::wake::Waker;
use os::{entropy, sys::clock};
use ports::{NetError, Port, PortSpec};
use replica::VmName;
use report::{OnPanic, ReportError, Reporter};

/// Where Debian, Fedora and QEMU put OpenSBI; the first that exists is used.
pub const FIRMWARE_PATHS: [&str; 4] = [
    "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin",
    "/usr/share/opensbi/lp64/generic/firmware/fw_dynamic.bin",
    "/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin",
    "/usr/lib/opensbi/generic/fw_dynamic.bin",
];

/// The firmware as the operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareSpec {
    /// The OpenSBI of this host's distribution, for a kernel.
    Distribution,
    /// None: every hart enters the kernel in M-mode.
    None,
    /// The firmware in this file.
    File(PathBuf),
}

/// A network device as the operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSpec {
    /// The device's Ethernet address; `None`: one made from the VM's name and the device's number.
    pub mac: Option<[u8; 6]>,
    /// Where the device is plugged in.
    pub port: PortSpec,
}

/// What keeps a VM that runs alone from being started twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alone {
    /// Its record at this arbiter.
    Arbiter {
        /// The arbiter, which all hosts reach that may run the VM.
        place: arbiter::Place,
        /// An owner was killed, and a backup of it may be about to go on: so long a start waits for that.
        patience: Duration,
    },
    /// A lock of this host.
    Locally,
    /// Nothing: its name is one that many VMs may have.
    Unchecked,
}

/// A VM as the operator asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSpec {
    /// Name of the VM, by which arbiter and locks know it.
    pub name: VmName,
    /// Bytes of RAM.
    pub memory: u64,
    /// Number of harts.
    pub harts: usize,
    /// What every hart enters first.
    pub firmware: FirmwareSpec,
    /// The kernel to boot ([`Boot::kernel`] has its forms); `None`: the firmware is all that runs.
    pub kernel: Option<PathBuf>,
    /// Initramfs for the kernel.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub append: String,
    /// Disks of the guest, in the order of their numbers.
    pub disks: Vec<DiskSpec>,
    /// How the conversations with disk servers' own doors are protected.
    pub disk_security: DiskSecurity,
    /// Content of the disk that the guest's cloud-init reads, which is read-only and comes after the others;
    /// `None`: there is no such disk.
    pub cloud_init: Option<Arc<[u8]>>,
    /// Network devices of the guest, in the order of their numbers.
    pub nets: Vec<NetSpec>,
    /// By which registers the guest drives its virtio devices.
    pub virtio: Transport,
    /// Where the UART leads.
    pub serial: ConsoleSpec,
    /// Steps between two digests in the log; `None`: none.
    pub digest_every: Option<u64>,
    /// File to which JSON lines about what happens are appended; `None`: nothing is written.
    pub events: Option<PathBuf>,
    /// How often figures are among the events; `None`: only at the end.
    pub figures_every: Option<Span>,
    /// What is done about a guest whose kernel has panicked.
    pub on_panic: OnPanic,
    /// What keeps this VM from being started twice when it runs alone. A pair has its own arbiter.
    pub alone: Alone,
    /// This host's directory for signs of life and locks of this user's VMs ([`arbiter::LocalDirectory`]);
    /// `None`: this process has neither.
    pub local: Option<PathBuf>,
    /// What the VM needs to get a backup while it runs; `None`: it cannot get one.
    pub protect: Option<ProtectSpec>,
    /// Does `lockstep status` reach this process, through a socket in `local`? Only a VM that the user has
    /// given a name can be asked for by its name.
    pub control: bool,
    /// Does the process give up, before the guest's first step, what it does not need (`os::sandbox`)? Only
    /// where nothing else runs in this process.
    pub sandbox: bool,
}

/// The files from which the images of a machine are read, for messages; `None`: there is no such image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// File of the firmware.
    pub firmware: Option<PathBuf>,
    /// File of the kernel.
    pub kernel: Option<PathBuf>,
    /// File of the initramfs.
    pub initrd: Option<PathBuf>,
}

impl Images {
    /// How an image is called in a sentence: by its kind, and by its file if it has one.
    #[must_use]
    pub fn called(&self, image: &str) -> String {
        let path = match image {
            "firmware" => &self.firmware,
            "kernel" => &self.kernel,
            "initrd" => &self.initrd,
            _ => &None,
        };
        path.as_ref().map_or_else(
            || format!("the {image}"),
            |path| format!("the {image} {}", path.display()),
        )
    }
}

/// The ports of the guest's network devices, quiet, what wakes the guest thread for them, and the socket for
/// the callers of `lockstep status`.
#[derive(Debug)]
pub struct Ports {
    waker: Waker,
    ports: Vec<Port>,
    /// The socket of which nobody takes calls yet; `None`: there is none, or somebody does.
    place: Option<Place>,
    control: Option<ControlSocket>,
}

impl Ports {
    /// Has the callers of `lockstep status` answered that this process runs no guest yet, for this `reason`,
    /// if they are not answered already. Starts a thread, so the sandbox must be entered.
    pub fn answer_callers(&mut self, spec: &VmSpec, reason: &str) {
        if let Some(place) = self.place.take() {
            let arbiter = match &spec.alone {
                Alone::Arbiter { place, .. } => Some(place.to_string()),
                Alone::Locally | Alone::Unchecked => None,
            };
            self.control = ControlSocket::start(place, &self.waker, arbiter, reason);
        }
    }
}

impl Ports {
    /// What wakes the guest thread.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// Why a VM cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An image cannot be read.
    #[error("cannot read the {what} {path}; check the path")]
    Image {
        /// Which image: "kernel", "initrd" or "firmware".
        what: &'static str,
        /// Path that was given for the image.
        path: PathBuf,
        /// What the operating system said of the file.
        source: std::io::Error,
    },
    /// An image is a file without content.
    #[error("the {what} {path} is empty; check the path")]
    EmptyImage {
        /// Which image: "kernel", "initrd" or "firmware".
        what: &'static str,
        /// Path that was given for the image.
        path: PathBuf,
    },
    /// This host has no OpenSBI, and no firmware was given.
    #[error(
        "no OpenSBI on this host; install the package `opensbi`, or give `--firmware FILE` (or `none`, for a \
         kernel that runs in M-mode)"
    )]
    NoFirmware,
    /// Neither a kernel nor a firmware was given.
    #[error("nothing to boot; give `--kernel FILE` or `--firmware FILE`")]
    NothingToBoot,
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A network device cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A console cannot be opened.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The key of the pair cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file for events cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The host gives no more threads or file descriptors.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The sandbox would take away what the VM needs.
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
}

impl VmSpec {
    /// Reads the images.
    ///
    /// # Errors
    /// An image cannot be read, or there is nothing to boot.
    pub fn boot(&self) -> Result<Boot, SetupError> {
        let Images {
            firmware,
            kernel,
            initrd,
        } = self.images();
        match self.firmware {
            FirmwareSpec::File(_) => {}
            _ if self.kernel.is_none() => return Err(SetupError::NothingToBoot),
            FirmwareSpec::Distribution if firmware.is_none() => return Err(SetupError::NoFirmware),
            FirmwareSpec::Distribution | FirmwareSpec::None => {}
        }
        Ok(Boot {
            firmware: read_image("firmware", firmware.as_deref())?,
            kernel: read_image("kernel", kernel.as_deref())?,
            initrd: read_image("initrd", initrd.as_deref())?,
            command_line: self.append.clone(),
        })
    }

    /// The files of the images.
    #[must_use]
    pub fn images(&self) -> Images {
        let firmware = match &self.firmware {
            FirmwareSpec::File(path) => Some(path.clone()),
            FirmwareSpec::None => None,
            FirmwareSpec::Distribution => FIRMWARE_PATHS
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists()),
        };
        Images {
            firmware,
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
        }
    }

    /// The configuration of the machine, with fresh seeds.
    #[must_use]
    pub fn config(&self, boot: Boot, disks: &[Disk]) -> Config {
        let mut rng_seed = [0; 32];
        entropy::fill(&mut rng_seed);
        Config {
            memory: self.memory,
            harts: self.harts,
            disks: disks.iter().map(Disk::config).collect(),
            nets: (0..)
                .zip(&self.nets)
                .map(|(index, net)| NetConfig {
                    mac: self.mac(index, net),
                })
                .collect(),
            virtio: self.virtio,
            rng_seed,
            wall_clock_ns: clock::wall_ns(),
            boot,
        }
    }

    /// The header that names this machine.
    #[must_use]
    pub fn header(config: &Config) -> Header {
        crate::header::header(config)
    }

    /// Opens the disks, for a VM alone or for one half of a pair; nothing is locked yet.
    ///
    /// # Errors
    /// A disk cannot be used.
    pub fn open_disks(&self, access: Access) -> Result<Vec<Disk>, SetupError> {
        let is_remote = |disk: &DiskSpec| matches!(disk.file.place(), Ok(Some(_)));
        let security = match self.disks.iter().any(is_remote) {
            true => self.disk_security.load()?,
            false => None,
        };
        let open = |(index, disk): (usize, &DiskSpec)| {
            let serial = if disk.serial.is_empty() {
                format!("lockstep-{index}")
            } else {
                disk.serial.clone()
            };
            let of = Of {
                vm: &self.name,
                security: security.as_ref(),
            };
            Ok(Disk::open(&disk.file, of, access, disk.read_only, &serial)?)
        };
        let bytes = self.cloud_init.iter();
        let last = bytes.map(|bytes| Ok(Disk::of_bytes("cloud-init", bytes.clone(), access)?));
        self.disks.iter().enumerate().map(open).chain(last).collect()
    }

    /// What may be told of this process once it has ended, if there is somebody who can tell; and whether
    /// this side believes what is told of the other side's.
    #[must_use]
    pub fn notice(&self, timeout_only: bool, can_tell: bool) -> Notice {
        // What a dead process has sent to a server is over before another epoch is let in there.
        let is_fenced = |disk: &DiskSpec| matches!(disk.file.place(), Ok(Some(_)));
        let settles =
            |disk: &DiskSpec| disk.read_only || is_fenced(disk) || settles_with_its_writer(&disk.file.path);
        match can_tell && !timeout_only {
            false => Notice::TimeoutOnly,
            true if self.disks.iter().all(settles) => Notice::Settled,
            true => Notice::Unsettled,
        }
    }

    /// Opens the network devices' ports, which takes rights that are given up soon; starts no thread.
    ///
    /// # Errors
    /// A tap cannot be used.
    pub fn open_ports(&self) -> Result<Ports, SetupError> {
        let waker = Waker::new().map_err(WorldError::Poll)?;
        let open = |net: &NetSpec| Ok(Port::open(&net.port, &waker)?);
        let ports = self.nets.iter().map(open).collect::<Result<_, SetupError>>()?;
        let local = self.local.as_deref().filter(|_| self.control);
        Ok(Ports {
            waker,
            ports,
            place: local.and_then(|directory| control_socket::place(directory, &self.name)),
            control: None,
        })
    }

    /// Gives up what this VM will not need, if it was asked for; see [`os::sandbox::Needs::enter`]. No thread
    /// may have been started yet.
    ///
    /// # Errors
    /// The VM will need something that it could not get any more.
    pub fn enter_sandbox(&self, pair: Option<&PairSpec>) -> Result<Option<Entered>, SetupError> {
        let entered = if self.sandbox {
            Some(self.needs(pair).enter()?)
        } else {
            None
        };
        os::stderr::open();
        Ok(entered)
    }

    /// As [`VmSpec::enter_sandbox`], for the backup of a VM that runs elsewhere: it keeps images in `images`.
    ///
    /// # Errors
    /// As [`VmSpec::enter_sandbox`].
    pub fn enter_sandbox_beside(
        &self,
        pair: &PairSpec,
        images: &Path,
    ) -> Result<Option<Entered>, SetupError> {
        let entered = if self.sandbox {
            let mut needs = self.needs(Some(pair));
            needs.files.replace(images);
            Some(needs.enter()?)
        } else {
            None
        };
        os::stderr::open();
        Ok(entered)
    }

    /// Everything around the node but the peer and the arbiter; starts threads. A replica that is live at
    /// once must find its gateway.
    ///
    /// # Errors
    /// A port, console or file cannot be used.
    pub fn world(
        &self,
        owner: u128,
        config: &Config,
        disks: Vec<Disk>,
        mut ports: Ports,
        live: bool,
        signals: Option<Signals>,
    ) -> Result<World, SetupError> {
        ports.answer_callers(self, "it is about to begin");
        let Ports {
            waker,
            ports,
            control,
            ..
        } = ports;
        let reporter = Reporter::new(self.name.as_str(), self.events.as_deref(), self.figures_every)?;
        let pool = DiskPool::new(disks, &waker).map_err(WorldError::Poll)?;
        for (index, disk) in (0..).zip(&config.disks) {
            pool.guest_knows(index, disk.sectors);
        }
        let mut world = World::new(self.name.clone(), owner, waker.clone(), pool, reporter);
        world.live = live;
        world.config = Some(config.clone());
        world.on_panic = self.on_panic;
        world.reporter.place_console(match &self.serial {
            ConsoleSpec::None => "none".into(),
            ConsoleSpec::Stdio => "stdio".into(),
            ConsoleSpec::File(path) => path.display().to_string(),
            ConsoleSpec::Socket(path) => format!("unix:{}", path.display()),
            ConsoleSpec::Keys(path) => format!("keys:{}", path.display()),
        });
        world.signals = signals;
        for ((net, device), mut port) in self.nets.iter().zip(&config.nets).zip(ports) {
            if live {
                port.check(&net.port)?;
            }
            world.cables.add(device.mac, port);
        }
        world.consoles.push(Console::open(&self.serial, &waker)?);
        if let Some(control) = control {
            control.begins(&mut world.reporter);
            world.control = Some(control);
        }
        Ok(world)
    }

    /// The address of a network device, or one that both hosts make from the same name.
    fn mac(&self, index: u64, net: &NetSpec) -> [u8; 6] {
        net.mac.unwrap_or_else(|| Mac::of_vm(self.name.as_str(), index).0)
    }
}

fn read_image(what: &'static str, path: Option<&Path>) -> Result<Arc<[u8]>, SetupError> {
    let Some(path) = path else {
        return Ok(Arc::default());
    };
    match std::fs::read(path) {
        // To a machine, an image without bytes is none.
        Ok(bytes) if bytes.is_empty() => Err(SetupError::EmptyImage {
            what,
            path: path.into(),
        }),
        Ok(bytes) => Ok(bytes.into()),
        Err(source) => Err(SetupError::Image {
            what,
            path: path.into(),
            source,
        }),
    }
}
