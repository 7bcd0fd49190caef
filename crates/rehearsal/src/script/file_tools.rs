//! The programs with which maintainer scripts make files and change their owners, done to the tree of a
//! guest.
//!
//! `rehearsal` calls this with the words of a command: mkdir, chown, chgrp, chmod, install, touch, ln, cp,
//! mv, rm, rmdir, and Debian's dpkg-statoverride and update-alternatives. What such a command would do to
//! files that are not in the tree is nothing. A command with an option that is not known here must be left
//! undone.

use crate::tree::{Node, Owner};

use super::world::{Argument, Deed, Outcome, Words, World};

/// Options that change nothing here.
const IGNORED: [&str; 12] = [
    "-f",
    "-v",
    "-h",
    "-n",
    "-Z",
    "-T",
    "--force",
    "--no-dereference",
    "--verbose",
    "--quiet",
    "-c",
    "-a",
];

/// Does what the program `name` does; `None`: it is none of those here. `is_certain`: an installation comes
/// to the command for sure; else files are left alone.
pub fn run(world: &mut World<'_>, name: &str, arguments: &[Argument], is_certain: bool) -> Option<Outcome> {
    let deed = match name {
        "chown" | "chgrp" | "chmod" | "dpkg-statoverride" => Deed::Owners,
        "mkdir" | "install" | "touch" | "ln" | "cp" | "mv" | "update-alternatives" => Deed::Files,
        // What a new system does not have need not be removed, and what is removed is not missed.
        "rm" | "rmdir" if !is_certain => return Some(Outcome::UNKNOWN),
        "rm" | "rmdir" => Deed::Files,
        _ => return None,
    };
    if name == "dpkg-statoverride" {
        return Some(statoverride(world, arguments));
    }
    let is_install = |word: &Argument| word.as_deref() == Some("--install");
    if name == "update-alternatives" && !arguments.iter().any(is_install) {
        // A new system has no alternatives to ask for or to take away.
        return Some(Outcome::UNKNOWN);
    }
    let Some(words) = read(name, arguments) else {
        let is_removal = matches!(name, "rm" | "rmdir");
        return Some(if is_removal {
            Outcome::UNKNOWN
        } else {
            Outcome::Left(deed)
        });
    };
    let is_idle = match (name, words.operands.as_slice()) {
        ("chown" | "chgrp" | "chmod", [_, paths @ ..]) => paths.iter().all(|path| is_missing(world, path)),
        ("mv", [from, ..]) => is_missing(world, from),
        _ => false,
    };
    if is_idle {
        return Some(Outcome::UNKNOWN);
    }
    // One directory more, or a link to a program that is there, does no harm.
    if !is_certain && !matches!(name, "mkdir" | "update-alternatives") {
        return Some(Outcome::Left(deed));
    }
    let done = match name {
        "chown" | "chgrp" | "chmod" => change(world, name, &words),
        "mkdir" => mkdir(world, &words),
        "install" => install(world, &words),
        "touch" => touch(world, &words),
        "ln" => link(world, &words),
        "cp" | "mv" => copy(world, name == "mv", &words),
        "update-alternatives" => alternative(world, &words),
        _ => remove(world, &words),
    };
    Some(Outcome::of(done, deed))
}

fn read<'a>(name: &str, arguments: &'a [Argument]) -> Option<Words<'a>> {
    let (flags, valued): (&[&str], &[&str]) = match name {
        "mkdir" => (&["-p", "--parents"], &["-m", "--mode"]),
        "install" => (
            &["-d", "--directory", "-D", "-p"],
            &["-m", "--mode", "-o", "--owner", "-g", "--group"],
        ),
        "chown" | "chgrp" | "chmod" => (&["-R", "--recursive"], &[]),
        "ln" => (&["-s", "--symbolic", "-r"], &[]),
        "cp" | "mv" => (&["-p", "-d", "-L", "-P"], &["-t"]),
        "rm" | "rmdir" => (&["-r", "-R", "-p", "--ignore-fail-on-non-empty"], &[]),
        "update-alternatives" => (&["--install", "--slave"], &[]),
        _ => (&[], &[]),
    };
    let mut flags = flags.to_vec();
    flags.extend(IGNORED);
    // A mode like `-w` or `-s` would be read as options; such modes are left undone.
    Words::read(arguments, &flags, valued)
}

/// Is there nothing at that path? A path that is not absolute is somewhere unknown, not missing.
fn is_missing(world: &World<'_>, path: &str) -> bool {
    path.starts_with('/') && world.node(path).is_none()
}

/// `mkdir`: with `-m` the mode is that of the last directory alone.
fn mkdir(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    let mode = words.value(&["-m", "--mode"]);
    for path in &words.operands {
        make_directory(world, path, mode)?;
    }
    Some(())
}

/// Makes a directory unless there is one, and returns its path in the tree.
fn make_directory(world: &mut World<'_>, path: &str, mode: Option<&str>) -> Option<String> {
    let path = world.target(path).filter(|path| !path.is_empty())?;
    if world.tree.get(&path).is_none() {
        let mode = match mode {
            Some(mode) => new_mode(mode, 0o755, true)?,
            None => 0o755,
        };
        world.tree.insert(&path, Node::Directory { mode });
    }
    Some(path)
}

fn install(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    let mode = words.value(&["-m", "--mode"]);
    let owner = Owner {
        user: world
            .accounts
            .user_number(words.value(&["-o", "--owner"]).unwrap_or("0"))?,
        group: world
            .accounts
            .group_number(words.value(&["-g", "--group"]).unwrap_or("0"))?,
    };
    let mut made = Vec::new();
    if words.has(&["-d", "--directory"]) {
        for path in &words.operands {
            made.push(make_directory(world, path, mode)?);
        }
    } else {
        let [from, to] = words.operands.as_slice() else {
            return None;
        };
        let Node::File { data, .. } = world.node(from)?.clone() else {
            return None;
        };
        let to = place(world, from, to)?;
        world.tree.insert_file(&to, 0o755, data);
        made.push(to);
    }
    for path in made {
        if let Some(mode) = mode {
            set_mode(world, &path, mode)?;
        }
        world.tree.set_owner(&path, owner);
    }
    Some(())
}

fn touch(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    for path in &words.operands {
        let path = world.target(path)?;
        if world.tree.get(&path).is_none() {
            world.tree.insert_file(&path, 0o644, Vec::new());
        }
    }
    Some(())
}

fn link(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    let [target, path] = words.operands.as_slice() else {
        return None;
    };
    let is_plain = words.has(&["-s", "--symbolic"]) && !words.has(&["-r"]);
    is_plain.then_some(())?;
    let path = if world.is_directory(path) && !words.has(&["-n", "-T", "--no-dereference"]) {
        place(world, target, path)?
    } else {
        world.path(path)?
    };
    let is_free = world.tree.get(&path).is_none() || words.has(&["-f", "--force"]);
    if is_free && !matches!(world.tree.get(&path), Some(Node::Directory { .. })) {
        world.tree.insert(&path, Node::Symlink((*target).to_owned()));
    }
    Some(())
}

fn copy(world: &mut World<'_>, is_move: bool, words: &Words<'_>) -> Option<()> {
    let [from, to] = words.operands.as_slice() else {
        return None;
    };
    let node = world.node(from)?.clone();
    if !matches!(node, Node::File { .. }) {
        return None;
    }
    let to = place(world, from, to)?;
    world.tree.insert(&to, node);
    if is_move {
        let from = world.path(from)?;
        world.tree.remove(&from);
    }
    Some(())
}

/// Where a file goes that is put at `to`, which may be a directory.
fn place(world: &World<'_>, from: &str, to: &str) -> Option<String> {
    if world.is_directory(to) {
        let name = from.rsplit('/').next()?;
        world.path(&format!("{to}/{name}"))
    } else {
        world.target(to)
    }
}

fn remove(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    for path in &words.operands {
        // Removing all below a directory is not what an installation needs.
        if let Some(path) = world
            .path(path)
            .filter(|path| world.tree.below(path).next().is_none())
        {
            world.tree.remove(&path);
        }
    }
    Some(())
}

fn change(world: &mut World<'_>, name: &str, words: &Words<'_>) -> Option<()> {
    let (what, paths) = words.operands.split_first()?;
    for path in paths {
        let Some(path) = world.target(path).filter(|path| world.tree.get(path).is_some()) else {
            continue;
        };
        let mut all = vec![path.clone()];
        if words.has(&["-R", "--recursive"]) {
            all.extend(world.tree.below(&path).map(str::to_owned));
        }
        for path in all {
            match name {
                "chmod" => set_mode(world, &path, what)?,
                "chgrp" => set_owner(world, &path, &format!(":{what}"))?,
                _ => set_owner(world, &path, what)?,
            }
        }
    }
    Some(())
}

/// Sets the owner that `user:group`, `user`, `user:` or `:group` names.
fn set_owner(world: &mut World<'_>, path: &str, whom: &str) -> Option<()> {
    let (user, group) = match whom.split_once([':', '.']) {
        Some((user, group)) => (user, Some(group)),
        None => (whom, None),
    };
    let mut owner = world.tree.owner(path);
    if !user.is_empty() {
        owner.user = world.accounts.user_number(user)?;
    }
    match group {
        None => {}
        Some("") => owner.group = world.accounts.owner_of(user)?.group,
        Some(group) => owner.group = world.accounts.group_number(group)?,
    }
    world.tree.set_owner(path, owner);
    Some(())
}

fn set_mode(world: &mut World<'_>, path: &str, text: &str) -> Option<()> {
    let is_directory = matches!(world.tree.get(path), Some(Node::Directory { .. }));
    if let Some(mode) = world.tree.get_mut(path).and_then(Node::mode_mut) {
        *mode = new_mode(text, *mode, is_directory)?;
    }
    Some(())
}

/// The mode that `text`, in digits or in letters (chmod(1)), makes of another one.
fn new_mode(text: &str, old: u32, is_directory: bool) -> Option<u32> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    }
    text.split(',').try_fold(old, |mode, clause| {
        let at = clause.find(['+', '-', '='])?;
        let (who, change) = clause.split_at(at);
        let (operator, letters) = change.split_at(1);
        let mut whom = 0;
        for letter in who.chars() {
            whom |= match letter {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return None,
            };
        }
        if whom == 0 {
            whom = 0o7777;
        }
        let mut bits = 0;
        for letter in letters.chars() {
            bits |= match letter {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_directory || mode & 0o111 != 0 => 0o111,
                'X' => 0,
                's' => 0o6000,
                't' => 0o1000,
                _ => return None,
            };
        }
        Some(match operator {
            "+" => mode | (bits & whom),
            "-" => mode & !(bits & whom),
            _ => (mode & !(whom & 0o777)) | (bits & whom),
        })
    })
}

/// `dpkg-statoverride --add user group mode path`, which `--update` has done at once; no path has an override
/// before.
fn statoverride(world: &mut World<'_>, arguments: &[Argument]) -> Outcome {
    let words = Words::read(
        arguments,
        &["--update", "--add", "--list", "--remove", "--force", "--quiet"],
        &[],
    );
    let Some(words) = words else {
        return Outcome::Left(Deed::Owners);
    };
    let [user, group, mode, path] = words.operands.as_slice() else {
        return Outcome::Done(Some(false));
    };
    let Some(path) = world.target(path).filter(|path| world.tree.get(path).is_some()) else {
        return Outcome::UNKNOWN;
    };
    let done =
        set_owner(world, &path, &format!("{user}:{group}")).and_then(|()| set_mode(world, &path, mode));
    Outcome::of(done, Deed::Owners)
}

/// `update-alternatives --install link name path priority`: a link to the first that offers itself.
fn alternative(world: &mut World<'_>, words: &Words<'_>) -> Option<()> {
    let mut rest = words.operands.as_slice();
    // The first four words are the link's, each slave has three.
    let mut is_first = true;
    while let [link, _name, target, after @ ..] = rest {
        rest = if is_first {
            after.get(1..).unwrap_or_default()
        } else {
            after
        };
        is_first = false;
        let path = world.path(link)?;
        if world.node(target).is_some() && world.tree.get(&path).is_none() {
            world.tree.insert(&path, Node::Symlink((*target).to_owned()));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::tree::Tree;

    const PASSWD: &str = "root:*:0:0:root:/root:/bin/sh\nredis:*:150:151::/x:/bin/sh\n";
    const GROUP: &str = "root:*:0:\nadm:*:4:\nredis:*:151:\n";

    fn after(tree: &mut Tree, lines: &[&str]) -> Vec<Outcome> {
        let mut accounts = Accounts::of_masters(PASSWD, GROUP);
        let mut world = World {
            accounts: &mut accounts,
            tree,
        };
        let mut outcome = |line: &&str| {
            let words: Vec<Argument> = line.split(' ').map(|word| Some(word.to_owned())).collect();
            run(&mut world, words[0].as_deref().unwrap(), &words[1..], true).unwrap()
        };
        lines.iter().map(&mut outcome).collect()
    }

    #[test]
    fn default_site_of_nginx_is_put_in_place() {
        let mut tree = Tree::default();
        tree.insert_file("etc/nginx/sites-available/default", 0o644, *b"server {}");
        tree.insert("etc/nginx/sites-enabled", Node::DIRECTORY);
        tree.insert_file("usr/share/nginx/html/index.html", 0o644, *b"hello");
        let outcomes = after(
            &mut tree,
            &[
                "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default",
                "mkdir -p /var/www/html",
                "cp /usr/share/nginx/html/index.html /var/www/html/index.nginx-debian.html",
                "touch /var/log/nginx/access.log",
                "chmod 640 /var/log/nginx/access.log",
                "chown redis:adm /var/log/nginx/access.log",
            ],
        );
        assert_eq!(outcomes, [Outcome::DONE; 6]);
        let link = Node::Symlink("/etc/nginx/sites-available/default".into());
        assert_eq!(tree.get("etc/nginx/sites-enabled/default"), Some(&link));
        assert!(matches!(
            tree.get("var/www/html/index.nginx-debian.html"),
            Some(Node::File { .. })
        ));
        assert!(matches!(
            tree.get("var/log/nginx/access.log"),
            Some(Node::File { mode: 0o640, .. })
        ));
        assert_eq!(
            tree.owner("var/log/nginx/access.log"),
            Owner { user: 150, group: 4 }
        );
    }

    #[test]
    fn owners_and_modes_of_whole_directories_change() {
        let mut tree = Tree::default();
        tree.insert_file("var/lib/redis/a", 0o666, *b"");
        let outcomes = after(
            &mut tree,
            &[
                "chown -R redis: /var/lib/redis",
                "chmod -R o-rwx,g-w /var/lib/redis",
                "dpkg-statoverride --list /var/lib/redis",
                "dpkg-statoverride --update --add root redis 2750 /var/lib/redis",
                "chown redis /nowhere",
                "install -d -m 2775 -o redis -g redis /run/redis",
            ],
        );
        let expected = [
            Outcome::DONE,
            Outcome::DONE,
            Outcome::Done(Some(false)),
            Outcome::DONE,
        ];
        assert_eq!(outcomes[..4], expected);
        assert_eq!(outcomes[4..], [Outcome::UNKNOWN, Outcome::DONE]);
        assert!(matches!(
            tree.get("var/lib/redis/a"),
            Some(Node::File { mode: 0o640, .. })
        ));
        assert_eq!(
            tree.owner("var/lib/redis/a"),
            Owner {
                user: 150,
                group: 151
            }
        );
        assert_eq!(tree.get("var/lib/redis"), Some(&Node::Directory { mode: 0o2750 }));
        assert_eq!(tree.get("run/redis"), Some(&Node::Directory { mode: 0o2775 }));
    }

    #[test]
    fn links_move_as_base_files_moves_var_run() {
        let mut tree = Tree::default();
        tree.insert("var/run", Node::DIRECTORY);
        let outcomes = after(
            &mut tree,
            &["rmdir /var/run", "ln -s /run /var/run", "mv /nowhere /else"],
        );
        assert_eq!(outcomes, [Outcome::DONE, Outcome::DONE, Outcome::UNKNOWN]);
        assert_eq!(tree.get("var/run"), Some(&Node::Symlink("/run".into())));
    }

    #[test]
    fn alternatives_link_to_a_program_that_is_there() {
        let mut tree = Tree::default();
        tree.insert_file("usr/bin/mawk", 0o755, *b"");
        let line = "update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5 --slave \
                    /usr/bin/nawk nawk /usr/bin/mawk --slave /usr/share/man/awk.1 awk.1 \
                    /usr/share/man/mawk.1";
        assert_eq!(after(&mut tree, &[line]), [Outcome::DONE]);
        assert_eq!(
            tree.get("usr/bin/nawk"),
            Some(&Node::Symlink("/usr/bin/mawk".into()))
        );
        assert!(tree.get("usr/share/man/awk.1").is_none());
    }

    #[test]
    fn what_is_not_known_or_not_certain_is_left_undone() {
        let mut tree = Tree::default();
        tree.insert_file("etc/x", 0o600, *b"");
        let outcomes = after(
            &mut tree,
            &[
                "chmod --reference=/a /etc/x",
                "chown nosuch /etc/x",
                "cp -r /etc /b",
                "ln /a /b",
            ],
        );
        let (owners, files) = (Outcome::Left(Deed::Owners), Outcome::Left(Deed::Files));
        assert_eq!(outcomes, [owners, owners, files, files]);
        let mut accounts = Accounts::of_masters(PASSWD, GROUP);
        let mut world = World {
            accounts: &mut accounts,
            tree: &mut tree,
        };
        let words = ["600", "/etc/x"].map(|word| Some(word.to_owned()));
        assert_eq!(run(&mut world, "chmod", &words, false), Some(owners));
    }
}
