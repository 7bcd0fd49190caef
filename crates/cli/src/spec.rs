//! From the words of flags and `VM.toml` to what `host` takes.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use host::arbiter::VmName;
use host::console::ConsoleSpec;
use host::net::{Endpoint, PortSpec};
use host::{DiskSpec, NetSpec, PairSpec, VmSpec};
use replica::{Span, limits::DIGEST_EVERY_DEFAULT};

use crate::vm_file::{VmFile, parse_mac, parse_size};

/// RAM of a machine that does not say.
const MEMORY_DEFAULT: u64 = 512 << 20;
/// Silence after which the other side is suspected.
const TIMEOUT_MS_DEFAULT: u64 = 500;
const TIMEOUT_MS_MIN: u64 = 100;
/// How often a watched replica writes figures.
const FIGURES_EVERY: Span = Span::from_ms(100);
/// How long a primary calls its backup.
const PATIENCE: Span = Span::from_ms(60_000);

/// The machine.
pub fn vm(file: &VmFile) -> Result<VmSpec> {
    let memory = file.memory.as_deref().map_or(Ok(MEMORY_DEFAULT), parse_size)?;
    let harts = file.harts.unwrap_or(1);
    if harts == 0 || harts > machine::config::HARTS_MAX {
        bail!("{harts} harts: give 1 to {}", machine::config::HARTS_MAX);
    }
    Ok(VmSpec {
        name: VmName::new(file.name.as_deref().unwrap_or("vm"))?,
        memory,
        harts,
        firmware: file.firmware.clone(),
        kernel: file.kernel.clone(),
        initrd: file.initrd.clone(),
        append: file.append.clone().unwrap_or_default(),
        disks: file.disk.iter().map(|text| disk(text)).collect::<Result<_>>()?,
        nets: net(file)?,
        serial: console(file.serial.as_deref().unwrap_or("stdio")),
        digest_every: Some(DIGEST_EVERY_DEFAULT),
        events: None,
        figures_every: None,
        sandbox: false,
    })
}

/// The machine and its pair. `events`: where a watching program reads.
pub fn pair(file: &VmFile, events: Option<std::path::PathBuf>) -> Result<(VmSpec, PairSpec)> {
    let mut vm = vm(file)?;
    vm.figures_every = events.as_ref().map(|_| FIGURES_EVERY);
    vm.events = events;
    let Some(address) = &file.backup else {
        bail!(
            "where is the backup? give `--backup HOST:PORT`: the backup listens there, the primary connects"
        );
    };
    let Some(arbiter) = file.arbiter.clone() else {
        bail!(
            "no arbiter: give `--arbiter DIR`, a directory that both hosts share; without one both could go live"
        );
    };
    let key = match (&file.key, file.insecure) {
        (Some(_), true) => bail!("`key` and `insecure` exclude each other"),
        (None, false) => bail!(
            "no key: make one with `openssl rand -hex 32 > vm.key`, copy it to both hosts, give `--key vm.key`"
        ),
        (key, _) => key.clone(),
    };
    let timeout_ms = file.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT);
    if timeout_ms < TIMEOUT_MS_MIN {
        bail!("timeout_ms = {timeout_ms} is too short: give at least {TIMEOUT_MS_MIN}");
    }
    let timeout = Span::from_ms(timeout_ms);
    Ok((
        vm,
        PairSpec {
            address: socket_address(address)?,
            key,
            arbiter,
            timeout,
            patience: PATIENCE,
        },
    ))
}

/// `HOST:PORT`, the host by name or number.
pub fn socket_address(text: &str) -> Result<SocketAddr> {
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| format!("`{text}` is no address; give HOST:PORT"))?;
    addresses
        .next()
        .with_context(|| format!("`{text}` has no address"))
}

fn disk(text: &str) -> Result<DiskSpec> {
    let mut parts = text.split(',');
    let path = parts.next().unwrap_or_default().into();
    let mut disk = DiskSpec {
        path,
        read_only: false,
        serial: String::new(),
    };
    for option in parts {
        match option.split_once('=').unwrap_or((option, "")) {
            ("readonly", "") => disk.read_only = true,
            ("format", "raw") => {}
            ("format", other) => {
                bail!("disk format `{other}` is not supported; convert it with `qemu-img convert -O raw`")
            }
            ("serial", serial) => serial.clone_into(&mut disk.serial),
            _ => bail!("unknown disk option `{option}`; use readonly, format=raw or serial=TEXT"),
        }
    }
    Ok(disk)
}

fn net(file: &VmFile) -> Result<Vec<NetSpec>> {
    let mac = file.mac.as_deref().map(parse_mac).transpose()?;
    let text = file.net.as_deref().unwrap_or("none");
    let port = match text.split_once('=') {
        None if text == "none" => return Ok(Vec::new()),
        Some(("tap", name)) => PortSpec::Tap(name.to_owned()),
        Some(("gateway", endpoint)) => PortSpec::Gateway(Endpoint::parse(endpoint)),
        _ => bail!("unknown net `{text}`; use gateway=HOST:PORT, gateway=SOCKET, tap=NAME or none"),
    };
    Ok(vec![NetSpec { mac, port }])
}

fn console(text: &str) -> ConsoleSpec {
    match text.split_once(':') {
        Some(("unix", path)) => ConsoleSpec::Socket(path.into()),
        _ if text == "stdio" => ConsoleSpec::Stdio,
        _ if text == "none" => ConsoleSpec::None,
        _ => ConsoleSpec::File(text.into()),
    }
}
