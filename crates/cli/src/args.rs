//! The command line: what every command takes. Its words are those of QEMU, virsh and systemctl where they
//! exist; `VM.toml` has the same words as the flags. Nothing here opens a file or decides anything: `spec`
//! and the commands' own files read these structs.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use host::build::{InterpreterOptions, Translate};
use os::sandbox::{self, User};

/// What ends `run` and `record`.
const ALONE_ENDS: &str = "\
What ends it: the guest's own power-off; Ctrl-A x on its terminal, which pulls its plug; SIGTERM or SIGINT. \
SIGHUP does nothing. The guest cannot be asked to switch off, as its board has no power button: the first \
signal says so, the second pulls the plug.";

/// What ends one half of a pair.
const PAIR_ENDS: &str = "\
What ends it: the guest's own power-off, on both sides; or SIGTERM, SIGINT or Ctrl-A x on its terminal. \
SIGHUP does nothing.
  primary: leaves the VM to the backup, which goes on with it. Ctrl-A x asks whether to switch the VM off on \
both sides.
  backup: leaves; the VM goes on without a backup.
  alone after a failure of the other side: says that the guest cannot be asked to switch off, as its board \
has no power button; a second signal, or Ctrl-A x, pulls the plug.";

/// Fault-tolerant virtual machines that run anywhere.
#[derive(Parser)]
#[command(name = "lockstep", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage. Start with `lockstep demo`.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Protect a guest, load it, kill its primary, report what the client saw
    Demo(DemoArgs),
    /// Run a machine, unprotected
    #[command(after_help = ALONE_ENDS)]
    Run(RunArgs),
    /// Run a machine and write its log
    #[command(after_help = ALONE_ENDS)]
    Record(RecordArgs),
    /// Run a machine again from its log, comparing every output and digest
    Replay(ReplayArgs),
    /// Run the live half of a pair
    #[command(after_help = PAIR_ENDS)]
    Primary(PairArgs),
    /// Run the copy that takes over when the primary dies
    #[command(after_help = PAIR_ENDS)]
    Backup(PairArgs),
    /// Connect guests to the network without root; clients' connections outlive the primary
    Gateway(GatewayArgs),
    /// Build a guest image from Debian's packages
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look inside a log
    #[command(subcommand)]
    Log(LogCommand),
    /// Print a shell's completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// A machine: flags override the file.
#[derive(Args, Default)]
pub struct VmArgs {
    /// Description of the machine, with the same words as the flags
    #[arg(value_name = "VM.toml")]
    pub file: Option<PathBuf>,
    /// Name of the VM: what its epochs and locks are called by
    #[arg(long)]
    pub name: Option<String>,
    /// What to boot: a RISC-V Linux Image, an ELF file or flat code like u-boot.bin; each also compressed
    /// with gzip
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initramfs for the kernel
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line
    #[arg(long, value_name = "STRING")]
    pub append: Option<String>,
    /// What is started in M-mode, flat or ELF: with a kernel OpenSBI's fw_dynamic or fw_jump [default: this
    /// host's OpenSBI], or none to start the kernel itself there; without one any firmware
    #[arg(long, visible_alias = "bios", value_name = "FILE|none")]
    pub firmware: Option<PathBuf>,
    /// RAM, for example 512M or 4G
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Number of harts (CPUs), 1 to 8
    #[arg(long, value_name = "N")]
    pub harts: Option<usize>,
    /// Raw disk; may be given several times
    #[arg(long, value_name = "FILE[,readonly]")]
    pub disk: Vec<String>,
    /// gateway=HOST:PORT, gateway=SOCKET, tap=NAME or none; behind a gateway ,key=FILE or ,insecure (over TCP
    /// the pair's key is the default, over a Unix socket none)
    #[arg(long, value_name = "NET")]
    pub net: Option<String>,
    /// Ethernet address of the guest
    #[arg(long, value_name = "MAC")]
    pub mac: Option<String>,
    /// Which registers virtio devices have: those of version 2, or those of version 1 for kernels that know
    /// no other. QEMU's default is legacy, Lockstep's modern
    #[arg(long, value_name = "modern|legacy")]
    pub virtio: Option<String>,
    /// stdio, none, unix:SOCKET or a file for the output. At 64 MiB the file becomes FILE.1, and a new one is
    /// begun
    #[arg(long, value_name = "WHERE")]
    pub serial: Option<String>,
    /// Drop caches at random with this seed; nothing may change (a check of determinism)
    #[arg(long, value_name = "SEED")]
    pub zeal: Option<u64>,
    /// What executes instructions; the interpreter is slow, and both do the same
    #[arg(long, value_name = "ENGINE", default_value = "translator")]
    pub engine: Engine,
}

/// What a process gives up.
#[derive(Args)]
pub struct SandboxArgs {
    /// Become this user before anything is opened; for root. Disks, arbiter, keys and sockets must be the
    /// user's
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub user: Option<String>,
    /// Keep every right that the user has: for debugging only
    #[arg(long)]
    pub no_sandbox: bool,
    /// End when this process, which has started this one, ends: for programs that start replicas
    #[arg(long, value_name = "PID", hide = true)]
    pub ends_with: Option<u32>,
}

impl SandboxArgs {
    /// The first thing that one half of a pair does: as [`SandboxArgs::begin`], and it asks to be served
    /// soon.
    pub fn begin_half(&self) -> anyhow::Result<()> {
        sandbox::ask_to_be_served_soon();
        self.begin()
    }

    /// The first thing that a process does: who it is, and what it asks of its host.
    pub fn begin(&self) -> anyhow::Result<()> {
        let user = self.user.as_deref().map(User::find).transpose()?;
        // Before: root may ask for more.
        sandbox::ask_to_stay_in_memory();
        if let Some(user) = &user {
            sandbox::become_user(user)?;
        }
        // After: the kernel forgets this when a process becomes another user.
        if let Some(parent) = self.ends_with
            && !os::parent::end_with(parent)?
        {
            anyhow::bail!("process {parent}, with which this one was to end, is not its parent any more");
        }
        Ok(())
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Translates what runs often to machine code, on hosts where it can
    #[default]
    Translator,
    /// Interprets every instruction
    Interpreter,
}

impl VmArgs {
    /// How to execute; says so where it is slower than it could be.
    pub fn engine(&self) -> InterpreterOptions {
        let translate = match self.engine {
            Engine::Interpreter => Translate::Never,
            // What drops caches at random is there to find mistakes.
            Engine::Translator if self.zeal.is_some() => Translate::Always,
            Engine::Translator => Translate::Hot,
        };
        if translate != Translate::Never
            && let Err(why) = host::build::can_translate()
        {
            tell!("lockstep: {why}; every instruction is interpreted, which is several times slower");
        }
        InterpreterOptions {
            zeal: self.zeal,
            translate,
            ..InterpreterOptions::default()
        }
    }
}

/// What to learn about a run.
#[derive(Args)]
pub struct ProfileArgs {
    /// Tell at the end where the guest spent its steps and what the translator did; with a FILE, there
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub profile: Option<Option<PathBuf>>,
    /// Steps from one sample of the profile to the next [default: 12373]
    #[arg(long, value_name = "STEPS", requires = "profile")]
    pub profile_every: Option<u64>,
    /// Names for the guest's kernel: a System.map, a copy of its /proc/kallsyms, or an ELF file; may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub symbols: Vec<PathBuf>,
    /// Write /tmp/perf-PID.map, so that `perf report` names generated code
    #[arg(long)]
    pub perf_map: bool,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// Where to write the log
    #[arg(long, short, value_name = "LOG")]
    pub output: PathBuf,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ReplayArgs {
    /// The log
    pub log: PathBuf,
    #[command(flatten)]
    pub vm: VmArgs,
    /// Stop at this step
    #[arg(long, value_name = "STEP")]
    pub until: Option<u64>,
    /// Run in slices of this many steps; nothing may change
    #[arg(long, value_name = "STEPS")]
    pub slice: Option<u64>,
    /// Write a snapshot where the replay stops
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Start from this snapshot instead of from the beginning
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PairArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// Where the backup listens and the primary connects
    #[arg(long, value_name = "HOST:PORT")]
    pub backup: Option<String>,
    /// File with the pair's shared key, readable by its owner alone: 64 hex digits (`openssl rand -hex 32`)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Use the key though other users can read or change its file
    #[arg(long)]
    pub allow_open_key: bool,
    /// No encryption, no authentication: for measuring only
    #[arg(long)]
    pub insecure: bool,
    /// Directory that both hosts share, where a single winner is decided when one suspects the other
    #[arg(long, value_name = "DIR")]
    pub arbiter: Option<PathBuf>,
    /// Silence after which the other side is suspected, in milliseconds; at least 100
    #[arg(long, value_name = "MS")]
    pub timeout_ms: Option<u64>,
    /// Write what happens and, at the end, the figures to this file, a JSON object a line (docs/events.md).
    /// At 64 MiB it becomes FILE.1, and a new one is begun
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write figures among the events every so many milliseconds; at least 10
    #[arg(long, value_name = "MS", requires = "events")]
    pub figures_every: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct GatewayArgs {
    /// Where VMs connect: HOST:PORT or a socket path
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:7700")]
    pub listen: String,
    /// Take VMs that have this key: the pair's, or one of the gateway's own (64 hex digits); may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Use a key file although other users can read or change it
    #[arg(long)]
    pub allow_open_key: bool,
    /// Over TCP, take VMs without a key: anybody who reaches the port can then read and answer for a guest
    /// that has none
    #[arg(long)]
    pub insecure: bool,
    /// Let guests reach this although it is refused by itself: the host's loopback (at the gateway's
    /// address), 169.254.0.0/16, the gateway's own ports; may be given several times
    #[arg(long, value_name = "ADDRESS[/PREFIX][:PORT]")]
    pub allow: Vec<String>,
    /// Refuse this to guests; of several rules the most specific decides; may be given several times
    #[arg(long, value_name = "ADDRESS[/PREFIX][:PORT]")]
    pub deny: Vec<String>,
    /// Forward a host port into a guest; GUEST is a VM's name or a guest's address, and may be left out if
    /// there is one VM; may be given several times
    #[arg(long, value_name = "[tcp:|udp:]HOST:PORT-[GUEST]:PORT")]
    pub forward: Vec<String>,
    /// The guests' subnet
    #[arg(long, value_name = "CIDR", default_value = "10.0.2.0/24")]
    pub subnet: String,
    /// Resolver to forward the guests' questions to; default: the host's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Subcommand)]
pub enum ImageCommand {
    /// An initramfs with Debian's kernel, busybox and Redis (or your packages); no root needed
    Appliance {
        /// Another Debian package to put in; may be given several times
        #[arg(long, value_name = "NAME")]
        package: Vec<String>,
        /// Start this instead of Redis
        #[arg(long, value_name = "COMMAND")]
        run: Option<String>,
        /// Build again even if there is one
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
    /// A full Debian 13 disk with systemd
    Debian {
        /// Another Debian package to put in; may be given several times
        #[arg(long, value_name = "NAME")]
        package: Vec<String>,
        /// Size of the disk
        #[arg(long, value_name = "SIZE", default_value = "2G")]
        size: String,
        /// Build again even if there is one
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub enum LogCommand {
    /// Every entry, a line each
    Dump {
        /// The log
        log: PathBuf,
    },
    /// Counts, bytes and rates by kind of entry
    Stat {
        /// The log
        log: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// The first entry in which two logs differ
    Diff {
        /// One log
        left: PathBuf,
        /// Another log
        right: PathBuf,
    },
}

/// What the demo does to the pair.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// SIGKILL the primary
    Primary,
    /// SIGKILL the backup
    Backup,
    /// SIGSTOP the primary for three timeouts, then SIGCONT
    Stall,
    /// Nothing
    None,
}

#[derive(Args)]
pub struct DemoArgs {
    /// What to do to the pair
    #[arg(long, value_enum, default_value = "primary")]
    pub kill: Kill,
    /// How long to load the guest, in seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub seconds: u64,
    /// Harts of the guest, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub harts: usize,
    /// Client connections
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub clients: usize,
    /// Silence after which a side is suspected, in milliseconds; at least 100
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub timeout_ms: u64,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}
