//! What a process may do by its user: whose files it may touch, which capabilities it has, how much of its
//! host it may use, and how soon it is served.
//!
//! A process asks for what it needs at the very start ([`ask_to_be_served_soon`], [`ask_to_stay_in_memory`],
//! [`become_user`]), and gives rights up for good before anything of a guest or a stranger is read
//! ([`give_up_capabilities`], [`forbid_core_files`]). Nothing here may fail a VM that would run without it,
//! except a user that was named and cannot be had.

use std::cell::Cell;
use std::ffi::CString;

use nix::unistd::{self, Gid, Uid};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

use crate::limits::{NICE, NICE_OF_BULK};
use crate::sys::turn;

/// Highest number of a capability that the kernel may know one day; today's last one is the 40th.
const CAPABILITIES_MAX: u32 = 63;
/// A limit of niceness (`RLIMIT_NICE`) is this less the least niceness that it allows.
const NICE_ZERO: u32 = 20;
/// Capabilities that a process keeps when it becomes another user, until it has opened what it needs: ports
/// below 1024 and taps.
const OF_THE_START: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

thread_local! {
    /// How nice this thread was before it was served later for a while ([`ServedLater`]); `None`: it is not.
    static BEFORE: Cell<Option<i32>> = const { Cell::new(None) };
}

/// The user and group that a process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: Uid,
    gid: Gid,
    /// Name of the user, by which the process gets the user's other groups too.
    name: Option<CString>,
}

/// A process cannot become the user that was named.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("there is no user `{text}` on this host; give a name, a number, or UID:GID")]
    Unknown {
        /// The text that was given for the user.
        text: String,
    },
    /// The user's group is not known.
    #[error("user {uid} has no name on this host; give its group too, as {uid}:GID")]
    NoGroup {
        /// Number of the user.
        uid: u32,
    },
    /// Only root may become another user.
    #[error("only root can run a VM as another user; leave `--user` out, or start it as root")]
    NotRoot,
    /// The kernel gave an error.
    #[error("cannot become user {uid}, group {gid}")]
    Kernel {
        /// Number of the user.
        uid: u32,
        /// Number of the group.
        gid: u32,
        /// Error that the operating system gave.
        source: std::io::Error,
    },
}

impl User {
    /// Finds `NAME`, `UID`, `NAME:GID` or `UID:GID`. A user that is named without a group gets all the groups
    /// that it has; a user that is named with a group gets only that group.
    ///
    /// # Errors
    /// There is no such user, or its group is not known.
    pub fn find(text: &str) -> Result<User, UserError> {
        let unknown = || UserError::Unknown {
            text: text.to_owned(),
        };
        let (who, group) = match text.split_once(':') {
            Some((who, group)) => (who, Some(group.parse::<u32>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let number = who.parse::<u32>().ok();
        let known = match number {
            Some(uid) => unistd::User::from_uid(Uid::from_raw(uid)),
            None => unistd::User::from_name(who),
        };
        match (known.ok().flatten(), number, group) {
            (Some(user), _, None) => Ok(User {
                uid: user.uid,
                gid: user.gid,
                name: CString::new(user.name).ok(),
            }),
            (Some(user), _, Some(gid)) => Ok(User {
                uid: user.uid,
                gid: Gid::from_raw(gid),
                name: None,
            }),
            (None, Some(uid), Some(gid)) => Ok(User {
                uid: Uid::from_raw(uid),
                gid: Gid::from_raw(gid),
                name: None,
            }),
            (None, Some(uid), None) => Err(UserError::NoGroup { uid }),
            (None, None, _) => Err(unknown()),
        }
    }
}

/// The user that this process is, for a sentence.
#[must_use]
pub fn who() -> String {
    let uid = Uid::effective();
    match unistd::User::from_uid(uid) {
        Ok(Some(user)) => format!("'{}' (user {uid})", user.name),
        _ => format!("user {uid}"),
    }
}

/// Becomes `user` for good. Of root's rights only those to take ports below 1024 and to open taps stay, until
/// [`give_up_capabilities`]. `user` must be allowed to open all that this process opens from here on.
///
/// # Errors
/// This process may not become another user, or has other threads that cannot.
pub fn become_user(user: &User) -> Result<(), UserError> {
    let User { uid, gid, name } = user;
    if (Uid::effective(), Gid::effective()) == (*uid, *gid) && !uid.is_root() {
        return Ok(());
    }
    let had = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    if !had.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        return Err(UserError::NotRoot);
    }
    empty_bounding_set();
    let change = || -> std::io::Result<()> {
        set_keep_capabilities(true)?;
        match name {
            Some(name) => unistd::initgroups(name, *gid)?,
            None => unistd::setgroups(&[*gid])?,
        }
        unistd::setresgid(*gid, *gid, *gid)?;
        unistd::setresuid(*uid, *uid, *uid)?;
        let kept = had & OF_THE_START;
        set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            },
        )?;
        Ok(set_keep_capabilities(false)?)
    };
    change().map_err(|source| UserError::Kernel {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        source,
    })
}

/// Gives up every capability of this thread and of those it starts, and the right to get one back.
///
/// # Errors
/// As the kernel gives them.
pub fn give_up_capabilities() -> Result<(), Errno> {
    empty_bounding_set();
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// Empties the set of capabilities that a program may gain when it is executed. Only root may empty it; a
/// process that is not root has no use for the set, since it never executes another program.
fn empty_bounding_set() {
    for number in 0..=CAPABILITIES_MAX {
        // An error says that the kernel knows no such capability, or that we are not root.
        let _ = remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    }
}

/// Keeps a crash from writing a file with the guest's memory and the pair's key, unless the operator has
/// asked for such files with `ulimit -c`.
pub fn forbid_core_files() {
    let limit = getrlimit(Resource::Core);
    if limit.current == Some(0) {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
    }
}

/// Keeps the right to be served sooner than others later on, as another user and without capabilities, where
/// that is allowed now. Call before [`become_user`].
pub fn keep_right_to_be_served_soon() {
    let wanted = u64::from(NICE_ZERO.saturating_sub_signed(NICE));
    let limit = getrlimit(Resource::Nice);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum.map(|maximum| maximum.max(wanted)),
        };
        // Without the right everything goes on as it would without having asked.
        let _ = setrlimit(Resource::Nice, raised);
    }
}

/// How nice a thread is to be that this thread starts: as this one was before it was served later.
pub(super) fn niceness_to_inherit() -> Option<i32> {
    BEFORE.get()
}

/// Has this thread, which has just begun, be served as its starter was before that was served later, and if
/// `later`, later than the others of its process, for good.
pub(super) fn serve_new_thread(before: Option<i32>, later: bool) {
    if let Some(before) = before {
        turn::wait_for_others(false);
        let _ = setpriority_process(None, before);
    }
    if !later {
        return;
    }
    turn::wait_for_others(true);
    if let Ok(now) = getpriority_process(None) {
        // A thread may always become nicer.
        let _ = setpriority_process(None, now.max(NICE_OF_BULK));
    }
}

/// A thread is served later than others as long as it has this. Threads that it starts are not.
#[derive(Debug)]
#[must_use = "without it the thread is served as before"]
pub struct ServedLater {
    /// How nice the thread was before.
    before: i32,
}

impl ServedLater {
    /// Has this thread be served later; `None`: it has no right to be served as now afterwards, so it stays
    /// as it is.
    pub fn begin() -> Option<ServedLater> {
        let before = getpriority_process(None).ok()?;
        let right = u64::from(NICE_ZERO.saturating_sub_signed(before));
        if getrlimit(Resource::Nice)
            .current
            .is_some_and(|limit| limit < right)
        {
            return None;
        }
        setpriority_process(None, before.max(NICE_OF_BULK)).ok()?;
        turn::wait_for_others(true);
        BEFORE.set(Some(before));
        Some(ServedLater { before })
    }

    /// Has this thread be served as any other from now on: no sooner, if it was before.
    pub fn as_others(&self) {
        turn::wait_for_others(false);
        let _ = setpriority_process(None, self.before.max(0));
    }
}

impl Drop for ServedLater {
    fn drop(&mut self) {
        BEFORE.set(None);
        turn::wait_for_others(false);
        if let Err(error) = setpriority_process(None, self.before) {
            tracing::debug!("this thread is not served as before ({error})");
        }
    }
}

/// Asks the host to serve this process sooner than others, where that is allowed: a replica that is late to
/// answer is taken for dead (FT 2.3-d). Call before any thread is started, which inherits it, and before
/// [`become_user`]: root may ask for more.
pub fn ask_to_be_served_soon() {
    // A process that was made less nice than this on purpose stays so.
    if getpriority_process(None).is_ok_and(|now| now <= NICE) {
        return;
    }
    keep_right_to_be_served_soon();
    match setpriority_process(None, NICE) {
        Ok(()) => tracing::debug!("this process is served sooner than others (nice {NICE})"),
        Err(error) => tracing::debug!(
            "this process is served as others are ({error}); allow it nice {NICE}, for instance with \
             LimitNICE=, to have it answer sooner on a busy host"
        ),
    }
}

/// Asks the host never to page this process out, where that is allowed. Call before [`become_user`]: root may
/// ask for more.
pub fn ask_to_stay_in_memory() {
    let limit = getrlimit(Resource::Memlock);
    let raised = [None, limit.maximum].into_iter().any(|limit| {
        let both = Rlimit {
            current: limit,
            maximum: limit,
        };
        setrlimit(Resource::Memlock, both).is_ok()
    });
    if !raised || getrlimit(Resource::Memlock).current.is_some() {
        // Memory that is mapped later would count too, and a process at its limit gets no more memory at all.
        // The guest's RAM alone may still fit (`lock_ram`).
        tracing::debug!(
            "memory may be paged out: the limit of locked memory is {:?} bytes; lift it, for instance with \
             LimitMEMLOCK=infinity",
            limit.maximum
        );
        return;
    }
    // ONFAULT keeps pages in memory once they are used, and makes none.
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => tracing::debug!("memory of this process is not paged out"),
        Err(error) => tracing::debug!("memory may be paged out: {error}"),
    }
}

/// Keeps the guest's RAM in memory, if the limit of locked memory has room for it.
pub fn lock_ram(ram: &hart::Ram) {
    if let Err(error) = crate::sys::memory::lock(ram) {
        tracing::debug!(
            "the guest's RAM may be paged out ({error}): {} bytes are more than the limit of locked memory \
             allows",
            ram.size()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = User::find("root").unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert_eq!(User::find("0").unwrap(), root);
        let both = User::find("4294967000:17").unwrap();
        assert_eq!((both.uid.as_raw(), both.gid.as_raw()), (4_294_967_000, 17));
        let with_group = User::find("root:17").unwrap();
        assert_eq!((with_group.gid.as_raw(), with_group.name), (17, None));
    }

    #[test]
    fn a_user_that_is_not_there_is_named() {
        for text in ["no-such-user", "root:wheel", ""] {
            let error = User::find(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
        let error = User::find("4294967000").unwrap_err().to_string();
        assert!(error.contains("4294967000:GID"), "{error}");
    }
}
