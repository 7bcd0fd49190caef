//! The directories and files that packages declare in `/usr/lib/tmpfiles.d/*.conf`, and those that the units
//! of systemd declare for their services.
//!
//! `installation` has the files of the unpacked packages obeyed here, when all users are known. Of
//! tmpfiles.d(5) all lines are obeyed that make something or change its owner and mode; lines that clean or
//! remove have nothing to do in a new system. Of systemd.exec(5) a unit's `RuntimeDirectory=` and its four
//! siblings are obeyed, with `User=` and `Group=`: nothing else of a unit may have an effect on an appliance.
//! A line that cannot be obeyed must be handed back.

use super::accounts::Accounts;
use super::tree::{Node, Owner, Tree};

/// The directories that systemd makes for a service: the setting, and where the directory then is.
const UNIT_DIRECTORIES: [(&str, &str); 5] = [
    ("RuntimeDirectory", "run"),
    ("StateDirectory", "var/lib"),
    ("CacheDirectory", "var/cache"),
    ("LogsDirectory", "var/log"),
    ("ConfigurationDirectory", "etc"),
];

/// Obeys the lines of one file of tmpfiles.d; returns the lines that could not be obeyed.
pub fn obey(text: &str, accounts: &Accounts, tree: &mut Tree) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter(|line| obey_line(line, accounts, tree).is_none())
        .map(str::to_owned)
        .collect()
}

fn obey_line(line: &str, accounts: &Accounts, tree: &mut Tree) -> Option<()> {
    let mut rest = line;
    let mut next = || {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        Some(word).filter(|word| !matches!(*word, "" | "-"))
    };
    let (kind, path) = (next()?, specified(next()?)?);
    let (mode, user, group, _age) = (next(), next(), next(), next());
    let argument = specified(rest)?;
    // `+`, `!` and the like say when and how hard a line is obeyed; in a new system that is the same.
    let kind = kind.chars().next()?;
    if "xXrRhHtTaAbcp".contains(kind) || path.contains(['*', '?']) {
        return Some(());
    }
    let path = tree.resolve(&path).filter(|path| !path.is_empty())?;
    let exists = tree.get(&path).is_some();
    match kind {
        'd' | 'D' | 'v' | 'q' | 'Q' => tree.insert_directory(&path),
        'f' | 'F' | 'w' if !exists => tree.insert_file(&path, 0o644, argument.replace("\\n", "\n")),
        'L' if !exists => {
            let default = format!("/usr/share/factory/{path}");
            let target = if argument.is_empty() { default } else { argument };
            tree.insert(&path, Node::Symlink(target));
            return Some(());
        }
        'C' if !exists => {
            let node = tree.get(&tree.resolve(&argument)?)?.clone();
            tree.insert(&path, node);
        }
        'e' | 'z' | 'Z' | 'm' if !exists => return Some(()),
        'f' | 'F' | 'w' | 'L' | 'C' | 'e' | 'z' | 'Z' | 'm' => {}
        _ => return None,
    }
    let mode = match mode.map(|mode| mode.trim_start_matches([':', '~'])) {
        Some(mode) => Some(u32::from_str_radix(mode, 8).ok()?),
        None => None,
    };
    let owner = Owner {
        user: number(user, |name| accounts.user_number(name))?,
        group: number(group, |name| accounts.group_number(name))?,
    };
    let below: Vec<String> = tree.below(&path).map(str::to_owned).collect();
    for path in std::iter::once(path).chain(below.into_iter().filter(|_| kind == 'Z')) {
        if let (Some(mode), Some(bits)) = (mode, tree.get_mut(&path).and_then(Node::mode_mut)) {
            *bits = mode;
        }
        tree.set_owner(&path, owner);
    }
    Some(())
}

/// The number of whoever the field names, root's if it names nobody.
fn number(field: Option<&str>, lookup: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    field.map_or(Some(0), |name| lookup(name.trim_start_matches(':')))
}

/// A text with the specifiers replaced that are the same in every system.
fn specified(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    let mut is_percent = false;
    for part in parts {
        if is_percent {
            replaced += part;
            is_percent = false;
            continue;
        }
        replaced += match part.chars().next() {
            None => {
                is_percent = true;
                replaced.push('%');
                continue;
            }
            Some('t') => "/run",
            Some('S') => "/var/lib",
            Some('C') => "/var/cache",
            Some('L') => "/var/log",
            Some('T') => "/tmp",
            Some('V') => "/var/tmp",
            Some(_) => return None,
        };
        replaced += &part[1..];
    }
    Some(replaced)
}

/// Makes the directories that the unit file of a service declares.
pub fn obey_unit(text: &str, accounts: &Accounts, tree: &mut Tree) {
    let value = |name: &str| {
        let values = text.lines().rev().filter_map(|line| line.split_once('='));
        let value = values.into_iter().find(|(key, _)| *key == name);
        value.map(|(_, value)| value.trim())
    };
    let user = value("User").unwrap_or("root");
    let Some(mut owner) = accounts.owner_of(user) else {
        return;
    };
    if let Some(group) = value("Group").and_then(|group| accounts.group_number(group)) {
        owner.group = group;
    }
    for (setting, place) in UNIT_DIRECTORIES {
        let mode = value(&format!("{setting}Mode")).and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let names = value(setting).unwrap_or_default().split_whitespace();
        // A name with % in it is a template's; after a colon stands a link to the directory.
        for name in names.filter(|name| !name.contains('%') && !name.contains("..")) {
            let name = name.split(':').next().unwrap_or(name);
            let path = format!("{place}/{name}");
            tree.insert_directory(&path);
            if let (Some(mode), Some(bits)) = (mode, tree.get_mut(&path).and_then(Node::mode_mut)) {
                *bits = mode;
            }
            // systemd leaves configuration to root.
            if setting != "ConfigurationDirectory" {
                tree.set_owner(&path, owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::User;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::of_masters("root:*:0:0:root:/root:/bin/bash\n", "root:*:0:\nadm:*:4:\n");
        let name = "postgres";
        assert!(accounts.add_user(&User {
            name,
            ..User::default()
        }));
        accounts
    }

    #[test]
    fn directories_get_mode_and_owner_through_the_link_at_var_run() {
        let (accounts, mut tree) = (accounts(), Tree::default());
        tree.insert("run", Node::DIRECTORY);
        tree.insert("var/run", Node::Symlink("/run".into()));
        let text = "# PostgreSQL\nd /var/run/postgresql 2775 postgres postgres - -\n\
                    d %L/postgresql 1775 root postgres\n\
                    f+ /run/motd - - - - text\\n\nL /etc/x - - - - ../y\n";
        assert_eq!(obey(text, &accounts, &mut tree), [""; 0]);
        let postgres = accounts.owner_of("postgres").unwrap();
        assert_eq!(
            tree.get("run/postgresql"),
            Some(&Node::Directory { mode: 0o2775 })
        );
        assert_eq!(tree.owner("run/postgresql"), postgres);
        assert_eq!(tree.owner("var/log/postgresql"), Owner { user: 0, ..postgres });
        let file = Node::File {
            mode: 0o644,
            data: b"text\n".to_vec(),
        };
        assert_eq!(tree.get("run/motd"), Some(&file));
        assert_eq!(tree.get("etc/x"), Some(&Node::Symlink("../y".into())));
    }

    #[test]
    fn lines_of_unknown_users_and_specifiers_are_handed_back_and_cleaning_is_none_of_them() {
        let text = "d /run/a 0755 nosuch nosuch\nd /run/%b\nx /tmp/sshauth.*\nr! /run/pid\n";
        let left = obey(text, &accounts(), &mut Tree::default());
        assert_eq!(left, ["d /run/a 0755 nosuch nosuch", "d /run/%b"]);
        assert_eq!(specified("100%% %t/x").as_deref(), Some("100% /run/x"));
    }

    #[test]
    fn whole_trees_change_their_owner() {
        let (accounts, mut tree) = (accounts(), Tree::default());
        tree.insert_file("var/lib/db/file", 0o600, *b"");
        tree.insert_file("var/lib/db-other", 0o600, *b"");
        assert_eq!(
            obey("Z /var/lib/db - postgres adm", &accounts, &mut tree),
            [""; 0]
        );
        assert_eq!(tree.owner("var/lib/db/file").group, 4);
        assert_eq!(tree.owner("var/lib/db-other"), Owner::default());
    }

    #[test]
    fn unit_of_a_service_gets_its_directories() {
        let (accounts, mut tree) = (accounts(), Tree::default());
        let unit = "[Service]\nUser=postgres\nGroup=adm\nRuntimeDirectory=db db/sock\n\
                    RuntimeDirectoryMode=2755\nStateDirectory=db-%i\nConfigurationDirectory=db\n";
        obey_unit(unit, &accounts, &mut tree);
        assert_eq!(tree.get("run/db"), Some(&Node::Directory { mode: 0o2755 }));
        assert_eq!(tree.owner("run/db/sock").group, 4);
        assert_eq!(tree.owner("etc/db"), Owner::default());
        assert!(tree.get("etc/db").is_some() && tree.get("var/lib/db-%i").is_none());
        obey_unit(
            "[Service]\nUser=nosuch\nRuntimeDirectory=x\n",
            &accounts,
            &mut tree,
        );
        assert!(tree.get("run/x").is_none());
    }
}
