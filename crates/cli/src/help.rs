//! What the help says beside the flags: headings, examples, what ends a VM, and exit codes. `args` puts these
//! texts where they belong, and the manual pages get them from there.
//!
//! Examples are commands as they are typed; a line has to fit a terminal of 80 columns.

/// Headings under which flags stand in the help.
pub const MACHINE: &str = "Machine";
pub const DEVICES: &str = "Devices";
pub const PAIR: &str = "Pair";
pub const OUTPUT: &str = "Output";
pub const RIGHTS: &str = "Rights";
pub const DIAGNOSIS: &str = "Diagnosis";

/// What ends `run` and `record`.
pub const ALONE_ENDS: &str = "\
What ends it: the guest's own power-off; Ctrl-A x on its terminal, which pulls its plug; SIGTERM or SIGINT. \
SIGHUP does nothing. The guest cannot be asked to switch off, as its board has no power button: the first \
signal says so, the second pulls the plug.

Exit codes: 0 the guest is off; 1 failed, or the guest reported a failure, or it panicked and was stopped; 2 \
wrong usage.";

pub const RUN_EXAMPLES: &str = "\
Examples:
  lockstep image appliance > vm.toml && lockstep run vm.toml
  lockstep run --kernel Image --initrd initrd.img --append console=ttyS0
  lockstep run vm.toml --memory 2G --harts 4 --disk data.raw";

pub const RECORD_EXAMPLES: &str = "\
Examples:
  lockstep record vm.toml -o boot.log
  lockstep replay boot.log";

pub const REPLAY_EXAMPLES: &str = "\
The log says what machine it is of; only images that are not in the cache of `lockstep image` must be given. \
Memory, harts, command line, disks and networks may be given, and must then be those of the log. Name, \
`--on-panic` and `--serial` (other than none) mean nothing to a replay.

Examples:
  lockstep replay boot.log
  lockstep replay boot.log vm.toml --until 1000000 --save middle.snapshot
  lockstep replay boot.log vm.toml --from middle.snapshot

Exit codes: 0 all outputs and digests are equal, 1 something differs or cannot be read.";

/// What ends one half of a pair.
pub const PAIR_ENDS: &str = "\
What ends it: the guest's own power-off, on both sides; or SIGTERM, SIGINT or Ctrl-A x on its terminal. \
SIGHUP does nothing.
  primary: leaves the VM to the backup, which goes on with it. Ctrl-A x asks whether to switch the VM off on \
both sides.
  backup: leaves; the VM goes on without a backup.
  alone after a failure of the other side: says that the guest cannot be asked to switch off, as its board \
has no power button; a second signal, or Ctrl-A x, pulls the plug.

Exit codes: 0 the guest is off, or this side has left; 1 failed; 2 wrong usage; 3 the other side has taken \
the VM over, and this side has ended as it should.";

pub const PAIR_EXAMPLES: &str = "\
Examples:
  (umask 077; openssl rand -hex 32 > shop.key)  # once, for both hosts
  lockstep backup shop.toml                     # on the second host
  lockstep primary shop.toml                    # on the first";

pub const GATEWAY_EXAMPLES: &str = "\
Examples:
  lockstep gateway --key shop.key --forward 0.0.0.0:6379-:6379
  lockstep gateway --listen ./net.sock --forward 8080-:80 --forward udp:5353-:53
  lockstep gateway --key shop.key --deny 10.0.0.0/8 --allow 10.0.0.0/8:53

What ends it: SIGTERM or SIGINT. Connections of clients end with it; VMs go on and connect again to the next \
one.";

pub const DEMO_EXAMPLES: &str = "\
Examples:
  lockstep demo
  lockstep demo --kill stall --harts 2 --clients 8 --seconds 30

Exit codes: 0 nothing was lost, 1 something was lost, wrong or reset, 130 stopped by Ctrl-C.";

pub const APPLIANCE_EXAMPLES: &str = "\
It prints the lines of VM.toml that name the files. The guest goes off when the service ends. The \
installation scripts of packages are not run; what that leaves undone is told (docs/recipes).

Examples:
  lockstep image appliance > vm.toml
  lockstep image appliance --package nginx-light --run \"nginx -g 'daemon off;'\"";

pub const DEBIAN_EXAMPLES: &str = "\
It prints the lines of VM.toml that name the files. The disk in the cache is the original: copy it to where \
both hosts reach it, and name the copy.

Examples:
  lockstep image debian > vm.toml
  lockstep image debian --package mariadb-server --size 8G";

pub const LOG_EXAMPLES: &str = "\
Examples:
  lockstep log stat boot.log
  lockstep log dump boot.log | less
  lockstep log diff one.log other.log";

/// Two parts of a help text.
pub fn both(first: &str, second: &str) -> String {
    format!("{first}\n\n{second}")
}
