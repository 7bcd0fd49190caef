//! Why an image could not be made: one sentence each, with what to do where the user can do something.
//!
//! Every part of the crate returns these; `cli` prints them as they are.

use std::path::{Path, PathBuf};

use rehearsal::Unreadable;
use thiserror::Error;

/// Why an image could not be made.
#[derive(Debug, Error)]
pub enum ImageError {
    /// Programs that the build needs are not on the host.
    #[error(
        "making this image needs `{}`, which this machine does not have: install it from Debian's packages \
         (as root: apt-get install {})",
        programs.join("`, `"),
        packages.join(" ")
    )]
    MissingTools {
        /// The programs that were looked for.
        programs: Vec<&'static str>,
        /// The Debian packages that bring them.
        packages: Vec<&'static str>,
    },
    /// No Debian mirror is known.
    #[error(
        "no Debian mirror is known: the apt configuration of this machine has no entry for Debian itself; \
         add one to /etc/apt/sources.list"
    )]
    NoMirror,
    /// The keys with which packages are checked are not on the host.
    #[error(
        "the keys of the Debian archive are not on this machine: install the Debian package \
         debian-archive-keyring (as root: apt-get install debian-archive-keyring)"
    )]
    NoKeyring,
    /// The host cannot run riscv64 programs.
    #[error(
        "this machine does not run riscv64 programs, which installing Debian needs: {reason}; install \
         the Debian packages qemu-user-static and binfmt-support, or run `lockstep image debian` once as root"
    )]
    NoEmulation {
        /// What the kernel says of the emulator.
        reason: String,
    },
    /// Debian has no package of that name.
    #[error(
        "there is no package `{name}` for riscv64 in Debian 13; check its name, for example with \
         `apt-cache search`"
    )]
    NoPackage {
        /// The name that was asked for.
        name: String,
    },
    /// A program of the host ended with an error.
    #[error("{action} failed: `{program}` ended with {status}{}", tail_sentence(.tail))]
    Tool {
        /// What the program was run for.
        action: String,
        /// Name of the program.
        program: String,
        /// Exit status of the program.
        status: String,
        /// The last lines that it printed.
        tail: String,
    },
    /// A program of the host could not be started, or what it printed could not be read.
    #[error("{action} failed: cannot run `{program}`")]
    Start {
        /// What the program was run for.
        action: String,
        /// Name of the program.
        program: String,
        /// Error that the operating system gave.
        #[source]
        source: std::io::Error,
    },
    /// A file or directory of the host could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error that the operating system gave.
        #[source]
        source: std::io::Error,
    },
    /// A package does not hold what this version of Lockstep expects of it.
    #[error("the package {package} is not as expected: {reason}")]
    Package {
        /// Name of the package.
        package: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// An option cannot be used as it is.
    #[error("{0}")]
    Option(String),
}

impl ImageError {
    /// Makes the error of a file operation, for `map_err`.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The error as it is, or the sentence for what apt says of a package that does not exist.
    pub(super) fn of_choosing(self) -> Self {
        let Self::Tool { tail, .. } = &self else {
            return self;
        };
        let unknown = |line: &str| {
            line.strip_prefix("E: Unable to locate package ")
                .map(str::to_owned)
        };
        match tail.lines().find_map(unknown) {
            Some(name) => Self::NoPackage { name },
            None => self,
        }
    }

    pub(super) fn package(package: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Package {
            package: package.into(),
            reason: reason.into(),
        }
    }
}

impl From<Unreadable> for ImageError {
    fn from(Unreadable { path, source }: Unreadable) -> Self {
        Self::file("read", &path)(source)
    }
}

fn tail_sentence(tail: &str) -> String {
    if tail.is_empty() {
        " without a word".to_owned()
    } else {
        format!("; its last lines were:\n{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tool_names_the_package_to_install() {
        let error = ImageError::MissingTools {
            programs: vec!["mke2fs", "tar"],
            packages: vec!["e2fsprogs", "tar"],
        };
        let text = error.to_string();
        assert!(
            text.contains("`mke2fs`, `tar`") && text.contains("apt-get install e2fsprogs tar"),
            "{text}"
        );
    }

    #[test]
    fn a_package_that_does_not_exist_is_named_in_a_sentence() {
        let error = |tail: &str| ImageError::Tool {
            action: "choosing packages".into(),
            program: "apt-get".into(),
            status: "exit status: 100".into(),
            tail: tail.into(),
        };
        let unknown = error("E: Unable to locate package nosuch").of_choosing();
        assert!(
            unknown.to_string().starts_with("there is no package `nosuch`"),
            "{unknown}"
        );
        let other = error("E: Unable to correct problems").of_choosing();
        assert!(
            other.to_string().starts_with("choosing packages failed: "),
            "{other}"
        );
    }

    #[test]
    fn tool_failure_shows_the_last_lines() {
        let error = ImageError::Tool {
            action: "downloading packages".into(),
            program: "apt-get".into(),
            status: "exit status: 100".into(),
            tail: "E: Unable to locate package nosuch".into(),
        };
        assert_eq!(
            error.to_string(),
            "downloading packages failed: `apt-get` ended with exit status: 100; its last lines were:\n\
             E: Unable to locate package nosuch"
        );
    }
}
