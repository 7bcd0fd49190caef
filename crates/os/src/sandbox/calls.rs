//! Tables of system calls, by what they are for. `system_calls` says which threads may make which of them.
//! Nothing here decides anything.

use libc::c_long;

/// Calls of all threads: the standard library, the C library and the allocator make them at any time. `fcntl`
/// and `sendto` have rules of their own.
pub const ALWAYS: &[c_long] = &[
    // Memory. `mmap` and `mprotect` have rules of their own.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads: locks, signals, names, ends. After SIGSTOP and SIGCONT the kernel itself has some calls begin
    // again with `restart_syscall`.
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
    // Descriptors that are open already: files, the standard error, the waker.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Calls on files that landlock lets a thread open, and on their content.
pub const FILES: &[c_long] = &[
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

/// Calls on names of files: locks, claims, rotation, sockets.
pub const NAMES: &[c_long] = &[
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_umask,
];

/// Calls on sockets that are there, and waiting for them. `sendmsg` is not among them: its message can hold
/// an address that no filter sees.
pub const STREAMS: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

/// Asking whether a process that this one started before it entered the sandbox, its watcher, has ended.
pub const CHILDREN: &[c_long] = &[libc::SYS_wait4, libc::SYS_waitid];

/// Calls that only the start of a process makes: listening, waking, catching signals, and entering the
/// sandbox with the process and its threads, each of which is then served as soon as its kind needs.
pub const START: &[c_long] = &[
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
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_sched_setscheduler,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// The older names of calls above, which the C library still uses on this processor.
#[cfg(target_arch = "x86_64")]
pub mod older {
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
pub mod older {
    use libc::c_long;

    pub const ALWAYS: &[c_long] = &[];
    pub const FILES: &[c_long] = &[];
    pub const NAMES: &[c_long] = &[];
    pub const STREAMS: &[c_long] = &[];
    pub const START: &[c_long] = &[];
    pub const NEVER: &[c_long] = &[];
}

/// Calls that the program that we wrote never makes; a process that makes one has been taken over.
pub const NEVER: &[c_long] = &[
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
