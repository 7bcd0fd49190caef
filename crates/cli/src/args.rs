//! The command line: what every command takes. Its words are those of QEMU, virsh and systemctl where they
//! exist; `VM.toml` has the same words as the flags. Nothing here opens a file or decides anything: `spec`
//! and the commands' own files read these structs.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gateway::{Destination, Forward};
use os::sandbox::{self, User};

use crate::help::{
    ALONE_ENDS, APPLIANCE_EXAMPLES, DEBIAN_EXAMPLES, DEMO_EXAMPLES, DEVICES, DIAGNOSIS, GATEWAY_EXAMPLES,
    LOG_EXAMPLES, MACHINE, OUTPUT, PAIR, PAIR_ENDS, PAIR_EXAMPLES, RECORD_EXAMPLES, REPLAY_EXAMPLES, RIGHTS,
    RUN_EXAMPLES, both,
};
use crate::values;

/// Fault-tolerant virtual machines that run anywhere.
#[derive(Parser)]
#[command(name = "lockstep", version = crate::version::WITH_COMMIT, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the other side has the VM.\n\
                  Start with `lockstep demo`. `lockstep COMMAND --help` has all flags and examples, \
                  `-h` the usual ones."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Protect a guest, load it, kill its primary, report what the client saw
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Run a machine, unprotected
    #[command(after_help = both(RUN_EXAMPLES, ALONE_ENDS))]
    Run(RunArgs),
    /// Run a machine and write its log
    #[command(after_help = both(RECORD_EXAMPLES, ALONE_ENDS))]
    Record(RecordArgs),
    /// Run a machine again from its log, comparing every output and digest
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Run the live half of a pair
    #[command(after_help = both(PAIR_EXAMPLES, PAIR_ENDS))]
    Primary(PairArgs),
    /// Run the copy of a VM that takes over when its primary dies
    #[command(after_help = both(PAIR_EXAMPLES, PAIR_ENDS))]
    Backup(PairArgs),
    /// Connect guests to the network without root; clients' connections outlive the primary
    #[command(after_help = GATEWAY_EXAMPLES)]
    Gateway(GatewayArgs),
    /// Build a guest image from Debian's packages
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look inside a log
    #[command(subcommand, after_help = LOG_EXAMPLES)]
    Log(LogCommand),
    /// Print a shell's completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a directory
    Man {
        /// Where to write them, for example ~/.local/share/man/man1; left out: one page with everything is
        /// printed
        directory: Option<PathBuf>,
    },
    /// Tell what this program is and what it understands
    Version {
        /// Print it as one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// A machine: flags override the file.
#[derive(Args, Default)]
#[command(next_help_heading = MACHINE)]
pub struct VmArgs {
    /// Description of the machine, with the same words as the flags
    #[arg(value_name = "VM.toml", help_heading = None::<&'static str>)]
    pub file: Option<PathBuf>,
    /// Name of the VM, by which the arbiter, its disks' locks and a gateway know it [default: vm]
    #[arg(long, value_parser = values::text(values::name))]
    pub name: Option<String>,
    /// What to boot: a RISC-V Linux Image, an ELF file or flat code like u-boot.bin; each also compressed
    /// with gzip
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initramfs for the kernel
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line [default: empty]
    #[arg(long, value_name = "STRING", visible_alias = "cmdline")]
    pub append: Option<String>,
    /// What is started in M-mode, flat or ELF: with a kernel OpenSBI's fw_dynamic or fw_jump, or `none` to
    /// start the kernel itself in M-mode; without a kernel any firmware [default: the OpenSBI of this host's
    /// distribution]
    #[arg(long, value_name = "FILE|none", visible_alias = "bios")]
    pub firmware: Option<PathBuf>,
    /// RAM, for example 512M or 4G, at most 16G [default: 512M]
    #[arg(long, value_name = "SIZE", visible_alias = "mem", value_parser = values::text(values::memory))]
    pub memory: Option<String>,
    /// Number of harts (processors), 1 to 8 [default: 1]
    #[arg(long, value_name = "N", visible_aliases = ["cpus", "smp"],
        value_parser = values::value(values::harts))]
    pub harts: Option<usize>,
    /// What to do when the guest's kernel writes to its console that it has panicked [default: keep]
    #[arg(long, value_name = "WHAT")]
    pub on_panic: Option<PanicPolicy>,
    /// Raw disk; may be given several times [default: none]
    #[arg(long, value_name = "FILE[,readonly]", help_heading = DEVICES,
        value_parser = values::text(values::disk))]
    pub disk: Vec<String>,
    /// Network of the guest: gateway=HOST:PORT, gateway=SOCKET, tap=NAME or none. A gateway's address may be
    /// followed by ,key=FILE or ,insecure; without, the pair's key is used over TCP, and none over a Unix
    /// socket [default: none]
    #[arg(long, value_name = "NET", help_heading = DEVICES, value_parser = values::net_text)]
    pub net: Option<String>,
    /// Ethernet address of the guest [default: made from the VM's name]
    #[arg(long, value_name = "MAC", help_heading = DEVICES, value_parser = values::text(values::mac))]
    pub mac: Option<String>,
    /// Registers of the virtio devices: modern is version 2 of virtio-mmio, legacy is version 1, which is
    /// QEMU's default, for kernels that know no other [default: modern]
    #[arg(long, value_name = "modern|legacy", help_heading = DEVICES,
        value_parser = values::text(values::virtio))]
    pub virtio: Option<String>,
    /// The guest's console: stdio, none, unix:SOCKET, keys:SOCKET (with Ctrl-A b for a break, as in a
    /// terminal) or a file for the output. At 64 MiB the file becomes FILE.1, and a new one is begun
    /// [default: stdio]
    #[arg(long, value_name = "WHERE", visible_alias = "console", help_heading = DEVICES)]
    pub serial: Option<String>,
    /// Drop caches at random with this seed; nothing may change (a check of determinism)
    #[arg(long, value_name = "SEED", help_heading = DIAGNOSIS, hide_short_help = true,
        value_parser = values::value(values::number))]
    pub zeal: Option<u64>,
    /// What executes instructions; both compute the same, and the interpreter is slow
    #[arg(long, value_name = "ENGINE", default_value = "translator", help_heading = DIAGNOSIS,
        hide_short_help = true)]
    pub engine: Engine,
}

/// What is done about a guest whose kernel has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanicPolicy {
    /// Say so and leave the guest as it is
    Keep,
    /// Switch the guest off, on both sides of a pair; the exit code is 1
    Stop,
    /// Press the guest's reset button
    Reset,
}

/// What a process gives up.
#[derive(Args)]
#[command(next_help_heading = RIGHTS)]
pub struct SandboxArgs {
    /// Become this user before anything is opened; for root. Disks, arbiter, keys and sockets must be the
    /// user's
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub user: Option<String>,
    /// Keep every right that the user has: for debugging only
    #[arg(long, hide_short_help = true)]
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

/// What to learn about a run.
#[derive(Args)]
#[command(next_help_heading = DIAGNOSIS)]
pub struct ProfileArgs {
    /// Tell at the end where the guest spent its steps and what the translator did; in FILE if it is given,
    /// else on standard error
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
        hide_short_help = true)]
    pub profile: Option<Option<PathBuf>>,
    /// Steps from one sample of the profile to the next [default: 12373]
    #[arg(long, value_name = "STEPS", requires = "profile", hide_short_help = true,
        value_parser = values::value(values::steps))]
    pub profile_every: Option<u64>,
    /// Names for the guest's kernel: a System.map, a copy of its /proc/kallsyms, or an ELF file; may be given
    /// several times
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub symbols: Vec<PathBuf>,
    /// Write /tmp/perf-PID.map, so that `perf report` names generated code
    #[arg(long, hide_short_help = true)]
    pub perf_map: bool,
}

/// What programs read of a VM while it runs.
#[derive(Args)]
#[command(next_help_heading = OUTPUT)]
pub struct EventsArgs {
    /// Write what happens and, at the end, the figures to this file, one JSON object per line
    /// (docs/events.md).
    /// At 64 MiB it becomes FILE.1, and a new one is begun
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write figures among the events every so many milliseconds, at least 10 [default: only at the end]
    #[arg(long, value_name = "MS", requires = "events",
        value_parser = values::value(values::figures_every_ms))]
    pub figures_every: Option<u64>,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub events: EventsArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as one line of JSON on standard output; a console on stdio is then on standard error
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

#[derive(Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// Where to write the log
    #[arg(long, short, value_name = "LOG", help_heading = OUTPUT)]
    pub output: PathBuf,
    #[command(flatten)]
    pub events: EventsArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as one line of JSON on standard output; a console on stdio is then on standard error
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

#[derive(Args)]
pub struct ReplayArgs {
    /// The log
    pub log: PathBuf,
    #[command(flatten)]
    pub vm: VmArgs,
    /// Stop at this step
    #[arg(long, value_name = "STEP", help_heading = OUTPUT, value_parser = values::value(values::number))]
    pub until: Option<u64>,
    /// Run in slices of this many steps; nothing may change
    #[arg(long, value_name = "STEPS", help_heading = DIAGNOSIS, hide_short_help = true,
        value_parser = values::value(values::steps))]
    pub slice: Option<u64>,
    /// Write a snapshot where the replay stops
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub save: Option<PathBuf>,
    /// Start from this snapshot instead of from the beginning
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print the result as one line of JSON on standard output; a console on stdio is then on standard error
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

#[derive(Args)]
pub struct PairArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// Where the backup listens and the primary connects; needed, here or in VM.toml
    #[arg(long, value_name = "HOST:PORT", help_heading = PAIR,
        value_parser = values::text(values::host_port))]
    pub backup: Option<String>,
    /// File with the pair's shared key, readable by its owner alone: 64 hex digits (`openssl rand -hex 32`);
    /// needed, here or in VM.toml
    #[arg(long, value_name = "FILE", help_heading = PAIR)]
    pub key: Option<PathBuf>,
    /// Use the key though other users can read or change its file
    #[arg(long, hide_short_help = true, help_heading = PAIR)]
    pub allow_open_key: bool,
    /// No encryption, no authentication: for measuring only
    #[arg(long, hide_short_help = true, help_heading = PAIR)]
    pub insecure: bool,
    /// Directory that both hosts share, where a single winner is decided when one suspects the other; needed,
    /// here or in VM.toml
    #[arg(long, value_name = "DIR", help_heading = PAIR)]
    pub arbiter: Option<PathBuf>,
    /// Silence after which the other side is suspected, in milliseconds; at least 100 [default: 500]
    #[arg(long, value_name = "MS", help_heading = PAIR,
        value_parser = values::value(values::timeout_ms))]
    pub timeout_ms: Option<u64>,
    #[command(flatten)]
    pub events: EventsArgs,
    /// Print the result as one line of JSON on standard output; a console on stdio is then on standard error
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

#[derive(Args)]
pub struct GatewayArgs {
    /// Where VMs connect: HOST:PORT, or the path of a socket (with a slash in it, or `unix:` before it)
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:7700")]
    pub listen: String,
    /// Take VMs that have this key: the pair's, or one of the gateway's own (64 hex digits); may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Use a key file although other users can read or change it
    #[arg(long)]
    pub allow_open_key: bool,
    /// Over TCP, take VMs without a key; anybody who reaches the port can then read what such a VM's guest
    /// gets, and answer for it
    #[arg(long)]
    pub insecure: bool,
    /// Let guests reach this although it is refused without a rule: the host's loopback (at the gateway's
    /// address), 169.254.0.0/16, the gateway's own ports; may be given several times
    #[arg(long, value_name = "ADDRESS[/PREFIX][:PORT]", value_parser = values::value(values::destination))]
    pub allow: Vec<Destination>,
    /// Refuse this to guests; of several rules the most specific decides; may be given several times
    #[arg(long, value_name = "ADDRESS[/PREFIX][:PORT]", value_parser = values::value(values::destination))]
    pub deny: Vec<Destination>,
    /// Forward a port of the host into a guest. ADDRESS is the host's, and loopback if left out; GUEST is a
    /// VM's name or a guest's address, and may be left out if there is one VM; may be given several times
    #[arg(long, value_name = "[tcp:|udp:][ADDRESS:]PORT-[GUEST]:PORT",
        value_parser = values::value(values::forward))]
    pub forward: Vec<Forward>,
    /// Reset a forward's clients once their guest is away for so long; must be longer than a failover takes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = values::value(values::guest_away_s))]
    pub guest_away_s: u64,
    /// The guests' subnet
    #[arg(long, value_name = "ADDRESS/PREFIX", default_value = "10.0.2.0/24",
        value_parser = values::value(values::subnet))]
    pub subnet: (Ipv4Addr, u8),
    /// Resolver that answers the guests' questions; may be given several times [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<std::net::IpAddr>,
    /// Print where it listens as one line of JSON, also on a terminal
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Subcommand)]
pub enum ImageCommand {
    /// Make an initramfs with Debian's kernel, busybox and Redis (or your packages); no root needed
    #[command(after_help = APPLIANCE_EXAMPLES)]
    Appliance {
        /// Another Debian package to put in; may be given several times
        #[arg(long, value_name = "NAME")]
        package: Vec<String>,
        /// Line of shell that starts the service, instead of Redis
        #[arg(long, value_name = "COMMAND")]
        run: Option<String>,
        /// Build again even if there is one
        #[arg(long)]
        rebuild: bool,
        /// Print where the files are as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a disk with a full Debian 13 and systemd
    #[command(after_help = DEBIAN_EXAMPLES)]
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
    /// Print every entry, one per line
    Dump {
        /// The log
        log: PathBuf,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print counts, bytes and rates by kind of entry
    Stat {
        /// The log
        log: PathBuf,
        /// Print as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Find the first entry in which two logs differ; exit code 1 if there is one
    Diff {
        /// One log
        left: PathBuf,
        /// Another log
        right: PathBuf,
        /// Print as one line of JSON
        #[arg(long)]
        json: bool,
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
    /// How long to load the guest, in seconds, 2 to 86400
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = values::value(values::demo_seconds))]
    pub seconds: u64,
    /// Harts of the guest, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, visible_aliases = ["cpus", "smp"],
        value_parser = values::value(values::harts))]
    pub harts: usize,
    /// Client connections, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = values::value(values::demo_clients))]
    pub clients: u64,
    /// Silence after which a side is suspected, in milliseconds; at least 100
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = values::value(values::timeout_ms))]
    pub timeout_ms: u64,
    /// Keep the directory with events and what the processes said, and tell where it is
    #[arg(long)]
    pub keep: bool,
    /// Print the figures as one line of JSON
    #[arg(long)]
    pub json: bool,
}
