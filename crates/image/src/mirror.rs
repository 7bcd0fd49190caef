//! Which Debian mirror to use: the one that the machine's own apt configuration already uses.
//!
//! `appliance` and `debian` ask for the [`Archive`] before they build, and `apt` fetches from it with the
//! keys that it names. Sites have mirrors of their own, and some machines reach no other, so no name of a
//! mirror may ever stand in this program; nor may a line of sources be made that would switch a check off.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ImageError;

/// Where apt keeps its sources.
const APT_DIRECTORY: &str = "/etc/apt";

/// Files in which the Debian archive's keys are installed, the newest first.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Where packages come from, and the keys with which they are checked.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The mirror's base address, as in apt's `URIs:`.
    pub mirror: String,
    /// The file with the archive's keys.
    pub keyring: PathBuf,
}

impl Archive {
    /// The archive that this machine's apt uses, or `mirror` in its place.
    pub fn of_this_machine(mirror: Option<&str>) -> Result<Self, ImageError> {
        let keyring = KEYRINGS.iter().map(Path::new).find(|file| file.is_file());
        let keyring = keyring.ok_or(ImageError::NoKeyring)?.to_owned();
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => configured(Path::new(APT_DIRECTORY)).ok_or(ImageError::NoMirror)?,
        };
        // The address goes into a line of a sources list, where these characters would begin something else.
        if mirror.is_empty() || mirror.contains([' ', '\t', '\n', '[', ']', '"', ';']) {
            return Err(ImageError::Option(format!(
                "`{mirror}` cannot be the address of a Debian mirror"
            )));
        }
        Ok(Self { mirror, keyring })
    }

    /// A line of a sources list for `suite`.
    pub fn source_line(&self, suite: &str) -> String {
        // target=Packages: the machine may be configured for icons and file lists that nobody needs here.
        format!(
            "deb [target=Packages signed-by={}] {} {suite} main",
            self.keyring.display(),
            self.mirror
        )
    }
}

/// One entry of apt's configuration.
#[derive(Default)]
struct Entry {
    uri: String,
    suite: String,
    has_main: bool,
    signed_by: String,
}

impl Entry {
    /// Whether this is Debian itself, and neither its security updates nor another vendor's archive for
    /// Debian.
    fn is_debian(&self) -> bool {
        let signed_by_debian = self.signed_by.contains("debian-archive");
        let looks_like_debian =
            self.signed_by.is_empty() && self.uri.trim_end_matches('/').ends_with("/debian");
        self.has_main
            && (signed_by_debian || looks_like_debian)
            && self.uri.contains("://")
            && !self.uri.contains("-security")
            && !self.suite.ends_with("-security")
            && !self.suite.contains("/updates")
    }
}

/// The first mirror in the apt configuration at `directory`.
fn configured(directory: &Path) -> Option<String> {
    let mut files = vec![directory.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(directory.join("sources.list.d"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.append(&mut parts);
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let entries = match file.extension()?.to_str()? {
            "list" => text.lines().filter_map(one_line_entry).collect(),
            "sources" => deb822_entries(&text),
            _ => Vec::new(),
        };
        entries.into_iter().find(Entry::is_debian).map(|entry| entry.uri)
    })
}

/// Reads `deb [options] uri suite component...`.
fn one_line_entry(line: &str) -> Option<Entry> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    Some(Entry {
        uri: words.next()?.to_owned(),
        suite: words.next()?.to_owned(),
        has_main: words
            .take_while(|word| !word.starts_with('#'))
            .any(|word| word == "main"),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Reads stanzas of `Field: value`, separated by empty lines; a line that begins with a space continues the
/// field.
fn deb822_entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stanza in text.split("\n\n") {
        let mut entry = Entry::default();
        let (mut binary, mut enabled) = (false, true);
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            let Some((field, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else {
                continue;
            };
            let value = value.trim();
            match field.to_ascii_lowercase().as_str() {
                "types" => binary = value.split_whitespace().any(|word| word == "deb"),
                "enabled" => enabled = !value.eq_ignore_ascii_case("no"),
                "uris" => entry.uri = value.split_whitespace().next().unwrap_or_default().to_owned(),
                "suites" => entry.suite = value.split_whitespace().next().unwrap_or_default().to_owned(),
                "components" => entry.has_main = value.split_whitespace().any(|word| word == "main"),
                "signed-by" => entry.signed_by = value.to_owned(),
                _ => {}
            }
        }
        if binary && enabled {
            entries.push(entry);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(entries: Vec<Entry>) -> Option<String> {
        entries.into_iter().find(Entry::is_debian).map(|entry| entry.uri)
    }

    #[test]
    fn deb822_entry_of_debian_is_found_behind_others() {
        let text = "# a comment: with a colon\nTypes: deb\nURIs: https://vendor.example/linux/debian\n\
                    Suites: bookworm\nComponents: stable\n\n\
                    Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n\
                    Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\n\
                    Components: main\n\n\
                    Types: deb deb-src\nURIs: http://mirror.example/debian http://second.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main contrib\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        assert_eq!(
            first(deb822_entries(text)).as_deref(),
            Some("http://mirror.example/debian")
        );
    }

    #[test]
    fn one_line_entry_of_debian_is_found_behind_others() {
        let text = "# deb http://commented.example/debian trixie main\n\
                    deb-src http://source.example/debian trixie main\n\
                    deb cdrom:[Debian]/ trixie main\n\
                    deb [arch=amd64 signed-by=/etc/apt/keyrings/vendor.asc] \
                    https://vendor.example/debian trixie main\n\
                    deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                    http://proxy.example/d trixie main\n";
        let entries = text.lines().filter_map(one_line_entry).collect();
        assert_eq!(first(entries).as_deref(), Some("http://proxy.example/d"));
    }

    #[test]
    fn machine_without_debian_has_no_mirror() {
        assert_eq!(configured(Path::new("/nonexistent")), None);
        assert_eq!(
            first(deb822_entries(
                "Types: deb\nURIs: http://mirror.example/ubuntu\nComponents: main\n"
            )),
            None
        );
    }

    #[test]
    fn mirror_that_would_break_the_sources_list_is_refused() {
        if let Err(error) = Archive::of_this_machine(Some("http://a.example/debian [trusted=yes]")) {
            assert!(matches!(error, ImageError::Option(_) | ImageError::NoKeyring));
        } else {
            panic!("a mirror with an option inside was accepted");
        }
    }
}
