//! The maintainer scripts of packages, which an appliance does not run.
//!
//! `installation` hands in the scripts of all packages. What can be known of them beforehand is done to the
//! guest's accounts and files: users, directories, owners, links. What cannot is returned by package, so that
//! whoever makes the image is told. What a script does is judged by its commands alone: no name of a package
//! may have a meaning here.

mod account_tools;
mod conditions;
mod expansion;
mod file_tools;
mod forms;
mod rehearsal;
mod syntax;
mod words;
mod world;

use std::fmt;

use crate::accounts::Accounts;
use crate::tree::Tree;
use rehearsal::Left;
use world::{Deed, World};

/// The maintainer scripts of one package.
#[derive(Clone, Debug, Default)]
pub struct Scripts {
    /// Name of the package.
    pub package: String,
    /// Text of the script before the files are unpacked, `preinst`.
    pub before: Option<String>,
    /// Text of the script after the files are unpacked, `postinst`.
    pub after: Option<String>,
}

/// What the maintainer scripts of a package would do that an appliance does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Name of the package.
    pub package: String,
    /// What the scripts would do, as a phrase for people that goes on after "its installation".
    pub what: String,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.package, self.what)
    }
}

/// Does what the scripts do at a first installation, as far as that can be known; returns the rest.
pub fn rehearse(scripts: &Scripts, accounts: &mut Accounts, tree: &mut Tree) -> Option<Undone> {
    let mut left = Left::new();
    let mut world = World { accounts, tree };
    let calls = [
        (&scripts.before, ["install", ""]),
        (&scripts.after, ["configure", ""]),
    ];
    for (text, arguments) in calls {
        let Some(text) = text else { continue };
        let first = text.lines().next().unwrap_or_default();
        let is_shell = ["sh", "bash", "dash"].iter().any(|shell| {
            let interpreter = first.trim_start_matches("#!").split_whitespace().next();
            interpreter.and_then(|path| path.rsplit('/').next()) == Some(shell)
        });
        match syntax::read(text).ok().filter(|_| is_shell) {
            Some(script) => rehearsal::walk(&script, &scripts.package, &arguments, &mut world, &mut left),
            None => {
                let script = format!("a script that was not understood ({first})");
                left.entry(Deed::Program).or_default().insert(script);
            }
        }
    }
    (!left.is_empty()).then(|| Undone {
        package: scripts.package.clone(),
        what: phrase(&left),
    })
}

/// Says in words for people what was left.
fn phrase(left: &Left) -> String {
    let parts: Vec<String> = left
        .iter()
        .map(|(deed, commands)| {
            let commands = commands.iter().cloned().collect::<Vec<_>>().join(", ");
            match deed {
                Deed::Accounts => format!("makes users or groups ({commands})"),
                Deed::Files => format!("puts files in place ({commands})"),
                Deed::Owners => format!("sets owners or modes ({commands})"),
                Deed::Keys => format!("makes keys or certificates ({commands})"),
                Deed::Program => format!("runs {commands}"),
            }
        })
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Owner};

    /// The beginning of a postinst as debhelper writes it, and what it writes after a package's own part.
    const DEBHELPER: &str = "\
if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ] ; then
\tif [ -x \"$(command -v systemd-tmpfiles)\" ]; then
\t\tsystemd-tmpfiles ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} --create web.conf || true
\tfi
\tif deb-systemd-helper --quiet was-enabled 'web.service'; then
\t\tdeb-systemd-helper enable 'web.service' >/dev/null || true
\tfi
fi
dpkg-maintscript-helper rm_conffile /etc/web/old 2.89-1.1\\~ web -- \"$@\"
exit 0
";

    struct Guest {
        accounts: Accounts,
        tree: Tree,
    }

    impl Guest {
        fn new() -> Self {
            let passwd = "root:*:0:0:root:/root:/bin/sh\nwww-data:*:33:33::/var/www:/x\n";
            let accounts = Accounts::of_masters(passwd, "root:*:0:\nadm:*:4:\nwww-data:*:33:\n");
            let tree = Tree::default();
            Self { accounts, tree }
        }

        /// What is left of a postinst.
        fn after(&mut self, text: &str) -> Option<String> {
            let scripts = Scripts {
                package: "web-17".into(),
                before: None,
                after: Some(format!("#!/bin/sh\nset -e\n{text}\n{DEBHELPER}")),
            };
            rehearse(&scripts, &mut self.accounts, &mut self.tree).map(|undone| undone.what)
        }
    }

    #[test]
    fn nothing_is_left_of_a_script_that_makes_a_user_and_its_directories() {
        let mut guest = Guest::new();
        // After redis-tools: a function, variables, and a question that a new system answers with no.
        let text = "USER=\"redis\"\nSetup_dir () {\n DIR=\"${1}\"\n mkdir -p ${DIR}\n\
                    if ! dpkg-statoverride --list ${DIR} >/dev/null 2>&1\nthen\n\
                    chown ${USER}:${3} ${DIR}\n chmod ${2} ${DIR}\nfi\n}\n\
                    if [ \"$1\" = \"configure\" ]\nthen\n\
                    adduser \\\n --system \\\n --group \\\n ${USER} || true\n\
                    Setup_dir /var/log/redis 2750 adm\nfi";
        assert_eq!(guest.after(text), None);
        assert_eq!(
            guest.tree.get("var/log/redis"),
            Some(&Node::Directory { mode: 0o2750 })
        );
        let user = guest.accounts.user_number("redis").unwrap();
        assert_eq!(guest.tree.owner("var/log/redis"), Owner { user, group: 4 });
    }

    #[test]
    fn only_the_first_installation_is_walked_through() {
        let mut guest = Guest::new();
        let text = "case \"$1\" in\nabort-*|triggered) make-cluster ;;\nconfigure)\n\
                    if [ -n \"$2\" ]; then upgrade-cluster; fi\n\
                    if dpkg --compare-versions \"$2\" lt-nl 1.0; then upgrade-cluster; fi\n;;\n\
                    *) fail-loudly; exit 1 ;;\nesac\n[ -z \"$2\" ] || upgrade-cluster";
        assert_eq!(guest.after(text), None);
    }

    #[test]
    fn what_a_script_runs_besides_is_named() {
        let mut guest = Guest::new();
        let text = "VERSION=${DPKG_MAINTSCRIPT_PACKAGE##*-}\nmake-cluster $VERSION main\n\
                    umask 077; openssl rand -out /var/lib/web/cookie 42\n\
                    if some-question; then cp /usr/share/web/a /etc/web/a; fi\n\
                    TMPDIR='' bash /usr/bin/web-install-db --user=web 2>&1 | logger";
        guest.tree.insert_file("usr/share/web/a", 0o644, *b"");
        let what = "puts files in place (cp); makes keys or certificates (openssl); \
                    runs make-cluster, some-question, web-install-db";
        assert_eq!(guest.after(text).as_deref(), Some(what));
        assert!(
            guest.tree.get("etc/web/a").is_none(),
            "nobody knows whether it is copied"
        );
        assert_eq!(
            guest.after("[[ -n $1 ]] && x").unwrap(),
            "runs a script that was not understood (#!/bin/sh)"
        );
    }

    #[test]
    fn functions_of_other_files_are_followed_and_output_is_known_where_it_can_be() {
        let mut guest = Guest::new();
        let library = *b"link() { ln -sf /usr/share/web/$1 /etc/web/$2; }\nmake() { make-cluster; }\n";
        guest.tree.insert_file("usr/share/web/functions", 0o644, library);
        let text = "for pair in a.conf:50-a.conf b.conf:60-b.conf; do\n\
                    from=$(echo $pair | cut -d: -f1)\n to=$(echo $pair | cut -d: -f2)\n\
                    . /usr/share/web/functions\n link $from $to\ndone\nmake";
        assert_eq!(guest.after(text).as_deref(), Some("runs make-cluster"));
        let link = Node::Symlink("/usr/share/web/b.conf".into());
        assert_eq!(guest.tree.get("etc/web/60-b.conf"), Some(&link));
    }

    #[test]
    fn files_that_a_script_writes_are_there() {
        let mut guest = Guest::new();
        let text = "cat >/etc/a <<EOF\ntext\nEOF\n: > \"$DPKG_ROOT/var/log/b\"\necho x y >/etc/c\n\
                    echo hidden > /tmp/d\nfor f in /etc/?; do chmod 600 $f; done";
        assert_eq!(guest.after(text), None);
        let file = |data: &[u8], mode| Node::File {
            mode,
            data: data.to_vec(),
        };
        assert_eq!(guest.tree.get("etc/a"), Some(&file(b"text\n", 0o600)));
        assert_eq!(guest.tree.get("var/log/b"), Some(&file(b"", 0o644)));
        assert_eq!(guest.tree.get("etc/c"), Some(&file(b"x y\n", 0o600)));
        assert!(guest.tree.get("tmp/d").is_none());
    }

    #[test]
    fn no_script_is_endless() {
        let mut guest = Guest::new();
        for text in [
            "f() { f; f; }\nf",
            "while true; do true; done",
            "exec exec exec exec x",
        ] {
            let _ = guest.after(text);
        }
        let doubled: String = (0..40)
            .map(|n| format!("f{n}() {{ f{}; f{0}; }}\n", n + 1))
            .collect();
        let _ = guest.after(&format!("{doubled}f0"));
    }
}
