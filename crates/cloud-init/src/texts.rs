//! `CloudInit`: the two texts, checked.
//!
//! A text is checked wherever it comes from, since the host of a backup gets it from another one. What
//! cloud-init would silently ignore in the guest is refused here, where somebody reads the sentence.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::limits::{META_DATA_LEN_MAX, USER_DATA_LEN_MAX};

/// How user-data may begin: cloud-init knows their kind by it, and ignores all others.
const BEGINNINGS: [&str; 9] = [
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type: multipart/",
    "Content-Type: text/",
    "MIME-Version:",
];

/// What cloud-init in a guest is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudInit {
    user_data: String,
    /// The operator's own meta-data; `None`: they are made of the VM's name.
    meta_data: Option<String>,
}

/// Why cloud-init cannot be given what it should be.
#[derive(Debug, thiserror::Error)]
pub enum CloudInitError {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}; check the path")]
    Read {
        /// Which file: "user-data" or "meta-data".
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: io::Error,
    },
    /// A text has too many bytes.
    #[error(
        "the {what} {from}longer than {max} bytes; have cloud-init fetch the rest, with `#include` and an \
         address, or put it into the image"
    )]
    TooLong {
        /// Which text: "user-data" or "meta-data".
        what: &'static str,
        /// The file with the verb, for the sentence.
        from: String,
        /// The most bytes that such a text may have.
        max: usize,
    },
    /// A text is not UTF-8, or has a control character.
    #[error(
        "the {what} {from}no plain text at line {line}: cloud-init reads UTF-8 without control characters \
         (what is compressed must be unpacked first)"
    )]
    NoText {
        /// Which text: "user-data" or "meta-data".
        what: &'static str,
        /// The file with the verb, for the sentence.
        from: String,
        /// Number of the first line that is no text, from 1.
        line: usize,
    },
    /// User-data that cloud-init would ignore.
    #[error(
        "the user-data {from}nothing that cloud-init knows, which goes by the first line: begin it with \
         `#cloud-config`, or with `#!` if it is a script"
    )]
    Unknown {
        /// The file with the verb, for the sentence.
        from: String,
    },
    /// The disk cannot be written.
    #[error("the disk for cloud-init cannot be made")]
    Disk(#[source] io::Error),
}

/// Which text, and from where.
#[derive(Clone, Copy)]
struct Source<'a> {
    what: &'static str,
    /// The file; `None`: another host.
    path: Option<&'a Path>,
}

impl Source<'_> {
    /// The file and the verb of a sentence.
    fn is(&self) -> String {
        self.path
            .map_or_else(|| "is ".to_owned(), |path| format!("{} is ", path.display()))
    }
}

impl CloudInit {
    /// Reads the texts from files.
    ///
    /// # Errors
    /// A file cannot be read, or holds what cloud-init could not use.
    pub fn read(user_data: &Path, meta_data: Option<&Path>) -> Result<CloudInit, CloudInitError> {
        let user = Source {
            what: "user-data",
            path: Some(user_data),
        };
        let meta = meta_data.map(|path| Source {
            what: "meta-data",
            path: Some(path),
        });
        let meta = meta.map(|meta| read(meta, META_DATA_LEN_MAX)).transpose()?;
        checked(user, read(user, USER_DATA_LEN_MAX)?, meta)
    }

    /// Takes texts that another host has sent.
    ///
    /// # Errors
    /// A text is none that cloud-init could use.
    pub fn new(user_data: &str, meta_data: Option<&str>) -> Result<CloudInit, CloudInitError> {
        let of = |what| Source { what, path: None };
        let meta = meta_data.map(|text| text_of(of("meta-data"), text.as_bytes(), META_DATA_LEN_MAX));
        let user = text_of(of("user-data"), user_data.as_bytes(), USER_DATA_LEN_MAX)?;
        checked(of("user-data"), user, meta.transpose()?)
    }

    /// The user-data.
    #[must_use]
    pub fn user_data(&self) -> &str {
        &self.user_data
    }

    /// The operator's own meta-data; `None`: they are made of the VM's name.
    #[must_use]
    pub fn meta_data(&self) -> Option<&str> {
        self.meta_data.as_deref()
    }

    /// The disk for the VM of this name: [`DISK_LEN`](crate::DISK_LEN) bytes, which depend on the texts and
    /// the name alone.
    ///
    /// # Errors
    /// Only if the file system's writer fails, which no text within its bounds has it do.
    pub fn disk(&self, vm: &str) -> Result<Vec<u8>, CloudInitError> {
        let made;
        let meta_data = match &self.meta_data {
            Some(text) => text,
            None => {
                // A name of a VM has no character that means something between these marks.
                made = format!("instance-id: \"{vm}\"\nlocal-hostname: \"{vm}\"\n");
                &made
            }
        };
        let files = [("user-data", &self.user_data), ("meta-data", meta_data)];
        disk::of_files(&files.map(|(name, text)| (name, text.as_bytes()))).map_err(CloudInitError::Disk)
    }
}

/// Reads a text of at most `max` bytes from its file.
fn read(source: Source<'_>, max: usize) -> Result<String, CloudInitError> {
    let path = source.path.unwrap_or(Path::new(""));
    let mut bytes = Vec::new();
    let more_than_allowed = max as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(more_than_allowed).read_to_end(&mut bytes))
        .map_err(|error| CloudInitError::Read {
            what: source.what,
            path: path.into(),
            source: error,
        })?;
    text_of(source, &bytes, max)
}

/// The text in these bytes.
fn text_of(source: Source<'_>, bytes: &[u8], max: usize) -> Result<String, CloudInitError> {
    let what = source.what;
    if bytes.len() > max {
        let from = source.is();
        return Err(CloudInitError::TooLong { what, from, max });
    }
    let is_text = |text: &&str| {
        !text
            .chars()
            .any(|sign| sign.is_control() && !"\n\r\t".contains(sign))
    };
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(is_text) {
        return Ok(text.to_owned());
    }
    let is_text = |line: &[u8]| std::str::from_utf8(line).ok().filter(is_text).is_some();
    let lines = bytes.split(|&byte| byte == b'\n');
    let line = 1 + lines.take_while(|line| is_text(line)).count();
    let from = source.is();
    Err(CloudInitError::NoText { what, from, line })
}

/// Both texts, if the user-data are some that cloud-init does not ignore.
fn checked(
    user: Source<'_>,
    user_data: String,
    meta_data: Option<String>,
) -> Result<CloudInit, CloudInitError> {
    if BEGINNINGS.iter().any(|begin| user_data.starts_with(begin)) {
        Ok(CloudInit { user_data, meta_data })
    } else {
        Err(CloudInitError::Unknown { from: user.is() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(user_data: &[u8], meta_data: Option<&[u8]>) -> Result<CloudInit, CloudInitError> {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let user = write("user", user_data);
        let meta = meta_data.map(|bytes| write("meta", bytes));
        CloudInit::read(&user, meta.as_deref())
    }

    fn refusal(user_data: &[u8]) -> String {
        read_of(user_data, None).unwrap_err().to_string()
    }

    #[test]
    fn texts_of_every_kind_are_taken_as_they_are() {
        for begin in BEGINNINGS {
            let text = format!("{begin}\r\n\tä: \"b\"\n");
            let read = read_of(text.as_bytes(), Some(b"instance-id: 7\n")).unwrap();
            assert_eq!(read.user_data(), text);
            assert_eq!(read.meta_data(), Some("instance-id: 7\n"));
            assert_eq!(CloudInit::new(&text, Some("instance-id: 7\n")).unwrap(), read);
        }
    }

    #[test]
    fn what_cloud_init_would_ignore_is_refused_with_what_to_write() {
        for text in [
            "",
            "users: []\n",
            " #cloud-config\n",
            "# a comment\n#cloud-config\n",
        ] {
            let sentence = refusal(text.as_bytes());
            assert!(
                sentence.contains("/user is nothing that cloud-init knows"),
                "{sentence}"
            );
            assert!(sentence.contains("`#cloud-config`") && sentence.contains("`#!`"));
        }
        let error = CloudInit::new("users: []", None).unwrap_err();
        assert!(error.to_string().starts_with("the user-data is nothing that"));
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        for bytes in [
            &b"#!/bin/sh\necho\xff\n"[..],
            b"#!/bin/sh\n\x1b[0m",
            b"#!/bin/sh\n\x7f",
            "#!/bin/sh\n\u{85}".as_bytes(),
        ] {
            let sentence = refusal(bytes);
            assert!(
                sentence.contains("/user is no plain text at line 2:"),
                "{sentence}"
            );
        }
        let sentence = refusal(b"\x1f\x8b\x08compressed");
        assert!(
            sentence.contains("at line 1") && sentence.contains("unpacked first"),
            "{sentence}"
        );
        let sentence = read_of(b"#!", Some(b"\0")).unwrap_err().to_string();
        assert!(sentence.starts_with("the meta-data "), "{sentence}");
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_is_just_short_enough_is_not() {
        let user_data = |length: usize| {
            let mut text = b"#!".to_vec();
            text.resize(length, b'a');
            text
        };
        let meta_data = |length: usize| vec![b'm'; length];
        read_of(&user_data(USER_DATA_LEN_MAX), Some(&meta_data(META_DATA_LEN_MAX))).unwrap();
        let sentence = refusal(&user_data(USER_DATA_LEN_MAX + 1));
        assert!(
            sentence.contains("/user is longer than 24576 bytes"),
            "{sentence}"
        );
        let error = read_of(b"#!", Some(&meta_data(META_DATA_LEN_MAX + 1))).unwrap_err();
        assert!(error.to_string().contains("/meta is longer than 4096 bytes"));
        // A file without an end is not read to its end.
        let error = CloudInit::read(Path::new("/dev/zero"), None).unwrap_err();
        assert!(matches!(error, CloudInitError::TooLong { .. }));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = CloudInit::read(Path::new("/nowhere/user-data"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the user-data /nowhere/user-data; check the path"
        );
    }
}
