//! The users and groups that packages declare in `/usr/lib/sysusers.d/*.conf`.
//!
//! `installation` reads the files of the unpacked packages and has their lines obeyed here, as
//! systemd-sysusers does when Debian installs a package. The lines are those of sysusers.d(5): `u` a user,
//! `g` a group, `m` a member of a group; `r`, a range of numbers, has no meaning here. A line that cannot be
//! obeyed must be handed back, never passed over in silence.

use super::accounts::{Accounts, NO_HOME, User};

/// Obeys the lines of one file; returns the lines that could not be obeyed.
pub fn obey(text: &str, accounts: &mut Accounts) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter(|line| obey_line(&fields(line), accounts).is_none())
        .map(str::to_owned)
        .collect()
}

fn obey_line(fields: &[String], accounts: &mut Accounts) -> Option<()> {
    let field = |index: usize| {
        let field = fields.get(index).map(String::as_str);
        field.filter(|field| *field != "-").unwrap_or_default()
    };
    let (kind, name, id) = (fields.first()?.as_str(), field(1), field(2));
    if [name, id, field(4)].iter().any(|field| field.contains('%')) {
        return None;
    }
    // A path as the number means the owner of that file; the file is the package's own, so it is root's.
    let number = |text: &str| text.parse().ok();
    let done = match kind {
        // `u!` is a user that is locked, as all are here.
        "u" | "u!" => {
            let (id, group) = match id.split_once(':') {
                Some((id, group)) => (id, Some(group)),
                None => (id, None),
            };
            // Groups may be named before the line that makes them.
            let known = group.is_none_or(|group| accounts.group_number(group).is_some());
            known
                && accounts.add_user(&User {
                    name,
                    number: number(id),
                    group,
                    comment: field(3),
                    home: Some(field(4)).filter(|home| !home.is_empty()).unwrap_or(NO_HOME),
                    shell: field(5),
                })
        }
        "g" => accounts.add_group(name, number(id)),
        "m" => {
            (accounts.has_user(name)
                || accounts.add_user(&User {
                    name,
                    ..User::default()
                }))
                && accounts.add_group(id, None)
                && accounts.add_member(name, id)
        }
        "r" => true,
        _ => false,
    };
    done.then_some(())
}

/// The fields of a line: words, which may be in quotes.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quote, mut in_field) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => (quote, in_field) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if in_field {
                    fields.push(std::mem::take(&mut field));
                }
                in_field = false;
            }
            (_, c) => {
                field.push(c);
                in_field = true;
            }
        }
    }
    if in_field {
        fields.push(field);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, Tree};

    fn passwd(text: &str) -> String {
        let mut accounts = Accounts::of_masters("", "nogroup:*:65534:\nadm:*:4:\n");
        assert_eq!(obey(text, &mut accounts), [""; 0]);
        let mut tree = Tree::default();
        accounts.write(&mut tree);
        match tree.get("etc/passwd") {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("etc/passwd is {other:?}"),
        }
    }

    #[test]
    fn line_of_openssh_gives_the_user_in_nogroup_with_its_home() {
        let passwd = passwd("u sshd -:nogroup \"sshd user\" /run/sshd\n");
        assert!(
            passwd.starts_with("sshd:x:")
                && passwd.ends_with(":65534:sshd user:/run/sshd:/usr/sbin/nologin\n"),
            "{passwd}"
        );
    }

    #[test]
    fn user_gets_the_number_that_the_line_names_and_a_group_of_its_own() {
        let passwd = passwd("# a comment\n\ng data 501\nu! web 500 - - -\nm web adm\n");
        assert_eq!(passwd, "web:x:500:500::/nonexistent:/usr/sbin/nologin\n");
    }

    #[test]
    fn lines_that_cannot_be_obeyed_are_handed_back() {
        let mut accounts = Accounts::default();
        let text = "u web -:nosuchgroup\nx what\nu %b -\nr - 500-900\n";
        assert_eq!(
            obey(text, &mut accounts),
            ["u web -:nosuchgroup", "x what", "u %b -"]
        );
    }
}
