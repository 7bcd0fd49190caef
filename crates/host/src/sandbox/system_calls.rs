//! The system calls of each kind of thread, under seccomp.
//!
//! Three filters lie over one another, and the strictest answer holds. The process' first ([`restrict_process`]) ends it at what no code of ours,
//! of the standard library's or of the C library's ever asks for in it. Its second refuses everything that none of its threads needs, with "no
//! such call" (ENOSYS), which the C library knows how to go on from. Each thread's own ([`restrict_thread`]) refuses what this kind of thread
//! does not need. docs/decisions/0062-sandbox.md says why some calls end the process and others are refused.
//!
//! A call that is missing here is not a crash but an error on its path. Tests run whole replicas under these filters.

use std::collections::BTreeMap;

use libc::{c_int, c_long, c_ulong};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Owns the node and its sockets, and computes the guest.
    Guest,
    /// Does disk requests and takes the disks' locks.
    Disk,
    /// Writes the log of a recording.
    Log,
    /// Asks the arbiter.
    Arbiter,
    /// Reads or writes a console.
    Console,
    /// Plugs the guest's cable into its gateway.
    Cable,
    /// The one thread of a gateway.
    Gateway,
}

/// Which sockets a process may make after its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// TCP, to a gateway.
    pub tcp: bool,
    /// Unix sockets, to a gateway.
    pub unix: bool,
}

/// The rules of a call: any of them suffices; none: it is always allowed.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;
type Built<T> = Result<T, BackendError>;

/// All threads: the standard library, the C library and the allocator ask for these at any time.
const ALWAYS: &[c_long] = &[
    // Memory. `mmap` and `mprotect` have rules of their own.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads: locks, signals, names, ends. After SIGSTOP and SIGCONT the kernel itself has some calls begin again with `restart_syscall`.
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Clocks, where the vDSO cannot read them.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    // What is open already: files, the standard error, the waker.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    // A signal comes to any thread, whose handler tells the guest thread through a socket.
    libc::SYS_sendto,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Files that landlock lets a thread open, and their content.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
];

/// Names of files: locks, claims, rotation, sockets.
const NAMES: &[c_long] = &[
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_umask,
];

/// Sockets that are there, and waiting for them.
const STREAMS: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

/// What only the start of a process needs: listening, waking, catching signals, and sandboxing itself and its threads.
const START: &[c_long] = &[
    libc::SYS_listen,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_socketpair,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_seccomp,
    libc::SYS_mlock2,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// The older names of calls above, which the C library still uses on this processor.
#[cfg(target_arch = "x86_64")]
mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[
        libc::SYS_poll,
        libc::SYS_time,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_getrlimit,
    ];
    pub const FILES: &[c_long] = &[libc::SYS_open, libc::SYS_access, libc::SYS_readlink];
    pub const NAMES: &[c_long] = &[
        libc::SYS_link,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_chmod,
    ];
    pub const STREAMS: &[c_long] = &[libc::SYS_epoll_wait];
    pub const START: &[c_long] = &[
        libc::SYS_accept,
        libc::SYS_pipe,
        libc::SYS_dup2,
        libc::SYS_epoll_create,
        libc::SYS_eventfd,
    ];
    pub const NEVER: &[c_long] = &[
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_modify_ldt,
    ];
}

#[cfg(not(target_arch = "x86_64"))]
mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[];
    pub const FILES: &[c_long] = &[];
    pub const NAMES: &[c_long] = &[];
    pub const STREAMS: &[c_long] = &[];
    pub const START: &[c_long] = &[];
    pub const NEVER: &[c_long] = &[];
}

/// Whoever asks for these is not the program that we wrote.
const NEVER: &[c_long] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    // Another view of the host.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Another user.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    // Parts of the kernel that are large, and often at fault.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_personality,
];

/// What a terminal, a socket and a disk are asked with `ioctl`: modes of the terminal in both of the kernel's forms, how much there is to read,
/// blocking or not; the size of a device and of its sectors.
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
    libc::FIONBIO,
];
/// BLKSSZGET, BLKPBSZGET, BLKGETSIZE64.
const DISK_REQUESTS: &[c_ulong] = &[0x1268, 0x127b, 0x8008_1272];

/// A new thread shares all memory and is in no new namespace, and a new process does not.
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
/// `rustix` asks the kernel in this way how large a page is.
const PR_GET_AUXV: u64 = 0x4155_5856;
/// The kind of a socket without SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCKET_KIND: u64 = 0xf;

/// Has this thread, and all that it starts, do only what a process of ours needs; for good. There must be no other thread yet.
///
/// # Errors
/// The kernel takes no filters.
pub(super) fn restrict_process() -> Result<(), seccompiler::Error> {
    apply_filter(&never()?)?;
    apply_filter(&of_process()?)
}

/// Has this thread, and all that it starts, do only what its kind needs; for good.
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

fn of_process() -> Built<BpfProgram> {
    let mut rules = Rules::new();
    let lists = [ALWAYS, FILES, NAMES, STREAMS, START];
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
    requests(&mut rules, &[REQUESTS, DISK_REQUESTS])?;
    threads(&mut rules)?;
    sandboxing(&mut rules)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            socket(&mut rules, family, kind)?;
        }
    }
    socket(&mut rules, libc::AF_UNIX, libc::SOCK_STREAM)?;
    refusing(rules)
}

fn of_thread(kind: Kind, sockets: Sockets) -> Built<BpfProgram> {
    let mut rules = Rules::new();
    for list in [ALWAYS, older::ALWAYS] {
        always(&mut rules, list);
    }
    common(&mut rules)?;
    let lists: &[&[c_long]] = match kind {
        Kind::Guest | Kind::Console | Kind::Gateway => {
            &[FILES, NAMES, STREAMS, older::FILES, older::NAMES, older::STREAMS]
        }
        Kind::Disk | Kind::Arbiter => &[FILES, NAMES, older::FILES, older::NAMES],
        Kind::Log => &[FILES, older::FILES],
        Kind::Cable => &[STREAMS, older::STREAMS],
    };
    for list in lists {
        always(&mut rules, list);
    }
    match kind {
        Kind::Disk => requests(&mut rules, &[DISK_REQUESTS])?,
        _ => requests(&mut rules, &[REQUESTS])?,
    }
    if kind == Kind::Guest {
        // The engine makes the memory of its code when it is first run, and this thread starts those that plug in cables.
        always(
            &mut rules,
            &[libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_seccomp],
        );
        threads(&mut rules)?;
        sandboxing(&mut rules)?;
    } else {
        no_new_code(&mut rules)?;
    }
    match kind {
        Kind::Guest | Kind::Cable => {
            if sockets.tcp || sockets.unix {
                always(&mut rules, &[libc::SYS_connect]);
            }
            let families = [
                (sockets.tcp, libc::AF_INET),
                (sockets.tcp, libc::AF_INET6),
                (sockets.unix, libc::AF_UNIX),
            ];
            for (_, family) in families.into_iter().filter(|(wanted, _)| *wanted) {
                socket(&mut rules, family, libc::SOCK_STREAM)?;
            }
        }
        Kind::Gateway => {
            always(
                &mut rules,
                &[libc::SYS_connect, libc::SYS_bind, libc::SYS_accept4],
            );
            for family in [libc::AF_INET, libc::AF_INET6] {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                    socket(&mut rules, family, kind)?;
                }
            }
        }
        Kind::Console => always(&mut rules, &[libc::SYS_accept4]),
        Kind::Disk | Kind::Log | Kind::Arbiter => {}
    }
    refusing(rules)
}

/// Lets these calls be, whatever their arguments.
fn always(rules: &mut Rules, calls: &[c_long]) {
    rules.extend(calls.iter().map(|&call| (call, Vec::new())));
}

/// Calls of all threads that are allowed in a part only.
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
    Ok(())
}

/// Memory, none of which can be executed.
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

/// New threads. `clone3`, whose arguments a filter cannot see, is refused, and the C library goes back to `clone`.
fn threads(rules: &mut Rules) -> Built<()> {
    let thread = SeccompCondition::new(0, Qword, MaskedEq(OF_A_THREAD | NOT_OF_A_THREAD), OF_A_THREAD)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    Ok(())
}

/// What a thread needs to give up more.
fn sandboxing(rules: &mut Rules) -> Built<()> {
    let no_new_privileges = is(0, Dword, libc::PR_SET_NO_NEW_PRIVS as u64)?;
    rules
        .entry(libc::SYS_prctl)
        .or_default()
        .push(SeccompRule::new(vec![no_new_privileges])?);
    Ok(())
}

fn socket(rules: &mut Rules, family: c_int, kind: c_int) -> Built<()> {
    let conditions = vec![
        is(0, Dword, family as u64)?,
        SeccompCondition::new(1, Dword, MaskedEq(SOCKET_KIND), kind as u64)?,
    ];
    rules
        .entry(libc::SYS_socket)
        .or_default()
        .push(SeccompRule::new(conditions)?);
    Ok(())
}

fn is(argument: u8, length: seccompiler::SeccompCmpArgLen, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, length, Eq, value)
}

/// A filter that lets these calls be and refuses all others.
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

    const KINDS: [Kind; 7] = [
        Kind::Guest,
        Kind::Disk,
        Kind::Log,
        Kind::Arbiter,
        Kind::Console,
        Kind::Cable,
        Kind::Gateway,
    ];

    #[test]
    fn every_filter_can_be_built_and_fits_the_kernel() {
        let sockets = Sockets {
            tcp: true,
            unix: true,
        };
        let threads = KINDS.map(|kind| of_thread(kind, sockets).unwrap());
        for program in [never().unwrap(), of_process().unwrap()].iter().chain(&threads) {
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
