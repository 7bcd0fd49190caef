//! The users and groups of an appliance: `/etc/passwd`, `/etc/group` and their shadows.
//!
//! They begin with Debian's base, as the package base-passwd lists it. `sysusers` and the maintainer scripts
//! (`script`) add what packages ask for, and `installation` has the files written into the tree. Whoever asks
//! for no number gets one that depends on the name alone: so an image is the same whenever it is made, and
//! the files on a data disk keep their owner when an image gets another package. Nothing here may depend on
//! the users of this machine.

use std::collections::{BTreeMap, BTreeSet};

use blake2::{Blake2s256, Digest};

use super::tree::{Owner, Tree};

/// The first and the last of the numbers that Debian gives to users and groups of services (Debian Policy
/// 9.2.2).
const SERVICE_FIRST: u32 = 100;
const SERVICE_LAST: u32 = 999;

/// The shell of an account with which nobody logs in.
pub const NO_LOGIN: &str = "/usr/sbin/nologin";

/// The home directory of an account that has none.
pub const NO_HOME: &str = "/nonexistent";

/// The group of users that have no group of their own.
pub const NO_GROUP: &str = "nogroup";

/// A user as a package asks for it.
#[derive(Clone, Debug, Default)]
pub struct User<'a> {
    /// The name with which the user is asked for.
    pub name: &'a str,
    /// The number that the user must have, if any.
    pub number: Option<u32>,
    /// Name or number of the primary group; a group of the user's own name if absent.
    pub group: Option<&'a str>,
    /// Who that is, for people.
    pub comment: &'a str,
    /// The home directory; none if empty.
    pub home: &'a str,
    /// The shell; none that lets anybody in if empty.
    pub shell: &'a str,
}

#[derive(Clone, Debug)]
struct Entry {
    number: u32,
    group: u32,
    /// The fields of `/etc/passwd` after the two numbers: comment, home and shell.
    rest: String,
}

#[derive(Clone, Debug, Default)]
struct Group {
    number: u32,
    members: BTreeSet<String>,
}

/// All users and groups of an appliance.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, Entry>,
    groups: BTreeMap<String, Group>,
}

impl Accounts {
    /// The accounts of `passwd.master` and `group.master` of the package base-passwd. Lines that are none are
    /// passed over.
    pub fn of_masters(passwd: &str, group: &str) -> Self {
        let mut accounts = Self::default();
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, number, members] = fields.as_slice()
                && let Ok(number) = number.parse()
            {
                let members = members.split(',').filter(|name| !name.is_empty());
                let members = members.map(str::to_owned).collect();
                accounts
                    .groups
                    .insert((*name).to_owned(), Group { number, members });
            }
        }
        for line in passwd.lines() {
            let fields: Vec<&str> = line.splitn(5, ':').collect();
            if let [name, _, number, group, rest] = fields.as_slice()
                && let (Ok(number), Ok(group)) = (number.parse(), group.parse())
            {
                let rest = (*rest).to_owned();
                accounts
                    .users
                    .insert((*name).to_owned(), Entry { number, group, rest });
            }
        }
        accounts
    }

    /// Is there a user of that name?
    pub fn has_user(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// Is there a group of that name?
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// Adds a group unless there is one of that name; `false`: the name cannot be a group's.
    pub fn add_group(&mut self, name: &str, number: Option<u32>) -> bool {
        if self.has_group(name) {
            return true;
        }
        if !is_name(name) {
            return false;
        }
        let taken = |number| self.groups.values().any(|group| group.number == number);
        let number = number
            .filter(|number| !taken(*number))
            .or_else(|| free_number(name, taken));
        let Some(number) = number else { return false };
        let members = BTreeSet::new();
        self.groups.insert(name.to_owned(), Group { number, members });
        true
    }

    /// Adds a user, with a group of its own if it names none, unless there is one of that name; `false`: it
    /// cannot be added.
    pub fn add_user(&mut self, user: &User<'_>) -> bool {
        if self.has_user(user.name) {
            return true;
        }
        let plain = |text: &str| !text.contains([':', '\n']);
        if !is_name(user.name) || ![user.comment, user.home, user.shell].into_iter().all(plain) {
            return false;
        }
        let group = user.group.unwrap_or(user.name);
        if user.group.is_none() && !self.add_group(group, user.number) {
            return false;
        }
        let Some(group) = self.group_number(group) else {
            return false;
        };
        let taken = |number| self.users.values().any(|user| user.number == number);
        let number = user
            .number
            .or(Some(group).filter(|number| *number < SERVICE_LAST && user.group.is_none()))
            .filter(|number| !taken(*number))
            .or_else(|| free_number(user.name, taken));
        let Some(number) = number else { return false };
        let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
        let (home, shell) = (or(user.home, NO_HOME), or(user.shell, NO_LOGIN));
        let rest = format!("{}:{home}:{shell}", user.comment);
        self.users
            .insert(user.name.to_owned(), Entry { number, group, rest });
        true
    }

    /// Puts a user into a group; `false`: one of the two is not there.
    pub fn add_member(&mut self, user: &str, group: &str) -> bool {
        let is_user = self.has_user(user);
        match self.groups.get_mut(group).filter(|_| is_user) {
            Some(group) => {
                group.members.insert(user.to_owned());
                true
            }
            None => false,
        }
    }

    /// The number of a user, by its name or by the number itself.
    pub fn user_number(&self, name: &str) -> Option<u32> {
        let known = self.users.get(name).map(|user| user.number);
        known.or_else(|| name.parse().ok())
    }

    /// The number of a group, by its name or by the number itself.
    pub fn group_number(&self, name: &str) -> Option<u32> {
        let known = self.groups.get(name).map(|group| group.number);
        known.or_else(|| name.parse().ok())
    }

    /// The owner that a user's own files have.
    pub fn owner_of(&self, user: &str) -> Option<Owner> {
        self.users.get(user).map(|entry| Owner {
            user: entry.number,
            group: entry.group,
        })
    }

    /// Writes the files of `/etc`. No account has a password. Whoever has a shell that is not in the tree,
    /// as root has with Debian's bash, gets the one that is there.
    pub fn write(&self, tree: &mut Tree) {
        let has_bash = tree.get("usr/bin/bash").is_some();
        let (mut passwd, mut shadow) = (String::new(), String::new());
        let mut users: Vec<_> = self.users.iter().collect();
        users.sort_by_key(|(_, user)| user.number);
        for (name, Entry { number, group, rest }) in users {
            let rest = match rest.strip_suffix("/bin/bash") {
                Some(before) if !has_bash => format!("{before}/bin/sh"),
                _ => rest.clone(),
            };
            passwd += &format!("{name}:x:{number}:{group}:{rest}\n");
            shadow += &format!("{name}:*:0:0:99999:7:::\n");
        }
        let (mut lines, mut hidden) = (String::new(), String::new());
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| group.number);
        for (name, Group { number, members }) in groups {
            let members = members.iter().cloned().collect::<Vec<_>>().join(",");
            lines += &format!("{name}:x:{number}:{members}\n");
            hidden += &format!("{name}:*::{members}\n");
        }
        let shadow_group = self.group_number("shadow").unwrap_or_default();
        for (path, mode, text) in [
            ("etc/passwd", 0o644, passwd),
            ("etc/group", 0o644, lines),
            ("etc/shadow", 0o640, shadow),
            ("etc/gshadow", 0o640, hidden),
        ] {
            tree.insert_file(path, mode, text);
            if mode == 0o640 {
                tree.set_owner(
                    path,
                    Owner {
                        user: 0,
                        group: shadow_group,
                    },
                );
            }
        }
    }
}

/// Whether this can be the name of a user or group: what Debian's useradd takes.
fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts
        && name.len() <= 32
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// The number of services' accounts at which the name's hash points, or the next one that is not taken.
fn free_number(name: &str, taken: impl Fn(u32) -> bool) -> Option<u32> {
    const COUNT: u32 = SERVICE_LAST - SERVICE_FIRST + 1;
    let hash = Blake2s256::digest(name.as_bytes());
    let start = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]) % COUNT;
    (0..COUNT)
        .map(|step| SERVICE_FIRST + (start + step) % COUNT)
        .find(|number| !taken(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    const PASSWD: &str = "root:*:0:0:root:/root:/bin/bash\n\
                          www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n\
                          nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    const GROUP: &str = "root:*:0:\nadm:*:4:\nshadow:*:42:\nwww-data:*:33:\nnogroup:*:65534:\n";

    fn text(tree: &Tree, path: &str) -> String {
        match tree.get(path) {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    fn user(name: &str) -> User<'_> {
        User {
            name,
            ..User::default()
        }
    }

    #[test]
    fn users_of_debians_base_are_in_passwd_with_their_numbers() {
        let mut tree = Tree::default();
        Accounts::of_masters(PASSWD, GROUP).write(&mut tree);
        let passwd = text(&tree, "etc/passwd");
        assert!(passwd.starts_with("root:x:0:0:root:/root:/bin/sh\n"), "{passwd}");
        assert!(
            passwd.contains("\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"),
            "{passwd}"
        );
        assert!(text(&tree, "etc/group").contains("\nwww-data:x:33:\n"));
        assert!(text(&tree, "etc/shadow").contains("www-data:*:"));
        assert_eq!(tree.owner("etc/shadow"), Owner { user: 0, group: 42 });
    }

    #[test]
    fn number_of_a_service_depends_on_its_name_and_not_on_who_came_before() {
        let numbers = |names: &[&str]| {
            let mut accounts = Accounts::of_masters(PASSWD, GROUP);
            for name in names {
                assert!(accounts.add_user(&user(name)));
            }
            accounts.owner_of("postgres").unwrap()
        };
        let alone = numbers(&["postgres"]);
        assert_eq!(alone, numbers(&["redis", "mosquitto", "postgres"]));
        assert_eq!(alone.user, alone.group);
        assert!((SERVICE_FIRST..=SERVICE_LAST).contains(&alone.user));
    }

    #[test]
    fn two_names_never_share_a_number() {
        let mut accounts = Accounts::default();
        for number in 0..=(SERVICE_LAST - SERVICE_FIRST) {
            assert!(accounts.add_user(&user(&format!("u{number}"))));
        }
        let numbers: BTreeSet<u32> = accounts.users.values().map(|user| user.number).collect();
        assert_eq!(numbers.len(), accounts.users.len());
        assert!(!accounts.add_user(&user("one-too-many")), "all numbers are taken");
    }

    #[test]
    fn names_that_would_break_the_files_are_refused() {
        let mut accounts = Accounts::default();
        for name in ["", "a:b", "a\nb", "0", "-x", "../x"] {
            assert!(!accounts.add_user(&user(name)), "{name}");
            assert!(!accounts.add_group(name, None), "{name}");
        }
        assert!(!accounts.add_user(&User {
            comment: "a:b",
            ..user("good")
        }));
        assert!(!accounts.add_member("nobody-there", "nogroup"));
    }

    #[test]
    fn users_without_a_group_of_their_own_are_in_the_one_they_name() {
        let mut accounts = Accounts::of_masters(PASSWD, GROUP);
        let dnsmasq = User {
            group: Some(NO_GROUP),
            ..user("dnsmasq")
        };
        assert!(accounts.add_user(&dnsmasq));
        assert_eq!(accounts.owner_of("dnsmasq").unwrap().group, 65534);
        assert!(!accounts.has_group("dnsmasq"));
        assert!(accounts.add_member("dnsmasq", "adm"));
        let mut tree = Tree::default();
        accounts.write(&mut tree);
        assert!(text(&tree, "etc/group").contains("adm:x:4:dnsmasq\n"));
    }
}
