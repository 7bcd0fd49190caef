//! The programs with which maintainer scripts make users and groups, done to the accounts of a guest.
//!
//! `rehearsal` calls this with the words of a command. The options are those of Debian's adduser(8),
//! addgroup(8), useradd(8), groupadd(8), usermod(8) and gpasswd(1). A command with an option that is not
//! known here must be left undone as a whole.

use crate::accounts::{NO_GROUP, User};
use crate::tree::Node;

use super::world::{Argument, Deed, Outcome, Words, World};

/// Options of adduser and addgroup that change nothing here.
#[rustfmt::skip]
const ADDUSER_FLAGS: [&str; 17] = [
    "--system", "--group", "--quiet", "-q", "--disabled-login", "--disabled-password", "--no-create-home",
    "--force-badname", "--allow-badname", "--allow-bad-names", "--allow-all-names", "--add-extra-groups",
    "--comment-file", "--debug", "--verbose", "--stdoutmsglevel", "-v",
];

/// Does what the program `name` does; `None`: it is none of those here.
pub fn run(world: &mut World<'_>, name: &str, arguments: &[Argument]) -> Option<Outcome> {
    let done = match name {
        "adduser" => adduser(world, arguments),
        "addgroup" => addgroup(world, arguments),
        "useradd" => useradd(world, arguments),
        "groupadd" => groupadd(world, arguments),
        "usermod" => usermod(world, arguments),
        "gpasswd" => gpasswd(world, arguments),
        "deluser" | "delgroup" | "userdel" | "groupdel" | "groupmod" | "chfn" | "chsh" | "chpasswd" => None,
        _ => return None,
    };
    Some(Outcome::of(done, Deed::Accounts))
}

fn adduser(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    let valued = [
        "--home",
        "--shell",
        "--gecos",
        "--comment",
        "--uid",
        "--gid",
        "--ingroup",
    ];
    let words = Words::read(arguments, &ADDUSER_FLAGS, &valued)?;
    let (user, group) = match words.operands.as_slice() {
        [user] => (*user, None),
        [user, group] => (*user, Some(*group)),
        _ => return None,
    };
    if let Some(group) = group {
        return world.accounts.add_member(user, group).then_some(());
    }
    let is_system = words.has(&["--system"]);
    let named = words.value(&["--ingroup", "--gid"]);
    let default = (is_system && !words.has(&["--group"])).then_some(NO_GROUP);
    let new = User {
        name: user,
        number: number(words.value(&["--uid"]))?,
        group: named.or(default),
        comment: words.value(&["--gecos", "--comment"]).unwrap_or_default(),
        home: words.value(&["--home"]).unwrap_or_default(),
        shell: words
            .value(&["--shell"])
            .unwrap_or(if is_system { "" } else { "/bin/bash" }),
    };
    add(world, &new, !words.has(&["--no-create-home"]))
}

fn addgroup(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    let words = Words::read(arguments, &ADDUSER_FLAGS, &["--gid"])?;
    match words.operands.as_slice() {
        [group] => {
            let number = number(words.value(&["--gid"]))?;
            world.accounts.add_group(group, number).then_some(())
        }
        [user, group] => world.accounts.add_member(user, group).then_some(()),
        _ => None,
    }
}

fn useradd(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    let flags = [
        "-r",
        "--system",
        "-m",
        "--create-home",
        "-M",
        "--no-create-home",
        "-U",
        "--user-group",
        "-N",
        "--no-user-group",
        "-l",
    ];
    let valued = [
        "-g",
        "--gid",
        "-d",
        "--home-dir",
        "--home",
        "-s",
        "--shell",
        "-c",
        "--comment",
        "-u",
        "--uid",
        "-G",
        "--groups",
    ];
    let words = Words::read(arguments, &flags, &valued)?;
    let [name] = words.operands.as_slice() else {
        return None;
    };
    let new = User {
        name,
        number: number(words.value(&["-u", "--uid"]))?,
        group: words.value(&["-g", "--gid"]),
        comment: words.value(&["-c", "--comment"]).unwrap_or_default(),
        home: words.value(&["-d", "--home-dir", "--home"]).unwrap_or_default(),
        shell: words.value(&["-s", "--shell"]).unwrap_or("/bin/sh"),
    };
    add(world, &new, words.has(&["-m", "--create-home"]))?;
    let groups = words.value(&["-G", "--groups"]).unwrap_or_default();
    add_to_groups(world, name, groups)
}

fn groupadd(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    let words = Words::read(arguments, &["-r", "--system", "-f", "--force"], &["-g", "--gid"])?;
    let [group] = words.operands.as_slice() else {
        return None;
    };
    let number = number(words.value(&["-g", "--gid"]))?;
    world.accounts.add_group(group, number).then_some(())
}

fn usermod(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    // `-aG` stands for `-a -G`.
    let split: Vec<Argument> = arguments
        .iter()
        .flat_map(|word| match word.as_deref() {
            Some("-aG") => vec![Some("-a".to_owned()), Some("-G".to_owned())],
            _ => vec![word.clone()],
        })
        .collect();
    let words = Words::read(&split, &["-a", "--append"], &["-G", "--groups"])?;
    let [user] = words.operands.as_slice() else {
        return None;
    };
    let groups = words.value(&["-G", "--groups"])?;
    words.has(&["-a", "--append"]).then_some(())?;
    add_to_groups(world, user, groups)
}

fn gpasswd(world: &mut World<'_>, arguments: &[Argument]) -> Option<()> {
    let words = Words::read(arguments, &[], &["-a", "--add"])?;
    let ([group], user) = (words.operands.as_slice(), words.value(&["-a", "--add"])?) else {
        return None;
    };
    world.accounts.add_member(user, group).then_some(())
}

fn add_to_groups(world: &mut World<'_>, user: &str, groups: &str) -> Option<()> {
    let mut groups = groups.split(',').filter(|group| !group.is_empty());
    groups
        .all(|group| world.accounts.add_member(user, group))
        .then_some(())
}

/// Adds a user, and the home directory if one is to be made.
fn add(world: &mut World<'_>, user: &User<'_>, makes_home: bool) -> Option<()> {
    let is_new = !world.accounts.has_user(user.name);
    world.accounts.add_user(user).then_some(())?;
    let home = world.path(user.home).filter(|path| !path.is_empty());
    if let Some(home) = home.filter(|home| makes_home && is_new && *home != "nonexistent")
        && world.tree.get(&home).is_none()
    {
        world.tree.insert(&home, Node::DIRECTORY);
        world.tree.set_owner(&home, world.accounts.owner_of(user.name)?);
    }
    Some(())
}

/// The number that an option gives; `None`: what it gives is no number.
fn number(value: Option<&str>) -> Option<Option<u32>> {
    match value {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::tree::{Owner, Tree};

    const GROUPS: &str = "adm:*:4:\nnogroup:*:65534:\nssl-cert:*:112:\n";

    /// What the files say after the commands, each a line of plain words.
    fn after(lines: &[&str]) -> (Tree, Vec<Outcome>) {
        let (mut accounts, mut tree) = (Accounts::of_masters("", GROUPS), Tree::default());
        let outcomes = lines
            .iter()
            .map(|line| {
                let words: Vec<Argument> = line.split(' ').map(|word| Some(word.replace('_', " "))).collect();
                let mut world = World {
                    accounts: &mut accounts,
                    tree: &mut tree,
                };
                run(&mut world, words[0].as_deref().unwrap(), &words[1..]).unwrap()
            })
            .collect();
        accounts.write(&mut tree);
        (tree, outcomes)
    }

    fn file(tree: &Tree, path: &str) -> String {
        match tree.get(path) {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn commands_of_debians_packages_make_their_users() {
        let (tree, outcomes) = after(&[
            "addgroup --quiet --system mosquitto",
            "adduser --quiet --system --no-create-home --ingroup mosquitto --home /var/lib/mosquitto \
             mosquitto",
            "adduser --system --group --disabled-login --disabled-password --home /var/lib/etcd/ etcd",
            "useradd --system --gid nogroup --comment dnsmasq --home-dir /var/lib/misc --no-create-home \
             --shell /usr/sbin/nologin dnsmasq",
            "adduser --system --quiet --home /var/lib/postgresql --no-create-home --shell /bin/bash --group \
             --gecos PostgreSQL_administrator postgres",
            "adduser --quiet postgres ssl-cert",
            "usermod -aG adm,ssl-cert etcd",
        ]);
        assert_eq!(outcomes, [Outcome::DONE; 7]);
        let passwd = file(&tree, "etc/passwd");
        for line in [
            "::/var/lib/mosquitto:/usr/sbin/nologin\n",
            ":65534:dnsmasq:/var/lib/misc:/usr/sbin/nologin\n",
            ":PostgreSQL administrator:/var/lib/postgresql:/bin/sh\n",
        ] {
            assert!(passwd.contains(line), "{line} is not in {passwd}");
        }
        let group = file(&tree, "etc/group");
        assert!(group.contains("ssl-cert:x:112:etcd,postgres\n"), "{group}");
        assert!(tree.get("var/lib/mosquitto").is_none());
        assert_ne!(tree.owner("var/lib/etcd"), Owner::default());
    }

    #[test]
    fn a_command_that_is_not_known_whole_is_left_undone() {
        let left = Outcome::Left(Deed::Accounts);
        let (tree, outcomes) = after(&[
            "adduser --system --strange redis",
            "adduser --system --uid x redis",
            "adduser redis nosuchgroup",
            "usermod -d /x redis",
            "deluser redis",
        ]);
        assert_eq!(outcomes, [left; 5]);
        assert_eq!(file(&tree, "etc/passwd"), "");
        let (mut accounts, mut tree) = (Accounts::default(), Tree::default());
        let mut world = World {
            accounts: &mut accounts,
            tree: &mut tree,
        };
        assert_eq!(run(&mut world, "groupadd", &[None]), Some(left));
    }
}
