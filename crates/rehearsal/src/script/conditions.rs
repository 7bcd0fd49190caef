//! The questions of maintainer scripts: `test`, `[`, getent, id and the like, answered about a guest.
//!
//! `rehearsal` asks here before it decides which way a script goes. An answer that depends on anything but
//! the guest's accounts and files, and the words themselves, is not known (`None`), and must never be
//! guessed.

use crate::tree::Node;

use super::world::{Argument, World};

/// What the command answers; the outer `None`: it is no question that is known here.
pub fn answer(world: &World<'_>, name: &str, arguments: &[Argument]) -> Option<Option<bool>> {
    let word = |index: usize| arguments.get(index).and_then(|word| word.as_deref());
    Some(match name {
        "test" => test(world, arguments),
        "[" => match arguments.split_last() {
            Some((Some(end), rest)) if end == "]" => test(world, rest),
            _ => None,
        },
        "true" | ":" => Some(true),
        "false" => Some(false),
        "getent" => match (word(0), word(1)) {
            (Some("passwd"), Some(user)) => Some(world.accounts.has_user(user)),
            (Some("group"), Some(group)) => Some(world.accounts.has_group(group)),
            _ => None,
        },
        "id" => {
            let mut words = arguments.iter().map(|word| word.as_deref());
            match words.find(|word| word.is_none_or(|word| !word.starts_with('-'))) {
                Some(Some(user)) => Some(world.accounts.has_user(user)),
                _ => None,
            }
        }
        // A new installation has no version before it.
        "dpkg" if word(0) == Some("--compare-versions") && word(1) == Some("") => match word(2) {
            Some("lt" | "le" | "ne" | "<" | "<=") => Some(true),
            Some("gt" | "ge" | "eq" | ">" | ">=" | "lt-nl" | "le-nl") => Some(false),
            _ => None,
        },
        "which" | "type" => word(0).map(|program| is_program(world, program)),
        "command" if matches!(word(0), Some("-v" | "-V")) => {
            word(1).map(|program| is_program(world, program))
        }
        _ => return None,
    })
}

fn is_program(world: &World<'_>, name: &str) -> bool {
    if name.starts_with('/') {
        return world.node(name).is_some();
    }
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    let mut paths = directories.iter().map(|directory| format!("{directory}/{name}"));
    paths.any(|path| world.node(&path).is_some())
}

/// test(1).
fn test(world: &World<'_>, words: &[Argument]) -> Option<bool> {
    let text = |index: usize| words.get(index).and_then(|word| word.as_deref());
    if let Some(at) = words.iter().position(|word| word.as_deref() == Some("-o")) {
        return either(test(world, &words[..at]), test(world, &words[at + 1..]));
    }
    // With three words, `-a` in the middle is the only place where it can mean "and".
    if let Some(at) = words.iter().position(|word| word.as_deref() == Some("-a"))
        && at > 0
    {
        let (left, right) = (test(world, &words[..at]), test(world, &words[at + 1..]));
        return either(left.map(|left| !left), right.map(|right| !right)).map(|either| !either);
    }
    match words.len() {
        0 => Some(false),
        1 => text(0).map(|text| !text.is_empty()),
        _ if text(0) == Some("!") => test(world, &words[1..]).map(|answer| !answer),
        2 => one(world, text(0)?, text(1)?),
        3 => two(text(0)?, text(1)?, text(2)?),
        _ => None,
    }
}

fn either(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn one(world: &World<'_>, operator: &str, word: &str) -> Option<bool> {
    match operator {
        "-n" => return Some(!word.is_empty()),
        "-z" => return Some(word.is_empty()),
        _ => {}
    }
    if word.is_empty() {
        return Some(false);
    }
    if !word.starts_with('/') {
        return None;
    }
    // What the running system has is another matter than what is in the image.
    if ["/proc/", "/sys/", "/dev/"]
        .iter()
        .any(|place| word.starts_with(place))
    {
        return None;
    }
    let node = world.node(word);
    match operator {
        "-e" | "-r" | "-w" => Some(node.is_some() || word == "/"),
        "-f" => Some(matches!(node, Some(Node::File { .. }))),
        "-s" => Some(matches!(node, Some(Node::File { data, .. }) if !data.is_empty())),
        "-d" => Some(world.is_directory(word)),
        "-x" => Some(match node {
            Some(Node::File { mode, .. }) => mode & 0o111 != 0,
            Some(node) => matches!(node, Node::Directory { .. }),
            None => false,
        }),
        "-L" | "-h" => {
            let path = world.path(word)?;
            Some(matches!(world.tree.get(&path), Some(Node::Symlink(_))))
        }
        _ => None,
    }
}

fn two(left: &str, operator: &str, right: &str) -> Option<bool> {
    let numbers = || Some((left.parse::<i64>().ok()?, right.parse::<i64>().ok()?));
    match operator {
        "=" | "==" => Some(left == right),
        "!=" => Some(left != right),
        "-eq" => numbers().map(|(left, right)| left == right),
        "-ne" => numbers().map(|(left, right)| left != right),
        "-lt" => numbers().map(|(left, right)| left < right),
        "-le" => numbers().map(|(left, right)| left <= right),
        "-gt" => numbers().map(|(left, right)| left > right),
        "-ge" => numbers().map(|(left, right)| left >= right),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::tree::Tree;

    #[test]
    fn questions_are_answered_about_the_guest_and_never_guessed() {
        let mut accounts = Accounts::of_masters("root:*:0:0:root:/root:/bin/sh\n", "adm:*:4:\n");
        let mut tree = Tree::default();
        tree.insert_file("usr/bin/tool", 0o755, *b"x");
        tree.insert("bin", Node::Symlink("usr/bin".into()));
        tree.insert("etc/link", Node::Symlink("/usr/bin/tool".into()));
        let world = World {
            accounts: &mut accounts,
            tree: &mut tree,
        };
        // `?` is a word whose text is not known, `''` an empty one.
        for (line, expected) in [
            ("[ -z '' ]", Some(true)),
            ("[ -n '' ]", Some(false)),
            ("[ configure = configure ]", Some(true)),
            ("[ ! -e /etc/x -a -d /usr ]", Some(true)),
            ("[ -x /bin/tool ]", Some(true)),
            ("[ -f /etc/link ]", Some(true)),
            ("[ -L /etc/link ]", Some(true)),
            ("[ -d /run/systemd/system ]", Some(false)),
            ("[ -e /proc/cpuinfo ]", None),
            ("[ ? = x ]", None),
            ("[ x = x -o ? = x ]", Some(true)),
            ("[ a b c d e ]", None),
            ("[ 0 -eq 1 ]", Some(false)),
            ("test -s /bin/tool", Some(true)),
            ("getent passwd root", Some(true)),
            ("getent passwd postgres", Some(false)),
            ("getent group adm", Some(true)),
            ("getent hosts x", None),
            ("id -u postgres", Some(false)),
            ("id -u ?", None),
            ("dpkg --compare-versions '' lt-nl 1.0", Some(false)),
            ("command -v tool", Some(true)),
            ("which nothing", Some(false)),
        ] {
            let words: Vec<Argument> = line
                .split(' ')
                .map(|word| (word != "?").then(|| word.replace('\'', "")))
                .collect();
            let answer = answer(&world, words[0].as_deref().unwrap(), &words[1..]);
            assert_eq!(answer, Some(expected), "{line}");
        }
        assert_eq!(answer(&world, "mkdir", &[]), None);
    }
}
