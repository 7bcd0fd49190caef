//! The command line: what every command takes. Its words are those of QEMU, virsh and systemctl where they
//! exist; `VM.toml` has the same words as the flags. Nothing here opens a file or decides anything: `spec`
//! and the commands' own files read these structs.
//!
//! Of a comment's first paragraph `-h` is made, which a user reads in half a minute: a line or two of 80
//! columns for each flag. The whole comment is in `--help` and the manual pages.

mod agent;
mod demo;
mod disk_server;
mod gateway;
mod image;
mod log;
mod machine;
mod process;
mod settings;
mod site;
mod verbs;

use std::path::PathBuf;

use arbiter::Place;
use clap::{Arg, Args, Parser, Subcommand, ValueHint};

pub use self::demo::DemoArgs;
pub use self::disk_server::DiskServerArgs;
pub use agent::{AgentCommand, AgentRunArgs, DoctorArgs, InitArgs, JoinArgs, PlaceArgs, TokenArgs};
pub use gateway::GatewayArgs;
pub use image::ImageCommand;
pub use log::LogCommand;
pub use machine::{Engine, EngineArgs, HangPolicy, PanicPolicy, SlowArgs, SlowPolicy, VmArgs};
pub use process::{EventsArgs, OriginArgs, ProfileArgs, SandboxArgs};
pub use settings::{EditArgs, SetArgs};
pub use site::{
    CancelArgs, CheckArgs, CreateArgs, DeleteArgs, DrainArgs, DryRunArgs, HostArgs, JsonArgs, MoveArgs,
    Patience, StartVmArgs, TestArgs, TestCommand, WaitArgs, Wanted,
};
pub use verbs::{
    BackupOfArgs, ConsoleArgs, EventsOfArgs, NameArgs, OrderArgs, ProtectArgs, ProtectionCommand,
    ReleaseArgs, SnapshotArgs, StatusArgs, StopArgs,
};

use crate::help::{self, DIAGNOSIS, OUTPUT, PAIR};
use crate::values;

/// Fault-tolerant virtual machines that run anywhere
///
/// A guest runs on one host, and an exact copy of it, milliseconds behind, on another. When the first host
/// dies, the copy takes over: the clients' TCP connections stay open, and nothing that was acknowledged is
/// lost.
#[derive(Parser)]
#[command(name = "lockstep", version = crate::version::WITH_COMMIT, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not as wanted, or the other side has the \
                  VM, 4 refused, 5 no such VM here, 124 the time is over.\n\
                  Start with `lockstep demo`. `lockstep COMMAND --help` has all flags, `-h` the \
                  usual ones."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The command and all below it, with what `help` says behind their flags.
pub fn with_words(command: clap::Command, page: &str) -> clap::Command {
    let names = command.get_subcommands().map(|sub| sub.get_name().to_owned());
    let command = names
        .collect::<Vec<_>>()
        .into_iter()
        .fold(command, |command, name| {
            command.mut_subcommand(&name, |sub| with_words(sub, &format!("{page}-{name}")))
        });
    match page {
        "lockstep" => command,
        _ => command
            .after_help(help::short(page))
            .after_long_help(help::long(page)),
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Protect a guest, load it, kill its primary, report what the client saw
    ///
    /// The demo builds a small Debian guest with Redis (once, in about a minute), starts a gateway, a backup
    /// and a primary, lets clients write through the gateway, kills the primary, has the survivor protected
    /// by a fresh process while its guest runs, and checks every write that was acknowledged. All its
    /// processes are real, and all of them end with the demo.
    Demo(DemoArgs),
    /// Run a machine, unprotected
    ///
    /// The guest runs in this process, and its console is this terminal unless `--serial` says otherwise.
    /// When this host dies, so does the guest.
    Run(RunArgs),
    /// Run a machine and write its log
    ///
    /// As `lockstep run`; and every input of the guest is written to a log with the exact step at which it
    /// came, so that `lockstep replay` can run the same again.
    Record(RecordArgs),
    /// Run a machine again from its log, comparing every output and digest
    ///
    /// The log says what machine it is of; only images that are not in the cache of `lockstep image` must be
    /// given. Memory, harts, command line, disks and networks may be given, and must then be those of the
    /// log. Name, `--on-panic` and `--serial` (other than none) mean nothing to a replay.
    #[command(mut_args(of_a_replay))]
    Replay(ReplayArgs),
    /// Run the live half of a pair
    ///
    /// The primary connects to the backup, boots the guest, and sends its log to the backup. An output leaves
    /// only after the backup has acknowledged everything that led to it. Both hosts have the same `VM.toml`.
    Primary(PairArgs),
    /// Run the copy of a VM that takes over when its primary dies
    ///
    /// The backup waits for the primary, and then runs the same guest a few milliseconds behind it, with no
    /// output. When the primary dies, and the arbiter gives the VM to this side, the backup goes live. Both
    /// hosts have the same `VM.toml`.
    ///
    /// With `--listen` it waits for whichever VM comes: one that runs already, which `lockstep protect` sends
    /// here with all that this host lacks of it. It needs no `VM.toml` then.
    Backup(BackupArgs),
    /// Tell how the VMs are that run here
    ///
    /// Every process that runs a VM with a name of its own is asked: whether the VM is protected, and if not,
    /// why. Other users' VMs, and VMs of other hosts, are not seen.
    Status(StatusArgs),
    /// Make a backup of a VM while it runs
    ///
    /// The VM needs an arbiter and the pair's key, and a process that waits for it on another host. The guest
    /// runs on while its memory is copied there. Ctrl-C ends the waiting, not the copying.
    Protect(ProtectArgs),
    /// Replace the backup of a VM while it runs
    ///
    /// The new one is made beside the old one, which is dismissed when the new one can take over: the VM has
    /// a backup all the time. Ctrl-C ends the waiting, not the copying.
    MoveBackup(ProtectArgs),
    /// Dismiss the backup of a VM while it runs
    ///
    /// The guest runs on alone, and its clients do not notice. A backup that does not answer is excluded at
    /// the arbiter.
    Unprotect(OrderArgs),
    /// Have the two sides of a VM change their roles
    ///
    /// The backup goes on with the guest and this host's process is its backup: the VM has a backup all the
    /// time, nothing is copied, and clients keep their connections. For work on this host, or to try it.
    Failover(NameArgs),
    /// Suspend the protection of a VM, or resume it
    #[command(subcommand)]
    Protection(ProtectionCommand),
    /// Have a VM's guest stand
    ///
    /// The guest does nothing and its memory is kept, on both sides of a pair; the backup stays its backup,
    /// and one that takes it over has it stand too. Its time goes on: when it runs again its clock jumps
    /// forward.
    Pause(NameArgs),
    /// Have a paused guest run on
    Resume(NameArgs),
    /// Switch a VM off
    ///
    /// The guest cannot be asked, as its board has no power button: this is refused without `--hard`, which
    /// pulls the plug.
    Stop(StopArgs),
    /// Press a VM's reset button
    ///
    /// The guest boots anew, on both sides of a pair, and loses what it has not written to its disks.
    Reset(OrderArgs),
    /// Keep a VM's memory and devices in a file, while the guest runs
    ///
    /// `lockstep run --from FILE` goes on from there, on any host. Disks are not in the file. FILE is on the
    /// host where the command is given, and its directory must have room. Of a VM that an agent looks after,
    /// the process that runs the guest is asked, on whichever host. Without an agent it is this host's
    /// process; a backup takes the snapshot as well, of its own copy of the guest.
    Snapshot(SnapshotArgs),
    /// Show a VM's console, and type there
    ///
    /// The console is the guest's serial line, on whichever host the VM runs: when it goes on elsewhere, the
    /// command follows it. The guest's last lines come first. One person at a time types, up to six are
    /// there. Ctrl-] leaves, and the VM runs on. What comes from a file or a pipe is typed as it is. What the
    /// command itself has to say stands in square brackets on standard error: where the VM is live again and
    /// after which time, who has taken the console, and how many bytes are missing where this terminal was
    /// too slow.
    Console(ConsoleArgs),
    /// Print what has happened to a VM, one JSON object a line
    ///
    /// The lines are those of `--events`: docs/events.md explains them. The process keeps the last few
    /// hundred, whether it writes a file or not. Of a VM that an agent looks after they are what the agents
    /// of all its hosts have heard, with a sentence each (docs/site.md).
    Events(EventsOfArgs),
    /// Make a VM one of the site's, or change its settings
    ///
    /// The VM is known on every host of the site from now on. It is off until `lockstep start`.
    Create(CreateArgs),
    /// Change settings of a VM of the site
    ///
    /// They take effect when the VM is started the next time, but for `protect`. The rest of its settings
    /// stays as it was written, with comments.
    Set(SetArgs),
    /// Change the settings of a VM of the site in an editor
    ///
    /// The editor is that of VISUAL or EDITOR. A text that makes no sense is refused and kept in a file.
    Edit(EditArgs),
    /// Have a VM be none of the site's any more; its disks stay
    Delete(DeleteArgs),
    /// Start a VM of the site, which is protected as soon as it runs
    Start(StartVmArgs),
    /// Move a VM to another host while it runs
    ///
    /// Its backup is moved there first, and then the two sides change their roles: the VM has a backup all
    /// the time.
    Move(MoveArgs),
    /// Have a host of the site emptied: its VMs go to other hosts, one after the other, and none new comes
    Drain(DrainArgs),
    /// Let a host take VMs again
    Undrain(HostArgs),
    /// Tell which hosts the site has, and how they are
    Hosts(JsonArgs),
    /// Tell of each host whether it could take a VM's backup, and if not, everything that speaks against it
    Check(CheckArgs),
    /// Tell what was begun last with each VM of the site
    Operations(JsonArgs),
    /// End what was begun with a VM; what its present step does is done
    Cancel(CancelArgs),
    /// Wait until a VM of the site is protected, runs, or is off
    Wait(WaitArgs),
    /// Kill a half of a VM, to see that the VM goes on
    #[command(subcommand)]
    Test(TestCommand),
    /// Say that a VM surely runs no more, so that it can be started again
    ///
    /// A VM with an arbiter has a record there of the process that runs it, which that process closes at its
    /// end. A start on the same host sees that the process was killed, or that the host was started anew. Of
    /// another host nothing can be known, so a person must say that the VM runs there no more. If that is not
    /// so, two copies of the VM run afterwards. It is refused if a process of the VM is seen to live, or if
    /// the epoch is not its last one. Of a VM that an agent looks after, the record is at the site's arbiter,
    /// and the command is given at any host.
    Release(ReleaseArgs),
    /// Run this host's agent, which looks after the VMs of a site, or make this host one of a site
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Look whether this host can hold VMs well, and say what to do where it cannot
    ///
    /// Each finding is a line: `ok`; `warn`, where VMs run but not as well as they could; or `no`, where
    /// something does not work. On a host of a site the agent, the directory and the arbiter are tried too.
    /// Nothing is changed, and no VM is disturbed.
    Doctor(DoctorArgs),
    /// Connect guests to the network without root; clients' connections outlive the primary
    ///
    /// VMs connect here with `--net gateway=`. Their guests reach the network through the sockets of this
    /// process, and clients reach a guest through a forward. docs/gateway.md says what guests reach, and how
    /// much each may use.
    Gateway(GatewayArgs),
    /// Offer disks over NBD, and let only the newest epoch of a VM write
    ///
    /// VMs use such a disk with `--disk nbd://HOST/EXPORT`, and any NBD program can read it, or write while
    /// no VM uses it. What the server has decided outlives it: it may be killed at any moment, and VMs wait
    /// until it is back. docs/disks.md says what is promised.
    DiskServer(DiskServerArgs),
    /// Build a guest image from Debian's packages
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look inside a log
    #[command(subcommand)]
    Log(LogCommand),
    /// Print a shell's completion script
    Completions {
        /// The shell that will read the completions
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a directory
    Man {
        /// Where to write them; left out: one page with everything is printed
        directory: Option<PathBuf>,
    },
    /// Tell what this program is and what it understands
    ///
    /// Two hosts on which the lines are equal can make a pair, and a program can replay the logs of its own
    /// log format and machine model.
    Version {
        /// Print it as one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub origin: OriginArgs,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub events: EventsArgs,
    #[command(flatten)]
    pub result: ResultArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
}

/// How the result of a command that runs a guest is told.
#[derive(Args)]
#[command(next_help_heading = OUTPUT)]
pub struct ResultArgs {
    /// Print the result as one line of JSON
    ///
    /// It is printed on standard output; a console on stdio is then on standard error.
    #[arg(long)]
    pub json: bool,
}

/// What keeps a VM that runs alone from being started twice.
#[derive(Args)]
pub struct StartArgs {
    /// Where the VM's record is: it is not started twice
    ///
    /// All hosts that may run the VM reach this place, and whoever runs the VM has a record there. It is a
    /// directory that they share, an etcd or a disk server (ARBITERS of lockstep-run(1)). Without an arbiter,
    /// a lock of this host keeps a VM that has a name of its own from being started twice on this host.
    #[arg(long, value_name = "PLACE", help_heading = PAIR,
        value_hint = ValueHint::DirPath, value_parser = values::value(values::arbiter))]
    pub arbiter: Option<Place>,
    /// Key shared with the hosts that may hold a backup
    ///
    /// With an arbiter and a key the VM can be protected while it runs: `lockstep protect`. The file has 64
    /// hex digits, made with `(umask 077; openssl rand -hex 32 > shop.key)`.
    #[arg(long, value_name = "FILE", help_heading = PAIR)]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub slow: SlowArgs,
}

#[derive(Args)]
pub struct BackupArgs {
    /// Wait here for whichever running VM comes, instead of for the one of VM.toml
    ///
    /// The VM says by which paths its disks and its arbiter are reached, and which network it has: they must
    /// lead to the same things here. What this host lacks of its images travels. Needs `--key`.
    #[arg(long, value_name = "HOST:PORT", help_heading = PAIR,
        value_parser = values::text(values::host_port))]
    pub listen: Option<String>,
    /// End if no VM has come in this time, such as 30s or 10m
    ///
    /// With `--json` the first line of the output is an object whose field `listen` has the address, as soon
    /// as callers are taken.
    #[arg(long, value_name = "TIME", help_heading = PAIR, requires = "listen",
        hide_short_help = true, value_parser = caller::patience)]
    pub wait: Option<std::time::Duration>,
    #[command(flatten)]
    pub pair: PairArgs,
}

#[derive(Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub vm: VmArgs,
    /// Where to write the log
    #[arg(long, short, value_name = "LOG", help_heading = OUTPUT)]
    pub output: PathBuf,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub events: EventsArgs,
    #[command(flatten)]
    pub result: ResultArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub profile: ProfileArgs,
}

/// A flag of a machine in the help of `replay`: `-h` has those that name images, since the log has the rest.
fn of_a_replay(arg: Arg) -> Arg {
    let of_the_log = [
        "name",
        "append",
        "memory",
        "harts",
        "on_panic",
        "cloud_init",
        "net",
        "mac",
        "virtio",
    ];
    let is_left_out = arg.is_hide_short_help_set() || of_the_log.contains(&arg.get_id().as_str());
    arg.hide_short_help(is_left_out)
}

#[derive(Args)]
pub struct ReplayArgs {
    /// The log to replay, as `record` writes it
    pub log: PathBuf,
    #[command(flatten)]
    pub vm: VmArgs,
    /// Stop at this step
    #[arg(long, value_name = "STEP", help_heading = OUTPUT, value_parser = values::value(values::number))]
    pub until: Option<u64>,
    /// Write a snapshot where the replay stops
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub save: Option<PathBuf>,
    /// Start from this snapshot instead of from the beginning
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub result: ResultArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Run in slices of this many steps; nothing may change
    #[arg(long, value_name = "STEPS", help_heading = DIAGNOSIS, hide_short_help = true,
        value_parser = values::value(values::steps))]
    pub slice: Option<u64>,
    #[command(flatten)]
    pub profile: ProfileArgs,
}

#[derive(Args)]
pub struct PairArgs {
    /// Needed: where the backup listens and the primary connects
    #[arg(long, value_name = "HOST:PORT", help_heading = PAIR,
        value_parser = values::text(values::host_port))]
    pub backup: Option<String>,
    /// Needed: the pair's key, the same file on both hosts
    ///
    /// 64 hex digits, made with `(umask 077; openssl rand -hex 32 > shop.key)`: only its owner may read the
    /// file. The key encrypts all that the two sides and the gateway say to each other.
    #[arg(long, value_name = "FILE", help_heading = PAIR)]
    pub key: Option<PathBuf>,
    /// Needed: a directory that both hosts share, an etcd or a disk server
    ///
    /// When one side suspects the other, the single winner is decided there. An etcd is written as
    /// etcd://HOST:PORT, a disk server as lockstep://HOST,key=FILE (ARBITERS of lockstep-run(1)).
    #[arg(long, value_name = "PLACE", help_heading = PAIR,
        value_hint = ValueHint::DirPath, value_parser = values::value(values::arbiter))]
    pub arbiter: Option<Place>,
    /// Silence in ms after which the other side is suspected [default: 500]
    ///
    /// At least 100. A client's pause is this time and a few milliseconds when the primary's host dies or is
    /// cut off. When only the primary's process dies, its host tells the backup at once.
    #[arg(long, value_name = "MS", help_heading = PAIR,
        value_parser = values::value(values::timeout_ms))]
    pub timeout_ms: Option<u64>,
    /// Have a process that dies be found out by the timeout alone
    ///
    /// The primary then starts no process that watches it and tells the backup of its end, and the backup
    /// believes none. Either side's word is enough.
    #[arg(long, hide_short_help = true, help_heading = PAIR)]
    pub timeout_only: bool,
    #[command(flatten)]
    pub slow: SlowArgs,
    /// Use the key though other users can read or change its file
    #[arg(long, hide_short_help = true, help_heading = PAIR)]
    pub allow_open_key: bool,
    /// No encryption, no authentication: for measuring only
    #[arg(long, hide_short_help = true, help_heading = PAIR)]
    pub insecure: bool,
    #[command(flatten)]
    pub vm: VmArgs,
    #[command(flatten)]
    pub events: EventsArgs,
    #[command(flatten)]
    pub result: ResultArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
}
