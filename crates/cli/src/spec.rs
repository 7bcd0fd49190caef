//! From the words of flags and `VM.toml` to what `host` takes.
//!
//! Each word is checked here, with a sentence that says what to write instead; no file is opened.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use arbiter::Place;
use console::ConsoleSpec;
use host::build::{InterpreterOptions, Translate};
use host::{Alone, AttendSpec, DiskSecurity, FirmwareSpec, NetSpec, PairSpec, ProtectSpec, VmSpec};
use link::KeyFile;
use machine::Transport;
use ports::{Endpoint, PortSpec};
use replica::limits::{DIGEST_EVERY_DEFAULT, SPEED_MIN_DEFAULT};
use replica::{Hello, OnSlow, Span};
use report::OnPanic;

use crate::args::{Engine, EngineArgs, EventsArgs, PairArgs, PanicPolicy, SlowPolicy};
use crate::values::{self, Plug};
use crate::vm_file::{FIRMWARE_DEFAULT, FIRMWARE_NONE, FIRMWARE_UBOOT, VmFile};

/// The word by which a primary starts this program as its watcher. No command for people has it.
pub const WATCHER: &str = "watcher";
/// Name of a VM whose file and flags do not say.
const NAME_DEFAULT: &str = "vm";
/// RAM in bytes of a machine whose file and flags do not say.
const MEMORY_DEFAULT: u64 = 512 << 20;
/// Silence in milliseconds after which the other side is suspected, if nothing else is said.
const TIMEOUT_MS_DEFAULT: u64 = 500;
/// So long a start waits at least, if an owner of the VM was killed, for a backup that may go on with it.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(10);
/// Time for which a primary calls its backup.
const PATIENCE: Span = Span::from_ms(60_000);

/// The machine of a file.
pub fn vm(file: &VmFile) -> Result<VmSpec> {
    let (memory, virtio) = (file.memory.as_deref(), file.virtio.as_deref());
    Ok(VmSpec {
        name: values::name(file.name.as_deref().unwrap_or(NAME_DEFAULT))?,
        memory: memory.map_or(Ok(MEMORY_DEFAULT), values::memory)?,
        harts: file.harts.unwrap_or(1),
        firmware: firmware(file),
        kernel: file.kernel.clone(),
        initrd: file.initrd.clone(),
        append: file.append.clone().unwrap_or_default(),
        disks: file
            .disk
            .iter()
            .map(|text| values::disk(text))
            .collect::<Result<_>>()?,
        disk_security: match (&file.key, file.insecure) {
            (Some(path), _) => DiskSecurity::Key(key_file(path, file)),
            (None, true) => DiskSecurity::Insecure,
            (None, false) => DiskSecurity::Unsaid,
        },
        cloud_init: cloud_init(file)?,
        nets: net(file)?,
        virtio: virtio.map_or(Ok(Transport::Modern), values::virtio)?,
        serial: console(file.serial.as_deref().unwrap_or("stdio")),
        digest_every: Some(DIGEST_EVERY_DEFAULT),
        events: None,
        figures_every: None,
        on_panic: file.on_panic.map_or_else(OnPanic::default, OnPanic::from),
        alone: Alone::Unchecked,
        local: None,
        protect: None,
        control: file.name.is_some(),
        sandbox: false,
    })
}

/// The machine of a file that runs alone. What keeps it from being started twice is its arbiter, or else its
/// name, if it has one of its own.
pub fn alone(file: &VmFile) -> Result<VmSpec> {
    let mut vm = vm(file)?;
    vm.alone = match (&file.arbiter, &file.name) {
        (Some(place), _) => Alone::Arbiter {
            place: place.clone(),
            patience: TAKEOVER_PATIENCE.max(Duration::from_nanos(timeout(file).0) * 4),
        },
        (None, Some(_)) => Alone::Locally,
        (None, None) => Alone::Unchecked,
    };
    vm.local = Some(local_directory());
    vm.protect = protect(file)?;
    Ok(vm)
}

/// What a VM needs to get a backup while it runs, if the file has an arbiter and a key.
fn protect(file: &VmFile) -> Result<Option<ProtectSpec>> {
    if file.key.is_some() && file.insecure {
        bail!("`key` and `insecure` exclude each other; leave one of them out");
    }
    let may = file.arbiter.is_some() && (file.key.is_some() || file.insecure);
    Ok(may.then(|| ProtectSpec {
        key: file.key.as_deref().map(|path| key_file(path, file)),
        timeout: timeout(file),
        settings: file.settings(),
        timeout_only: file.timeout_only,
        on_slow: on_slow(file),
        watcher: watcher(),
    }))
}

/// What becomes of a backup of this VM that is too slow.
fn on_slow(file: &VmFile) -> OnSlow {
    match file.on_slow {
        None | Some(SlowPolicy::Drop) => OnSlow::Drop(file.min_speed.unwrap_or(SPEED_MIN_DEFAULT)),
        Some(SlowPolicy::Follow) => OnSlow::Follow,
    }
}

/// The program that watches a live process, with its arguments.
fn watcher() -> Vec<std::ffi::OsString> {
    vec!["/proc/self/exe".into(), WATCHER.into()]
}

/// A host that waits for whichever VM comes.
pub fn attend(listen: &str, file: &VmFile, images: PathBuf) -> Result<AttendSpec> {
    if file.key.is_none() && !file.insecure {
        bail!("a host that waits for VMs needs `--key`, the key that it shares with the hosts of those VMs");
    }
    Ok(AttendSpec {
        address: values::resolve(listen)?,
        key: file.key.as_deref().map(|path| key_file(path, file)),
        timeout: timeout(file),
        images,
        patience: None,
    })
}

/// The VM that has come to a waiting host, whose own settings are in `ours`.
pub fn of_visitor(hello: &Hello, ours: &VmFile, events: &EventsArgs) -> Result<(VmSpec, PairSpec)> {
    let header = hello.header.as_ref();
    let header = header.ok_or_else(|| anyhow::anyhow!("it does not say what machine it has"))?;
    let mut file = VmFile::of_settings(&hello.settings)?;
    file.name = Some(hello.vm.clone());
    file.harts = usize::try_from(header.harts).ok();
    file.key.clone_from(&ours.key);
    file.allow_open_key = ours.allow_open_key;
    file.insecure = ours.insecure;
    file.timeout_only |= ours.timeout_only;
    file.serial.clone_from(&ours.serial);
    file.on_panic = ours.on_panic;
    let mut vm = vm(&file)?;
    vm.memory = header.memory;
    vm.append.clone_from(&header.command_line);
    tell(&mut vm, events);
    vm.local = Some(local_directory());
    vm.protect = protect(&file)?;
    let Some(arbiter) = file.arbiter.clone() else {
        bail!("it names no arbiter");
    };
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    let pair = pair_at(address, arbiter, hello.timeout, &file);
    Ok((vm, pair))
}

/// This user's directory for what processes of this host tell each other, which is empty after a boot: in
/// XDG_RUNTIME_DIR if that is this user's. A process that has become another user has its old one's.
pub fn local_directory() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.metadata().is_ok_and(|data| data.uid() == user));
    match runtime {
        Some(path) => path.join("lockstep"),
        None if user == 0 => "/run/lockstep".into(),
        None => format!("/tmp/lockstep-{user}").into(),
    }
}

/// The machine of a file, its pair, and what a watching program reads.
pub fn pair(file: &VmFile, args: &PairArgs) -> Result<(VmSpec, PairSpec)> {
    complain_of_missing(file)?;
    let mut vm = vm(file)?;
    tell(&mut vm, &args.events);
    vm.local = Some(local_directory());
    vm.protect = protect(file)?;
    let address = values::resolve(file.backup.as_deref().unwrap_or_default())?;
    let Some(arbiter) = file.arbiter.clone() else {
        bail!("a pair needs an arbiter");
    };
    Ok((vm, pair_at(address, arbiter, timeout(file), file)))
}

/// The pair of a file, whose backup listens at this address.
fn pair_at(address: SocketAddr, arbiter: Place, timeout: Span, file: &VmFile) -> PairSpec {
    PairSpec {
        address,
        key: file.key.as_deref().map(|path| key_file(path, file)),
        arbiter,
        timeout,
        patience: PATIENCE,
        timeout_only: file.timeout_only,
        on_slow: on_slow(file),
        // This very program, also where its file was replaced by another release since.
        watcher: watcher(),
    }
}

/// The failure-detection timeout of a file.
fn timeout(file: &VmFile) -> Span {
    Span::from_ms(file.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT))
}

/// How to execute; says so where it is slower than it could be.
pub fn engine(args: &EngineArgs) -> InterpreterOptions {
    let translate = match args.engine {
        Engine::Interpreter => Translate::Never,
        // What drops caches at random is there to find mistakes.
        Engine::Translator if args.zeal.is_some() => Translate::Always,
        Engine::Translator => Translate::Hot,
    };
    if translate != Translate::Never
        && let Err(why) = host::build::can_translate()
    {
        tell!("lockstep: {why}; every instruction is interpreted, which is several times slower");
    }
    InterpreterOptions {
        zeal: args.zeal,
        translate,
        ..InterpreterOptions::default()
    }
}

/// Has the machine tell programs what happens, as the flags say.
pub fn tell(vm: &mut VmSpec, args: &EventsArgs) {
    vm.events.clone_from(&args.events);
    vm.figures_every = args.figures_every.map(Span::from_ms);
}

/// An error that names all that a pair needs and that neither the file nor a flag gives.
fn complain_of_missing(file: &VmFile) -> Result<()> {
    let needed = [
        (
            file.kernel.is_none() && file.firmware.is_none(),
            "kernel (a RISC-V Linux Image) or firmware",
        ),
        (
            file.backup.is_none(),
            "backup (HOST:PORT: the backup listens there, the primary connects)",
        ),
        (
            file.arbiter.is_none(),
            "arbiter (a directory that both hosts share, or an etcd; without one both could go live)",
        ),
        (
            file.key.is_none() && !file.insecure,
            "key (make one with `(umask 077; openssl rand -hex 32 > vm.key)` and copy it to both hosts)",
        ),
    ];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter_map(|(is_missing, what)| is_missing.then_some(what))
        .collect();
    let settings = match missing.len() {
        0 => return Ok(()),
        1 => "one more setting",
        2 => "two more settings",
        3 => "three more settings",
        _ => "four more settings",
    };
    bail!(
        "a pair needs {settings}, in VM.toml or as flags (`--backup` and so on): {}",
        missing.join(", ")
    )
}

fn firmware(file: &VmFile) -> FirmwareSpec {
    let Some(path) = &file.firmware else {
        return FirmwareSpec::Distribution;
    };
    match path.to_str() {
        Some(FIRMWARE_NONE) => FirmwareSpec::None,
        // `boots` has named the kernel then, or a log or snapshot names both.
        Some(FIRMWARE_DEFAULT | FIRMWARE_UBOOT) => FirmwareSpec::Distribution,
        _ => FirmwareSpec::File(path.clone()),
    }
}

/// The disk for cloud-init, if its texts were read.
fn cloud_init(file: &VmFile) -> Result<Option<Arc<[u8]>>> {
    let name = file.name.as_deref().unwrap_or(NAME_DEFAULT);
    let texts = file.cloud_init_texts.as_ref();
    Ok(texts.map(|texts| texts.disk(name)).transpose()?.map(Arc::from))
}

fn net(file: &VmFile) -> Result<Vec<NetSpec>> {
    let mac = file.mac.as_deref().map(values::mac).transpose()?;
    let text = file.net.as_deref().unwrap_or("none");
    let port = match values::net(text)? {
        None => return Ok(Vec::new()),
        Some((Plug::Tap, name)) => PortSpec::Tap(name.to_owned()),
        Some((Plug::Gateway, rest)) => gateway(rest, file)?,
    };
    Ok(vec![NetSpec { mac, port }])
}

/// Reads `HOST:PORT` or a socket, with `key=FILE` or `insecure` behind it. Over TCP the pair's key is the
/// default.
fn gateway(text: &str, file: &VmFile) -> Result<PortSpec> {
    let mut parts = text.split(',');
    let endpoint = values::endpoint(parts.next().unwrap_or_default())?;
    let mut key = None;
    let mut insecure = false;
    for option in parts {
        match option.split_once('=').unwrap_or((option, "")) {
            ("key", path) if !path.is_empty() => key = Some(path.into()),
            ("insecure", "") => insecure = true,
            _ => bail!("unknown gateway option `{option}`; use key=FILE or insecure"),
        }
    }
    if key.is_some() && insecure {
        bail!("net `gateway={text}`: `key` and `insecure` exclude each other");
    }
    if key.is_none() && !insecure && matches!(endpoint, Endpoint::Tcp(_)) {
        key.clone_from(&file.key);
        if key.is_none() {
            bail!(
                "no key for the gateway at {endpoint}: write `gateway={endpoint},key=FILE` with the key \
                 that the gateway has, or `gateway={endpoint},insecure` if it was started with `--insecure`"
            );
        }
    }
    let key = key.map(|path: PathBuf| key_file(&path, file));
    Ok(PortSpec::Gateway { endpoint, key })
}

fn key_file(path: &Path, file: &VmFile) -> KeyFile {
    KeyFile {
        path: path.into(),
        though_open: file.allow_open_key,
    }
}

fn console(text: &str) -> ConsoleSpec {
    match text.split_once(':') {
        Some(("unix", path)) => ConsoleSpec::Socket(path.into()),
        Some(("keys", path)) => ConsoleSpec::Keys(path.into()),
        _ if text == "stdio" => ConsoleSpec::Stdio,
        _ if text == "none" => ConsoleSpec::None,
        _ => ConsoleSpec::File(text.into()),
    }
}

impl From<PanicPolicy> for OnPanic {
    fn from(policy: PanicPolicy) -> OnPanic {
        match policy {
            PanicPolicy::Keep => OnPanic::Keep,
            PanicPolicy::Stop => OnPanic::Stop,
            PanicPolicy::Reset => OnPanic::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtio_is_modern_unless_the_file_says_legacy() {
        let of = |virtio: Option<&str>| {
            let virtio = virtio.map(Into::into);
            vm(&VmFile {
                virtio,
                ..VmFile::default()
            })
            .map(|spec| spec.virtio)
        };
        assert_eq!(of(None).unwrap(), Transport::Modern);
        assert_eq!(of(Some("legacy")).unwrap(), Transport::Legacy);
        let error = of(Some("1")).unwrap_err().to_string();
        assert!(
            error.ends_with("use modern (version 2 of virtio-mmio) or legacy (version 1)"),
            "{error}"
        );
    }

    fn port(net: &str, key: Option<&str>) -> Result<(Endpoint, Option<String>)> {
        let file = VmFile {
            net: Some(net.to_owned()),
            key: key.map(Into::into),
            ..VmFile::default()
        };
        let Some(PortSpec::Gateway { endpoint, key }) = super::net(&file)?.pop().map(|net| net.port) else {
            bail!("no gateway")
        };
        Ok((endpoint, key.map(|key| key.path.display().to_string())))
    }

    #[test]
    fn a_gateway_over_tcp_has_the_pairs_key_unless_told_otherwise() {
        let key = |net: &str| port(net, Some("pair.key")).unwrap().1;
        assert_eq!(key("gateway=127.0.0.1:7700").as_deref(), Some("pair.key"));
        assert_eq!(
            key("gateway=127.0.0.1:7700,key=own.key").as_deref(),
            Some("own.key")
        );
        assert_eq!(key("gateway=127.0.0.1:7700,insecure"), None);
        assert_eq!(key("gateway=/run/gateway"), None);
        assert_eq!(
            key("gateway=/run/gateway,key=own.key").as_deref(),
            Some("own.key")
        );
        assert_eq!(
            port("gateway=/run/gateway,key=own.key", None).unwrap().0,
            Endpoint::Unix("/run/gateway".into())
        );
    }

    #[test]
    fn a_gateway_over_tcp_without_a_key_must_be_asked_for() {
        let error = port("gateway=127.0.0.1:7700", None).unwrap_err().to_string();
        assert!(error.contains("gateway=127.0.0.1:7700,key=FILE"), "{error}");
        for wrong in ["gateway=x,key=", "gateway=x,secure", "gateway=x,key=k,insecure"] {
            assert!(port(wrong, None).is_err(), "{wrong}");
        }
    }
}
