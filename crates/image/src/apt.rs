//! Fetching packages of another architecture with apt, as any user, beside the machine's own package state.
//!
//! apt gets directories of its own under the cache; the machine's lists, packages and status are neither read
//! nor written. Signatures are always checked: this file must never write `trusted=yes`,
//! `AllowUnauthenticated` or their like, and it sets them to no where the machine's configuration allows
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rehearsal::Owned;

use super::SUITE;
use super::error::ImageError;
use super::mirror::Archive;
use super::progress::{Progress, Report, Stage, Unit};
use super::tools::{self, APT_CONFIG, APT_GET, DPKG_DEB};

/// The guest's architecture in Debian's words.
const ARCHITECTURE: &str = "riscv64";

/// Packages that apt is told are installed already. They are needed only by maintainer scripts, which are not
/// run, or replaced by busybox and by our own `/init`; without them a server has half its usual dependencies.
const STAND_INS: [&str; 24] = [
    "adduser",
    "base-files",
    "base-passwd",
    "coreutils",
    "debconf",
    "debianutils",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools",
    "kmod",
    "linux-base",
    "login",
    "logrotate",
    "lsb-base",
    "mount",
    "openssl-provider-legacy",
    "passwd",
    "procps",
    "systemd",
    "systemd-sysv",
    "sysvinit-utils",
    "tar",
    "udev",
    "util-linux",
];

/// One package file of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// Name of the package.
    pub package: String,
    /// Version of the package.
    pub version: String,
    /// Name of the file in apt's archive directory.
    pub file: String,
    /// Size of the file in bytes.
    pub size: u64,
}

/// apt with directories of its own.
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Sets apt up in `directory` to read `archive`. `wanted` packages are never stood in for.
    pub fn prepare(directory: &Path, archive: &Archive, wanted: &[String]) -> Result<Self, ImageError> {
        for part in ["lists/partial", "archives/partial", "none/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).map_err(ImageError::file("create", &part))?;
        }
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(ImageError::file("write", &path))
        };
        write("sources.list", archive.source_line(SUITE) + "\n")?;
        write("status", status(wanted))?;
        write("apt.conf", configuration(directory)?)?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Reads the mirror's lists.
    pub fn update(&self, report: Report<'_>) -> Result<(), ImageError> {
        report(Progress::begin(Stage::Lists));
        let log = self.directory.join("update.log");
        let mut command = self.command(APT_GET);
        // Without this mode apt reports success when it could read nothing and still has old lists.
        command.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
        tools::watch(&mut command, "reading the package lists", &log, || {})?;
        // Packages that earlier builds downloaded can be used again only if the mirror still has them.
        let mut command = self.command(APT_GET);
        tools::run(command.args(["-qq", "autoclean"]), "cleaning old packages").map(drop)
    }

    /// Fetches `packages` and all that they depend on, and returns the files in a fixed order.
    pub fn download(&self, packages: &[String], report: Report<'_>) -> Result<Vec<Deb>, ImageError> {
        self.check_names(packages)?;
        let debs = self.closure(packages)?;
        let total = debs.iter().map(|deb| deb.size).sum();
        let mut tick = || {
            let done = debs.iter().map(|deb| self.present_bytes(deb)).sum();
            report(Progress {
                stage: Stage::Download,
                done,
                total,
                unit: Unit::Bytes,
            });
        };
        tick();
        let mut command = self.command(APT_GET);
        command
            .args(["-q", "-y", "--download-only", "install"])
            .args(packages);
        tools::watch(
            &mut command,
            "downloading packages",
            &self.directory.join("download.log"),
            &mut tick,
        )?;
        tick();
        Ok(debs)
    }

    /// Refuses names that apt would read as an option, a removal (`name-`), a pattern or a file.
    pub fn check_names(&self, packages: &[String]) -> Result<(), ImageError> {
        for package in packages {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
            let starts_well = package.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !starts_well || !package.chars().all(plain) || package.ends_with('-') {
                return Err(ImageError::Option(format!(
                    "`{package}` is not the name of a Debian package"
                )));
            }
        }
        Ok(())
    }

    /// The proxies of the machine's apt configuration, as options and values.
    pub fn proxies(&self) -> Result<Vec<(String, String)>, ImageError> {
        let mut command = self.command(APT_CONFIG);
        let printed = tools::run(
            command.args(["dump", "--format", "%F %v%n", "Acquire"]),
            "reading apt's settings",
        )?;
        let pairs = printed.lines().filter_map(|line| line.split_once(' '));
        let proxies = pairs.filter(|(option, value)| is_proxy(option) && !value.is_empty());
        Ok(proxies
            .map(|(option, value)| (option.to_owned(), value.to_owned()))
            .collect())
    }

    /// Takes a downloaded package apart into `directory`. No script of the package runs.
    pub fn unpack(&self, deb: &Deb, directory: &Path) -> Result<(), ImageError> {
        fs::create_dir_all(directory).map_err(ImageError::file("create", directory))?;
        let mut command = tools::command(DPKG_DEB);
        command.arg("--extract").arg(self.path(deb)).arg(directory);
        tools::run(&mut command, "unpacking a package").map(drop)
    }

    /// Writes what a downloaded package says of itself, its maintainer scripts among it, into `directory`.
    pub fn unpack_control(&self, deb: &Deb, directory: &Path) -> Result<(), ImageError> {
        fs::create_dir_all(directory).map_err(ImageError::file("create", directory))?;
        let mut command = tools::command(DPKG_DEB);
        command.arg("--control").arg(self.path(deb)).arg(directory);
        tools::run(&mut command, "reading a package").map(drop)
    }

    /// The paths of a downloaded package that are not root's, each with the names of its user and its group.
    /// Unpacked files cannot tell: they belong to whoever builds the image.
    pub fn owned(&self, deb: &Deb) -> Result<Vec<Owned>, ImageError> {
        let mut command = tools::command(DPKG_DEB);
        command.arg("--contents").arg(self.path(deb));
        let printed = tools::run(&mut command, "listing a package")?;
        Ok(printed.lines().filter_map(parse_contents_line).collect())
    }

    /// Path of a downloaded package's file.
    fn path(&self, deb: &Deb) -> PathBuf {
        self.directory.join("archives").join(&deb.file)
    }

    /// All packages that `packages` need, themselves included, whether downloaded already or not.
    fn closure(&self, packages: &[String]) -> Result<Vec<Deb>, ImageError> {
        let mut command = self.command(APT_GET);
        // With an empty archive directory, apt lists the packages that it has, too.
        let empty = format!("Dir::Cache::archives={}", self.directory.join("none").display());
        command
            .args(["-qq", "-y", "-o", &empty, "--print-uris", "install"])
            .args(packages);
        let printed = tools::run(&mut command, "choosing packages").map_err(ImageError::of_choosing)?;
        let debs: Vec<Deb> = printed.lines().filter_map(parse_uri_line).collect();
        if debs.is_empty() {
            return Err(ImageError::package(
                packages.join(" "),
                "apt would install nothing",
            ));
        }
        Ok(debs)
    }

    fn present_bytes(&self, deb: &Deb) -> u64 {
        let whole = self.path(deb);
        let partial = self.directory.join("archives/partial").join(&deb.file);
        fs::metadata(whole)
            .or_else(|_| fs::metadata(partial))
            .map_or(0, |data| data.len().min(deb.size))
    }

    fn command(&self, tool: tools::Tool) -> Command {
        let mut command = tools::command(tool);
        command.arg("-c").arg(self.directory.join("apt.conf"));
        command
    }
}

fn is_proxy(option: &str) -> bool {
    matches!(
        option,
        "Acquire::http::Proxy" | "Acquire::https::Proxy" | "Acquire::http::Proxy-Auto-Detect"
    )
}

/// Reads a line of `apt-get --print-uris`: `'uri' name_version_architecture.deb size hash`.
fn parse_uri_line(line: &str) -> Option<Deb> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
    let file = words.next()?;
    let size = words.next()?.parse().ok()?;
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (package, version) = (parts.next()?, parts.next()?);
    Some(Deb {
        package: package.to_owned(),
        version: version.replace("%3a", ":"),
        file: file.to_owned(),
        size,
    })
}

/// Reads a line of `dpkg-deb --contents`: `drwxr-xr-x user/group size date time ./path[ -> target]`. A line
/// of a path that is root's gives nothing.
fn parse_contents_line(line: &str) -> Option<Owned> {
    let mut words = line.split_whitespace();
    let (user, group) = words.nth(1)?.split_once('/')?;
    let (_, path) = line.split_once(" ./")?;
    let path = path.split(" -> ").next()?.trim_end_matches('/');
    let is_roots = user == "root" && group == "root";
    (!is_roots && !path.is_empty()).then(|| Owned {
        path: path.to_owned(),
        user: user.to_owned(),
        group: group.to_owned(),
    })
}

/// A dpkg status file in which the stand-ins are installed, in a version above all others (epochs included).
fn status(wanted: &[String]) -> String {
    let mut text = String::new();
    for package in STAND_INS
        .iter()
        .filter(|package| !wanted.iter().any(|name| name == *package))
    {
        text += &format!(
            "Package: {package}\nStatus: install ok installed\nPriority: optional\nSection: misc\n\
             Maintainer: Lockstep <nobody@localhost>\nArchitecture: {ARCHITECTURE}\nVersion: 99:9999\n\
             Description: stand-in\n\n"
        );
    }
    text
}

/// The configuration is read after the machine's own, which may hold the proxy that a site needs; everything
/// else that could matter is set back to what it should be.
fn configuration(directory: &Path) -> Result<String, ImageError> {
    let directory = directory
        .to_str()
        .filter(|path| !path.contains(['"', '\\', '\n']))
        .ok_or_else(|| {
            ImageError::Option(format!(
                "the cache directory {} has a name that apt cannot use",
                directory.display()
            ))
        })?;
    Ok(format!(
        r#"#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::State "{directory}";
Dir::State::lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::State::extended_states "{directory}/extended_states";
Dir::Cache "{directory}";
Dir::Cache::archives "{directory}/archives";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{directory}";
APT::Architecture "{ARCHITECTURE}";
APT::Architectures {{ "{ARCHITECTURE}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Get::Fix-Missing "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
// The unprivileged user that root's apt downloads as cannot write in a user's cache.
APT::Sandbox::User "root";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_line_gives_package_version_file_and_size() {
        let line = "'http://mirror.example/pool/r/redis-tools_8.0.2-3%2bdeb13u2_riscv64.deb' \
                    redis-tools_5%3a8.0.2-3+deb13u2_riscv64.deb 1305104 MD5Sum:d186";
        let expected = Deb {
            package: "redis-tools".into(),
            version: "5:8.0.2-3+deb13u2".into(),
            file: "redis-tools_5%3a8.0.2-3+deb13u2_riscv64.deb".into(),
            size: 1_305_104,
        };
        assert_eq!(parse_uri_line(line), Some(expected));
        assert_eq!(parse_uri_line("Reading package lists..."), None);
    }

    #[test]
    fn contents_line_gives_path_user_and_group_unless_they_are_roots() {
        let owned = Owned {
            path: "var/log/lighttpd".into(),
            user: "www-data".into(),
            group: "adm".into(),
        };
        let line = "drwxr-x--- www-data/adm          0 2025-05-12 05:40 ./var/log/lighttpd/";
        assert_eq!(parse_contents_line(line), Some(owned));
        let line = "-rwxr-xr-x root/root     35032 2025-06-29 17:40 ./usr/sbin/lighttpd";
        assert_eq!(parse_contents_line(line), None);
        assert_eq!(
            parse_contents_line("drwxr-xr-x user/group 0 2025-05-12 05:40 ./"),
            None
        );
    }

    #[test]
    fn wanted_package_has_no_stand_in() {
        let text = status(&["tar".to_owned()]);
        assert!(text.contains("Package: systemd\n"));
        assert!(!text.contains("Package: tar\n"));
    }

    #[test]
    fn configuration_never_switches_verification_off() {
        let text = configuration(Path::new("/tmp/x")).unwrap();
        for option in text.lines().filter(|line| line.contains("Allow")) {
            assert!(option.ends_with("\"false\";"), "{option}");
        }
        assert!(!text.contains("trusted"));
    }

    #[test]
    fn package_names_that_apt_reads_as_something_else_are_refused() {
        let apt = Apt {
            directory: "/nonexistent".into(),
        };
        for name in ["-oDebug=1", "redis-server-", "./a.deb", "a*", "A b", ""] {
            let result = apt.download(&[name.to_owned()], &mut |_| {});
            assert!(matches!(result, Err(ImageError::Option(_))), "{name}");
        }
    }
}
