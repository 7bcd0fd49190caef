//! The system calls of each kind of thread, under seccomp.
//!
//! Three filters lie over one another, and the strictest answer holds. The process' first filter
//! ([`restrict_process`]) ends the process at a call that no code of ours, of the standard library's or of
//! the C library's ever makes in it. The process' second filter refuses every call that none of its threads
//! needs, with "no such call" (ENOSYS), which the C library knows how to go on from. Each thread's own filter
//! ([`restrict_thread`]) refuses the calls that this kind of thread does not need.
//! docs/decisions/0062-sandbox.md says why some calls end the process and others are refused.
//!
//! A call that is missing here does not crash the process; the code that made it gets an error. Tests run
//! whole replicas under these filters.

use std::collections::BTreeMap;

use libc::{c_int, c_long, c_ulong};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

use super::calls::{ALWAYS, CHILDREN, FILES, NAMES, NEVER, START, STREAMS, older};

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The thread that owns the node and its sockets, and computes the guest.
    Guest,
    /// A thread that does disk requests and takes the disks' locks.
    Disk,
    /// The thread that writes the log of a recording.
    Log,
    /// The thread that asks the arbiter.
    Arbiter,
    /// A thread that reads or writes a console.
    Console,
    /// The thread that talks to the callers of a control socket.
    Control,
    /// The thread that plugs the guest's cable into its gateway.
    Cable,
    /// A thread that packs or unpacks what travels over a bulk link, or reads it.
    Bulk,
    /// The thread that calls a peer for a bulk link and then sends over it.
    Caller,
    /// The one thread of a gateway.
    Gateway,
    /// The one thread of a watcher (`crate::watcher`), which sends what it was given and does nothing else.
    Watcher,
}

/// Which sockets a process may make after its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Whether it makes TCP sockets, to a gateway or to a host that is to take a backup.
    pub tcp: bool,
    /// Whether the thread that asks its arbiter makes TCP sockets, to servers that keep the VM's record.
    pub arbiter: bool,
    /// Whether it makes Unix sockets, to a gateway.
    pub unix: bool,
    /// Whether it makes a socket for datagrams, to ask whether a tap is up.
    pub taps: bool,
    /// Whether it makes sockets for TCP and datagrams to anybody, as a gateway does.
    pub anybody: bool,
}

/// The rules of each call. A call is allowed if any of its rules fits; a call without rules is always
/// allowed.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;
type Built<T> = Result<T, BackendError>;

/// Requests of `ioctl` to a terminal, a socket or a disk: modes of the terminal in both of the kernel's
/// forms, how much there is to read, how much is still to be sent, blocking or not.
const REQUESTS: &[c_ulong] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::TIOCGWINSZ,
    libc::FIONREAD,
    libc::TIOCOUTQ,
    libc::FIONBIO,
];
/// SIOCGIFFLAGS, which asks whether an interface is up.
const TAP_REQUESTS: &[c_ulong] = &[0x8913];
/// BLKSSZGET, BLKPBSZGET and BLKGETSIZE64, which ask for the sizes of a disk and its sectors.
const DISK_REQUESTS: &[c_ulong] = &[0x1268, 0x127b, 0x8008_1272];

/// Requests of `fcntl` to files and sockets: copies, what becomes of them in another program, and how they
/// are used.
const OF_A_FILE: &[c_int] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
];

/// Flags of a new thread: it shares all memory and is in no new namespace; a new process does not share
/// memory.
const OF_A_THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
const NOT_OF_A_THREAD: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_VFORK
    | libc::CLONE_PTRACE) as u64;
/// The request of `prctl` with which `rustix` asks the kernel how large a page is.
const PR_GET_AUXV: u64 = 0x4155_5856;
/// Bits of a socket's kind that are not SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCKET_KIND: u64 = 0xf;

/// Has this thread, and all that it starts, make only calls that a process of ours needs, for good. There
/// must be no other thread yet.
///
/// # Errors
/// The kernel takes no filters.
pub(super) fn restrict_process(sockets: Sockets) -> Result<(), seccompiler::Error> {
    apply_filter(&never()?)?;
    apply_filter(&of_process(sockets)?)
}

/// Has this thread, and all that it starts, make only calls that its kind needs, for good.
///
/// # Errors
/// The kernel takes no filters.
pub(super) fn restrict_thread(kind: Kind, sockets: Sockets) -> Result<(), seccompiler::Error> {
    apply_filter(&of_thread(kind, sockets)?)
}

fn never() -> Built<BpfProgram> {
    let mut rules = Rules::new();
    for list in [NEVER, older::NEVER] {
        always(&mut rules, list);
    }
    filter(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn of_process(sockets: Sockets) -> Built<BpfProgram> {
    let mut rules = Rules::new();
    let lists = [ALWAYS, CHILDREN, FILES, NAMES, STREAMS, START];
    let older = [
        older::ALWAYS,
        older::FILES,
        older::NAMES,
        older::STREAMS,
        older::START,
    ];
    for list in lists.into_iter().chain(older) {
        always(&mut rules, list);
    }
    always(&mut rules, &[libc::SYS_mmap, libc::SYS_mprotect]);
    common(&mut rules)?;
    sends(&mut rules, sockets.anybody)?;
    requests(&mut rules, &[REQUESTS, DISK_REQUESTS, TAP_REQUESTS])?;
    threads(&mut rules)?;
    sandboxing(&mut rules)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            socket(&mut rules, family, kind)?;
        }
    }
    socket(&mut rules, libc::AF_UNIX, libc::SOCK_STREAM)?;
    if sockets.anybody {
        pings_and_answers(&mut rules)?;
    }
    refusing(rules)
}

fn of_thread(kind: Kind, sockets: Sockets) -> Built<BpfProgram> {
    let mut rules = Rules::new();
    for list in [ALWAYS, older::ALWAYS] {
        always(&mut rules, list);
    }
    common(&mut rules)?;
    sends(&mut rules, kind == Kind::Gateway)?;
    let lists: &[&[c_long]] = match kind {
        Kind::Guest | Kind::Console | Kind::Gateway => {
            &[FILES, NAMES, STREAMS, older::FILES, older::NAMES, older::STREAMS]
        }
        Kind::Arbiter if sockets.arbiter => &[STREAMS, older::STREAMS],
        Kind::Disk | Kind::Arbiter => &[FILES, NAMES, older::FILES, older::NAMES],
        Kind::Log => &[FILES, older::FILES],
        Kind::Cable | Kind::Bulk | Kind::Caller | Kind::Control => &[STREAMS, older::STREAMS],
        Kind::Watcher => &[&[libc::SYS_recvfrom]],
    };
    for list in lists {
        always(&mut rules, list);
    }
    match kind {
        Kind::Disk => requests(&mut rules, &[DISK_REQUESTS])?,
        Kind::Guest if sockets.taps => requests(&mut rules, &[REQUESTS, TAP_REQUESTS])?,
        _ => requests(&mut rules, &[REQUESTS])?,
    }
    if kind == Kind::Guest {
        // The engine maps the memory of its code when it is first run. Threads to plug in cables and to send
        // a clone start here, with what wakes them.
        let starts = [
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_seccomp,
            libc::SYS_eventfd2,
        ];
        always(&mut rules, &starts);
        always(&mut rules, CHILDREN);
        itself_later_or_sooner(&mut rules)?;
        threads(&mut rules)?;
        sandboxing(&mut rules)?;
    } else {
        no_new_code(&mut rules)?;
    }
    connections(&mut rules, kind, sockets)?;
    refusing(rules)
}

/// Allows the new connections that threads of this kind make or take.
fn connections(rules: &mut Rules, kind: Kind, sockets: Sockets) -> Built<()> {
    match kind {
        Kind::Guest | Kind::Cable => {
            if sockets.tcp || sockets.unix {
                always(rules, &[libc::SYS_connect]);
            }
            let families = [
                (sockets.tcp, libc::AF_INET),
                (sockets.tcp, libc::AF_INET6),
                (sockets.unix, libc::AF_UNIX),
            ];
            for (_, family) in families.into_iter().filter(|(wanted, _)| *wanted) {
                socket(rules, family, libc::SOCK_STREAM)?;
            }
            if sockets.taps && kind == Kind::Guest {
                socket(rules, libc::AF_INET, libc::SOCK_DGRAM)?;
            }
        }
        Kind::Gateway => {
            always(rules, &[libc::SYS_connect, libc::SYS_bind, libc::SYS_accept4]);
            for family in [libc::AF_INET, libc::AF_INET6] {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                    socket(rules, family, kind)?;
                }
            }
            pings_and_answers(rules)?;
        }
        Kind::Caller => calls(rules)?,
        Kind::Arbiter if sockets.arbiter => calls(rules)?,
        Kind::Console | Kind::Control => always(rules, &[libc::SYS_accept4]),
        // A disk's thread ends the connection to a server, to have it made anew by the disk's `Caller`.
        Kind::Disk if sockets.tcp => always(rules, &[libc::SYS_shutdown]),
        Kind::Disk | Kind::Log | Kind::Arbiter | Kind::Bulk | Kind::Watcher => {}
    }
    Ok(())
}

/// Allows new connections by TCP, to the ports that landlock lets the process call.
fn calls(rules: &mut Rules) -> Built<()> {
    always(rules, &[libc::SYS_connect]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket(rules, family, libc::SOCK_STREAM)?;
    }
    Ok(())
}

/// Allows these calls, whatever their arguments.
fn always(rules: &mut Rules, calls: &[c_long]) {
    rules.extend(calls.iter().map(|&call| (call, Vec::new())));
}

/// Calls of all threads that are allowed with some arguments only.
fn common(rules: &mut Rules) -> Built<()> {
    // A thread has a name; `abort` sends this process, and nobody else, a signal; limits are read, not set.
    for request in [libc::PR_SET_NAME as u64, PR_GET_AUXV] {
        let rule = SeccompRule::new(vec![is(0, Dword, request)?])?;
        rules.entry(libc::SYS_prctl).or_default().push(rule);
    }
    let to_itself = SeccompRule::new(vec![is(0, Dword, u64::from(std::process::id()))?])?;
    rules.insert(libc::SYS_tgkill, vec![to_itself]);
    let only_read = SeccompRule::new(vec![is(2, Qword, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![only_read]);
    // O_ASYNC is refused: it would have the kernel send signals to others when a file is ready.
    let no_signals = SeccompCondition::new(2, Qword, MaskedEq(libc::O_ASYNC as u64), 0)?;
    let mut commands = vec![SeccompRule::new(vec![
        is(1, Dword, libc::F_SETFL as u64)?,
        no_signals,
    ])?];
    for &command in OF_A_FILE {
        commands.push(SeccompRule::new(vec![is(1, Dword, command as u64)?])?);
    }
    rules.insert(libc::SYS_fcntl, commands);
    Ok(())
}

/// Allows sending on a connected socket. Every thread needs it for signals: a signal comes to any thread, and
/// its handler tells the guest thread through a socket. An address would reach anybody: a datagram by itself,
/// and TCP by MSG_FASTOPEN, which calls without asking landlock.
fn sends(rules: &mut Rules, to_anybody: bool) -> Built<()> {
    let to_whom_it_is_connected = SeccompRule::new(vec![is(4, Qword, 0)?])?;
    let allowed = if to_anybody {
        Vec::new()
    } else {
        vec![to_whom_it_is_connected]
    };
    rules.insert(libc::SYS_sendto, allowed);
    Ok(())
}

/// Allows memory that cannot be executed.
fn no_new_code(rules: &mut Rules) -> Built<()> {
    let executable = libc::PROT_EXEC as u64;
    let not_executable = SeccompRule::new(vec![SeccompCondition::new(2, Dword, MaskedEq(executable), 0)?])?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![not_executable.clone()]);
    }
    Ok(())
}

fn requests(rules: &mut Rules, lists: &[&[c_ulong]]) -> Built<()> {
    let allowed = lists.iter().copied().flatten();
    let allowed = allowed.map(|&request| SeccompRule::new(vec![is(1, Dword, request)?]));
    rules.insert(libc::SYS_ioctl, allowed.collect::<Built<_>>()?);
    Ok(())
}

/// Allows new threads. `clone3`, whose arguments a filter cannot see, is refused, and the C library goes back
/// to `clone`.
fn threads(rules: &mut Rules) -> Built<()> {
    let thread = SeccompCondition::new(0, Qword, MaskedEq(OF_A_THREAD | NOT_OF_A_THREAD), OF_A_THREAD)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    Ok(())
}

/// Allows a thread to say how soon it is served itself (`ServedLater`), within the limit of its process.
fn itself_later_or_sooner(rules: &mut Rules) -> Built<()> {
    let itself = vec![is(0, Dword, libc::PRIO_PROCESS.into())?, is(1, Dword, 0)?];
    rules.insert(libc::SYS_setpriority, vec![SeccompRule::new(itself)?]);
    for policy in [libc::SCHED_OTHER, libc::SCHED_BATCH] {
        let itself = vec![is(0, Dword, 0)?, is(1, Dword, policy as u64)?];
        let rule = SeccompRule::new(itself)?;
        rules.entry(libc::SYS_sched_setscheduler).or_default().push(rule);
    }
    Ok(())
}

/// Allows the calls with which a thread gives up more.
fn sandboxing(rules: &mut Rules) -> Built<()> {
    let no_new_privileges = is(0, Dword, libc::PR_SET_NO_NEW_PRIVS as u64)?;
    rules
        .entry(libc::SYS_prctl)
        .or_default()
        .push(SeccompRule::new(vec![no_new_privileges])?);
    Ok(())
}

/// Allows a socket of this family and kind, with the kernel's first choice of a protocol or with that
/// protocol by its name. Landlock sees the ports of TCP, and not those of MPTCP, which connects to plain
/// TCP's ports too.
fn socket(rules: &mut Rules, family: c_int, kind: c_int) -> Built<()> {
    let by_name = match (family, kind) {
        (libc::AF_UNIX, _) => None,
        (_, libc::SOCK_STREAM) => Some(libc::IPPROTO_TCP),
        _ => Some(libc::IPPROTO_UDP),
    };
    for protocol in [0].into_iter().chain(by_name) {
        let conditions = vec![
            is(0, Dword, family as u64)?,
            SeccompCondition::new(1, Dword, MaskedEq(SOCKET_KIND), kind as u64)?,
            is(2, Dword, protocol as u64)?,
        ];
        rules
            .entry(libc::SYS_socket)
            .or_default()
            .push(SeccompRule::new(conditions)?);
    }
    Ok(())
}

/// Allows the socket that pings without privileges (the kernel asks `ping_group_range` as well), and the call
/// that names the address an answer leaves from. Only a gateway has them, which may send to anybody as it is.
fn pings_and_answers(rules: &mut Rules) -> Built<()> {
    let conditions = vec![
        is(0, Dword, libc::AF_INET as u64)?,
        SeccompCondition::new(1, Dword, MaskedEq(SOCKET_KIND), libc::SOCK_DGRAM as u64)?,
        is(2, Dword, libc::IPPROTO_ICMP as u64)?,
    ];
    let rule = SeccompRule::new(conditions)?;
    rules.entry(libc::SYS_socket).or_default().push(rule);
    always(rules, &[libc::SYS_sendmsg]);
    Ok(())
}

fn is(argument: u8, length: seccompiler::SeccompCmpArgLen, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, length, Eq, value)
}

/// A filter that allows these calls and refuses all others.
fn refusing(rules: Rules) -> Built<BpfProgram> {
    filter(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
    )
}

fn filter(rules: Rules, others: SeccompAction, these: SeccompAction) -> Built<BpfProgram> {
    let processor = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, others, these, processor)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 11] = [
        Kind::Guest,
        Kind::Disk,
        Kind::Log,
        Kind::Arbiter,
        Kind::Console,
        Kind::Control,
        Kind::Cable,
        Kind::Bulk,
        Kind::Caller,
        Kind::Gateway,
        Kind::Watcher,
    ];

    #[test]
    fn every_filter_can_be_built_and_fits_the_kernel() {
        let sockets = Sockets {
            tcp: true,
            arbiter: true,
            unix: true,
            taps: true,
            anybody: false,
        };
        let threads = KINDS.map(|kind| of_thread(kind, sockets).unwrap());
        for program in [never().unwrap(), of_process(sockets).unwrap()]
            .iter()
            .chain(&threads)
        {
            assert!(program.len() <= 4096, "{}", program.len());
        }
    }

    #[test]
    fn no_thread_may_do_what_ends_its_process() {
        let allowed = [ALWAYS, FILES, NAMES, STREAMS, START, older::ALWAYS, older::FILES];
        let allowed = allowed
            .into_iter()
            .chain([older::NAMES, older::STREAMS, older::START]);
        for call in allowed.flatten() {
            assert!(!NEVER.contains(call) && !older::NEVER.contains(call), "{call}");
        }
    }
}
