//! The appliance: Debian's kernel and an initramfs with busybox and one service, made without root in
//! seconds.
//!
//! `cli` calls [`build_appliance`] for `lockstep image appliance` and for the demo; `cache` has the result,
//! or has it built here. Nothing of the guest may run while it is made: `apt` downloads, `dpkg-deb` unpacks,
//! `assemble` chooses, and the tree is written as a cpio archive. Process 1 is our own shell script
//! (`guest/init.sh`), which obeys these kernel parameters:
//!
//! | parameter | meaning |
//! |---|---|
//! | `lockstep.run=NAME` | starts `redis`, `command` (given as `run`), `none`, `poweroff` after boot |
//! | `lockstep.script=NAME` | no service: run that script of the image when booted, then power off |
//! | `lockstep.data=/dev/vda` | mount that ext4 disk on /data; Redis then keeps its append-only file there |
//! | `lockstep.shell` | a shell on ttyS0 |
//!
//! On the console the appliance prints `lockstep-appliance: ready after S s` when the service answers (and
//! the network has an address), and `lockstep-appliance: poweroff (WHY)` before it powers the machine off. It
//! powers off when the service and all that it started have ended (so that Redis' `SHUTDOWN` is a remote
//! power-off), and when the line `poweroff` is typed on ttyS0. If the service ended with another status than
//! 0, the board is told that the guest failed with that status.
//!
//! `guest/fsync-check.sh` is in the image as `lockstep-fsync-check`. With `--run`, Redis is left out unless
//! its package is named; the command may start it as `/etc/lockstep/services/redis &`.

use std::fs;
use std::path::{Path, PathBuf};

use rehearsal::{Node, Package, Scripts, Tree, Undone};

use super::SUITE;
use super::apt::{Apt, Deb};
use super::assemble;
use super::boot_files::{self, FIRMWARE, FIRMWARE_PACKAGE, INITRD, KERNEL};
use super::cache::{Cache, Key};
use super::cpio;
use super::error::ImageError;
use super::interpreters;
use super::mirror::Archive;
use super::modules::{KernelModules, Module};
use super::progress::{Progress, Report, Stage, Unit};
use super::system::{self, BASE_PACKAGES};
use super::tools::{self, APT_GET, DPKG_DEB};

/// The kernel command line that boots an appliance with the fewest instructions.
///
/// Measured from reset to a Redis that answers: 1.95 billion instructions with `quiet` alone, 0.45 billion
/// with all of it. `cryptomgr.notests` skips the self-tests of ciphers (0.83 billion). The three initcalls
/// measure the processor's jitter as an entropy source (0.17; there is virtio-rng), load the key for signed
/// modules (0.03) and prepare the names of constants for tracing (0.07).
pub const APPLIANCE_APPEND: &str = "console=ttyS0 quiet cryptomgr.notests \
     initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init";

/// Version of this builder, raised when the image that it makes of the same options changes.
const BUILDER_VERSION: u32 = 2;

const INIT: &str = include_str!("guest/init.sh");
const DHCP: &str = include_str!("guest/dhcp.sh");
const REDIS: &str = include_str!("guest/redis.sh");
pub(super) const FSYNC_CHECK: &str = include_str!("guest/fsync-check.sh");

/// The package that depends on the current kernel.
const KERNEL_PACKAGE: &str = "linux-image-riscv64";
pub(super) const BUSYBOX_PACKAGE: &str = "busybox-static";
const REDIS_PACKAGE: &str = "redis-server";

/// Modules that every boot loads. `af_packet` is for DHCP, and is built into today's kernel.
const BOOT_MODULES: [&str; 4] = ["virtio_mmio", "virtio_net", "virtio_rng", "af_packet"];

/// Modules that a boot with a data disk loads too. ext4 asks for `crc32c` by an alias, not as a dependency.
const DISK_MODULES: [&str; 3] = ["virtio_blk", "crc32c_generic", "ext4"];

/// Name of the file that lists the packages of an image.
const MANIFEST: &str = "packages";

/// Name of the file that lists what the maintainer scripts of packages would have done besides, a line for
/// each package: its name, a tab, and what.
const UNDONE: &str = "undone";

/// The options of an appliance.
#[derive(Clone, Debug, Default)]
pub struct ApplianceOptions {
    /// Debian packages to put in, with all that they depend on.
    pub packages: Vec<String>,
    /// A shell command line to start in place of Redis. The machine powers off when it ends.
    pub run: Option<String>,
    /// The TCP port on which that command answers when it is ready. Without a port the appliance is ready at
    /// once.
    pub port: Option<u16>,
    /// Files to put in as scripts for `lockstep.script=`, each under its file name.
    pub scripts: Vec<PathBuf>,
    /// Build even if the cache has the image.
    pub rebuild: bool,
    /// Directory in which images are kept; the user's cache if absent.
    pub cache: Option<Cache>,
    /// Address of the Debian mirror; the mirror of the machine's apt configuration if absent.
    pub mirror: Option<String>,
}

/// A finished appliance. The files belong to the cache: read them, never write them.
#[derive(Clone, Debug)]
pub struct Appliance {
    /// The kernel, a flat RISC-V Image.
    pub kernel: PathBuf,
    /// The initramfs, not compressed.
    pub initrd: PathBuf,
    /// OpenSBI's `fw_dynamic.bin`.
    pub firmware: PathBuf,
    /// The packages inside, a line `name version` each.
    pub manifest: PathBuf,
    /// The kernel command line with which to boot; parameters of the module's table may be added.
    pub append: String,
    /// What the maintainer scripts of packages would do that is not in the image.
    pub undone: Vec<Undone>,
}

/// A script with its name in the image.
type Script = (String, Vec<u8>);

/// Builds an appliance, or finds it in the cache.
pub fn build_appliance(
    options: &ApplianceOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Appliance, ImageError> {
    let cache = options.cache.clone().map_or_else(Cache::of_user, Ok)?;
    let scripts = options
        .scripts
        .iter()
        .map(|path| read_script(path))
        .collect::<Result<Vec<_>, _>>()?;
    let build = |output: &Path, report: Report<'_>| {
        tools::require(&[APT_GET, DPKG_DEB])?;
        build(&cache, options, &scripts, output, report)
    };
    let directory = cache.find_or_build(&key(options, &scripts), options.rebuild, progress, build)?;
    Ok(Appliance {
        kernel: directory.join(KERNEL),
        initrd: directory.join(INITRD),
        firmware: directory.join(FIRMWARE),
        manifest: directory.join(MANIFEST),
        append: APPLIANCE_APPEND.to_owned(),
        undone: read_undone(&directory.join(UNDONE))?,
    })
}

fn read_undone(path: &Path) -> Result<Vec<Undone>, ImageError> {
    let text = fs::read_to_string(path).map_err(ImageError::file("read", path))?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines
        .map(|(package, what)| Undone {
            package: package.to_owned(),
            what: what.to_owned(),
        })
        .collect())
}

fn key(options: &ApplianceOptions, scripts: &[Script]) -> Key {
    let mut key = Key::new("appliance", BUILDER_VERSION)
        .with(SUITE.as_bytes())
        .with_all(&[INIT, DHCP, REDIS, FSYNC_CHECK])
        .with_all(&packages(options))
        .with_all(options.run.as_slice())
        .with(&options.port.unwrap_or_default().to_le_bytes())
        .with_all(options.mirror.as_slice());
    for (name, text) in scripts {
        key = key.with(name.as_bytes()).with(text);
    }
    key
}

/// The packages whose files make the guest's tree.
fn packages(options: &ApplianceOptions) -> Vec<String> {
    let mut packages = vec![BUSYBOX_PACKAGE.to_owned()];
    packages.extend(BASE_PACKAGES.map(str::to_owned));
    if options.run.is_none() {
        packages.push(REDIS_PACKAGE.to_owned());
    }
    packages.extend(options.packages.iter().cloned());
    packages.sort();
    packages.dedup();
    packages
}

fn read_script(path: &Path) -> Result<Script, ImageError> {
    let text = fs::read(path).map_err(ImageError::file("read the script", path))?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // The name becomes a kernel parameter's value.
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        let reason = "only letters, digits and ._- can be in the name of a script";
        return Err(ImageError::Option(format!(
            "{} cannot be used: {reason}",
            path.display()
        )));
    }
    Ok((name.to_owned(), text))
}

fn build(
    cache: &Cache,
    options: &ApplianceOptions,
    scripts: &[Script],
    output: &Path,
    report: Report<'_>,
) -> Result<(), ImageError> {
    let mut wanted = packages(options);
    let archive = Archive::of_this_machine(options.mirror.as_deref())?;
    let work = output.join("work");
    let mut unpacked = fetch(cache, &archive, &wanted, &work, report)?;
    let mut tree = assemble::package_files(&work.join(ROOT))?;
    let interpreters = interpreters::missing(&tree);
    if !interpreters.is_empty() {
        wanted.extend(interpreters.into_iter().map(str::to_owned));
        fs::remove_dir_all(&work).map_err(ImageError::file("remove", &work))?;
        unpacked = fetch(cache, &archive, &wanted, &work, report)?;
        tree = assemble::package_files(&work.join(ROOT))?;
    }
    report(Progress::begin(Stage::Initramfs));
    if tree.get("usr/bin/busybox").is_none() {
        return Err(ImageError::package(BUSYBOX_PACKAGE, "it has no /usr/bin/busybox"));
    }
    let undone = system::settle(&mut tree, &work.join(ROOT), &unpacked.packages)?;
    add_own_files(&mut tree, options, scripts);
    add_modules(&mut tree, &work.join("kernel"), &unpacked.kernel)?;
    boot_files::write_initramfs(&tree, &output.join(INITRD))?;
    boot_files::write_kernel(&work.join("kernel/boot"), &unpacked.kernel, &output.join(KERNEL))?;
    boot_files::copy_firmware(&work.join("firmware"), &output.join(FIRMWARE))?;
    write_lines(unpacked.manifest, &output.join(MANIFEST))?;
    let undone = undone
        .iter()
        .map(|Undone { package, what }| format!("{package}\t{what}\n"));
    write_lines(undone.collect(), &output.join(UNDONE))?;
    fs::remove_dir_all(&work).map_err(ImageError::file("remove", &work))
}

/// Name of the directory of the unpacked packages that make the guest's tree.
const ROOT: &str = "root";

/// What is known of the packages that were unpacked.
struct Unpacked {
    /// Name of the kernel's package.
    kernel: String,
    /// The packages that make the guest's tree.
    packages: Vec<Package>,
    /// A line for each package: its name and its version.
    manifest: Vec<String>,
}

/// Fetches packages with the kernel and the firmware, and unpacks each of the three kinds into a directory of
/// its own in `work`.
fn fetch(
    cache: &Cache,
    archive: &Archive,
    wanted: &[String],
    work: &Path,
    report: Report<'_>,
) -> Result<Unpacked, ImageError> {
    let apt = Apt::prepare(&cache.root().join("apt"), archive, wanted)?;
    apt.update(report)?;
    let mut all = wanted.to_vec();
    all.extend([KERNEL_PACKAGE, FIRMWARE_PACKAGE].map(str::to_owned));
    let mut debs = apt.download(&all, report)?;
    debs.sort_by(|left, right| left.package.cmp(&right.package));
    let total = debs.iter().map(|deb| deb.size).sum();
    let (mut done, mut kernel, mut packages) = (0, None, Vec::new());
    for deb in &debs {
        report(Progress {
            stage: Stage::Unpack,
            done,
            total,
            unit: Unit::Bytes,
        });
        match deb.package.as_str() {
            KERNEL_PACKAGE => continue,
            FIRMWARE_PACKAGE => apt.unpack(deb, &work.join("firmware"))?,
            name if name.starts_with("linux-image-") => {
                kernel = Some(deb.package.clone());
                apt.unpack(deb, &work.join("kernel"))?;
            }
            _ => {
                apt.unpack(deb, &work.join(ROOT))?;
                packages.push(package(&apt, deb, work)?);
            }
        }
        done += deb.size;
    }
    let manifest = debs
        .iter()
        .map(|deb| format!("{} {}\n", deb.package, deb.version));
    Ok(Unpacked {
        kernel: kernel.ok_or_else(|| ImageError::package(KERNEL_PACKAGE, "it depends on no kernel"))?,
        packages,
        manifest: manifest.collect(),
    })
}

/// What a package says of itself besides its files.
fn package(apt: &Apt, deb: &Deb, work: &Path) -> Result<Package, ImageError> {
    let control = work.join("control").join(&deb.package);
    apt.unpack_control(deb, &control)?;
    // A script that is not there is none.
    let script = |name: &str| {
        let text = fs::read(control.join(name)).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    Ok(Package {
        scripts: Scripts {
            package: deb.package.clone(),
            before: script("preinst"),
            after: script("postinst"),
        },
        owned: apt.owned(deb)?,
    })
}

/// Adds the files with which an appliance starts, and what its user has given.
fn add_own_files(tree: &mut Tree, options: &ApplianceOptions, scripts: &[Script]) {
    cpio::insert_console(tree);
    tree.insert(
        "dev/null",
        Node::Character {
            mode: 0o666,
            major: 1,
            minor: 3,
        },
    );
    tree.insert_file("init", 0o755, INIT);
    tree.insert_file("etc/lockstep/dhcp", 0o755, DHCP);
    tree.insert_file("usr/local/bin/lockstep-fsync-check", 0o755, FSYNC_CHECK);
    for (name, text) in scripts {
        tree.insert_file(&format!("etc/lockstep/scripts/{name}"), 0o755, text.clone());
    }
    add_services(tree, options);
}

/// Adds the services: for each the program, and what `/init` must know to see that the service is ready.
fn add_services(tree: &mut Tree, options: &ApplianceOptions) {
    let mut add = |name: &str, program: &str, settings: &str| {
        tree.insert_file(&format!("etc/lockstep/services/{name}"), 0o755, program);
        tree.insert_file(&format!("etc/lockstep/services/{name}.settings"), 0o644, settings);
    };
    if packages(options).iter().any(|package| package == REDIS_PACKAGE) {
        add("redis", REDIS, "service_kind=redis\nservice_port=6379\n");
    }
    if let Some(command) = &options.run {
        let port = options.port.map(|port| port.to_string()).unwrap_or_default();
        add(
            "command",
            &format!("#!/bin/sh\n{command}\n"),
            &format!("service_kind=tcp\nservice_port={port}\n"),
        );
    }
    let default = if options.run.is_some() {
        "command\n"
    } else {
        "redis\n"
    };
    tree.insert_file("etc/lockstep/default-service", 0o644, default);
}

fn add_modules(tree: &mut Tree, unpacked: &Path, package: &str) -> Result<(), ImageError> {
    let directory = boot_files::only_entry(&unpacked.join("usr/lib/modules"), "", package)?;
    let modules = KernelModules::scan(&directory, package)?;
    let boot = modules.in_load_order(&BOOT_MODULES)?;
    let mut disk = modules.in_load_order(&DISK_MODULES)?;
    disk.retain(|module| !boot.contains(module));
    for (list, modules) in [("boot", boot), ("disk", disk)] {
        let names: String = modules
            .iter()
            .map(|module| format!("{}\n", module.name))
            .collect();
        tree.insert_file(&format!("etc/lockstep/modules.{list}"), 0o644, names);
        for Module { name, data } in modules {
            tree.insert_file(&format!("usr/lib/lockstep/{name}.ko"), 0o644, data);
        }
    }
    Ok(())
}

fn write_lines(lines: Vec<String>, output: &Path) -> Result<(), ImageError> {
    fs::write(output, lines.concat()).map_err(ImageError::file("write", output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_is_in_unless_a_command_takes_its_place() {
        let mut options = ApplianceOptions::default();
        let base = ["base-files", "base-passwd", "busybox-static", "libc-bin"];
        let with = |more: &[&'static str]| [&base, more].concat();
        assert_eq!(packages(&options), with(&["redis-server"]));
        options.run = Some("httpd -f".into());
        assert_eq!(packages(&options), base);
        options.packages = vec!["redis-server".into(), "nginx-light".into()];
        assert_eq!(packages(&options), with(&["nginx-light", "redis-server"]));
    }

    #[test]
    fn services_of_a_command_appliance() {
        let mut tree = Tree::default();
        let options = ApplianceOptions {
            run: Some("httpd -f".into()),
            port: Some(80),
            ..ApplianceOptions::default()
        };
        add_services(&mut tree, &options);
        let text = |path: &str| match tree.get(path) {
            Some(Node::File { data, .. }) => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        };
        assert_eq!(text("etc/lockstep/default-service"), "command\n");
        assert_eq!(text("etc/lockstep/services/command"), "#!/bin/sh\nhttpd -f\n");
        assert!(text("etc/lockstep/services/command.settings").contains("service_port=80\n"));
        assert!(tree.get("etc/lockstep/services/redis").is_none());
    }

    #[test]
    fn every_option_changes_the_key_but_rebuild() {
        let base = ApplianceOptions::default();
        let text = |options: &ApplianceOptions, scripts: &[Script]| key(options, scripts).to_string();
        let script = ("test".to_owned(), b"true".to_vec());
        let mut keys = vec![text(&base, &[]), text(&base, &[script])];
        for options in [
            ApplianceOptions {
                packages: vec!["nginx".into()],
                ..base.clone()
            },
            ApplianceOptions {
                run: Some("true".into()),
                ..base.clone()
            },
            ApplianceOptions {
                run: Some("true".into()),
                port: Some(1),
                ..base.clone()
            },
            ApplianceOptions {
                mirror: Some("http://mirror.example/debian".into()),
                ..base.clone()
            },
        ] {
            keys.push(text(&options, &[]));
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 6);
        assert_eq!(
            text(&base, &[]),
            text(
                &ApplianceOptions {
                    rebuild: true,
                    ..base.clone()
                },
                &[]
            )
        );
    }
}
