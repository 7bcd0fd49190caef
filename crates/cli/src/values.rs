//! What single settings may be: sizes, addresses, names, ranges. Flags are checked with these functions when
//! the command line is read, the settings of `VM.toml` when the file is, and `spec` uses what
//! they give.
//!
//! Each refusal is a sentence that says what to write instead. Nothing here opens a file; only [`resolve`]
//! asks for the address of a name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use arbiter::Place;
use cable::mac::Mac;
use gateway::{Destination, Forward};
use host::{DiskFile, DiskSpec, Format};
use machine::Transport;
use machine::config::HARTS_MAX;
use ports::Endpoint;
use replica::VmName;
use replica::limits::{SPEED_MIN_MAX, TIMEOUT_MAX, TIMEOUT_MIN};
use report::amount;

use crate::usage::Unresolved;

/// RAM comes in this unit: a large page of the guest.
const MEMORY_UNIT: u64 = 2 << 20;
/// The most RAM that a machine can have.
const MEMORY_MAX: u64 = hart::ram::SIZE_MAX;
/// Failure-detection timeouts that a pair can have, in milliseconds.
const TIMEOUT_MS: RangeInclusive<u64> = TIMEOUT_MIN.0 / 1_000_000..=TIMEOUT_MAX.0 / 1_000_000;
/// Least mean speeds that a backup can be asked to leave the guest, in percent.
const MIN_SPEED: RangeInclusive<u64> = 0..=SPEED_MIN_MAX as u64;
/// Seconds for which a guest may be silent before that is told: several probes must fail for it.
const PROBE_AFTER: RangeInclusive<u64> = 5..=3_600;
/// Seconds for which the demo can load its guest.
const DEMO_SECONDS: RangeInclusive<u64> = 2..=86_400;
/// How many times the demo can kill.
const DEMO_KILLS: RangeInclusive<u64> = 1..=1_000;
/// Client connections that the demo can open.
const DEMO_CLIENTS: RangeInclusive<u64> = 1..=1_000;
/// Seconds for which a gateway can let clients wait for a guest that is away: up to a day.
const GUEST_AWAY_S: RangeInclusive<u64> = 1..=86_400;
/// The longest name of a network interface that Linux takes, in bytes (IFNAMSIZ without its end).
const INTERFACE_NAME_LEN_MAX: usize = 15;
/// Pauses between two figures, in milliseconds. Writing them more often would be most of what a replica does.
const FIGURES_EVERY_MS: RangeInclusive<u64> = 10..=86_400_000;

/// Makes a check of `clap` out of one of the functions here; the text itself is kept.
pub fn text<T: 'static>(check: fn(&str) -> Result<T>) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| match check(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// As [`text`], and gives what was read.
pub fn value<T: 'static>(read: fn(&str) -> Result<T>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| read(text).map_err(|error| format!("{error:#}"))
}

/// A check of `clap` for what a network device is plugged into; the text itself is kept.
pub fn net_text(text: &str) -> Result<String, String> {
    match net(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A size such as `512M`, `4 GiB` or `4194304`, in bytes. The units are binary, as QEMU's are.
pub fn size(text: &str) -> Result<u64> {
    let wrong = || format!("`{text}` is not a size; use for example 512M or 4G");
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or(unit.strip_suffix('i'));
    let shift = match letter.or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if letter.is_none() => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => bail!(
            "unknown unit `{}` in size `{text}`; use K, M, G or T",
            &text[digits.len()..]
        ),
    };
    let number: u64 = digits.trim_end().parse().ok().with_context(wrong)?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("size `{text}` is too large"))
}

/// The RAM of a machine, in bytes.
pub fn memory(text: &str) -> Result<u64> {
    let bytes = size(text)?;
    if bytes == 0 || !bytes.is_multiple_of(MEMORY_UNIT) || bytes > MEMORY_MAX {
        bail!(
            "{} of memory cannot be had; give a multiple of {} up to {}",
            amount::bytes(bytes),
            amount::bytes(MEMORY_UNIT),
            amount::bytes(MEMORY_MAX)
        );
    }
    Ok(bytes)
}

/// A number of harts.
pub fn harts(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(harts @ 1..=HARTS_MAX) => Ok(harts),
        _ => bail!("{text} harts cannot be had; give 1 to {HARTS_MAX}"),
    }
}

/// Which registers virtio devices have.
pub fn virtio(text: &str) -> Result<Transport> {
    match text {
        "modern" => Ok(Transport::Modern),
        "legacy" => Ok(Transport::Legacy),
        _ => bail!("unknown virtio `{text}`; use modern (version 2 of virtio-mmio) or legacy (version 1)"),
    }
}

/// Where an arbiter is.
pub fn arbiter(text: &str) -> Result<Place> {
    Ok(text.parse()?)
}

/// The name of a VM.
pub fn name(text: &str) -> Result<VmName> {
    Ok(VmName::new(text)?)
}

/// A failure-detection timeout in milliseconds.
pub fn timeout_ms(text: &str) -> Result<u64> {
    milliseconds(text, TIMEOUT_MS)
}

/// A least mean speed in percent.
pub fn min_speed(text: &str) -> Result<u32> {
    Ok(u32::try_from(within(text, MIN_SPEED, " %")?)?)
}

/// Where a guest answers as long as it is well, `tcp:ADDRESS:PORT`: the address, as a number, and the port. A
/// name would have to be looked up for each probe, and what a resolver does not answer says nothing of the
/// guest.
pub fn probe(text: &str) -> Result<(String, u16)> {
    let Some(place) = text.strip_prefix("tcp:") else {
        bail!("`{text}` is no probe; give tcp:ADDRESS:PORT, such as tcp:10.0.0.9:6379");
    };
    let (host, port) = host_port(place)?;
    if port == 0 {
        bail!("nobody listens at port 0; give the port of a service of the guest");
    }
    let address = host.parse::<IpAddr>().ok();
    if address.is_none_or(|address| address.is_unspecified() || address.is_multicast()) {
        bail!(
            "`{host}` is no address of a guest, and names are not looked up for a probe; give \
             tcp:ADDRESS:PORT, such as tcp:10.0.0.9:6379"
        );
    }
    Ok((host, port))
}

/// Seconds for which a guest may be silent before that is told.
pub fn probe_after(text: &str) -> Result<u64> {
    within(text, PROBE_AFTER, " s")
}

/// A pause between two figures in milliseconds.
pub fn figures_every_ms(text: &str) -> Result<u64> {
    milliseconds(text, FIGURES_EVERY_MS)
}

/// Seconds for which the demo loads its guest.
pub fn demo_seconds(text: &str) -> Result<u64> {
    within(text, DEMO_SECONDS, " s")
}

/// How many times the demo kills.
pub fn demo_kills(text: &str) -> Result<u64> {
    within(text, DEMO_KILLS, "")
}

/// Client connections of the demo.
pub fn demo_clients(text: &str) -> Result<u64> {
    within(text, DEMO_CLIENTS, "")
}

/// Seconds after which the clients of a guest that is away are reset.
pub fn guest_away_s(text: &str) -> Result<u64> {
    within(text, GUEST_AWAY_S, " s")
}

/// A number of steps, a step, or a seed.
pub fn number(text: &str) -> Result<u64> {
    text.parse()
        .ok()
        .with_context(|| format!("`{text}` is not a whole number; use for example 1000000"))
}

/// A number of steps that is not 0.
pub fn steps(text: &str) -> Result<u64> {
    match number(text)? {
        0 => bail!("`0` steps cannot be had; give 1 or more"),
        steps => Ok(steps),
    }
}

fn milliseconds(text: &str, range: RangeInclusive<u64>) -> Result<u64> {
    within(text, range, " ms")
}

fn within(text: &str, range: RangeInclusive<u64>, unit: &str) -> Result<u64> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => bail!(
            "`{text}` is not from {} to {}{unit}",
            amount::grouped(*range.start()),
            amount::grouped(*range.end())
        ),
    }
}

/// A forward of a gateway.
pub fn forward(text: &str) -> Result<Forward> {
    Ok(text.parse()?)
}

/// A destination in a rule of a gateway.
pub fn destination(text: &str) -> Result<Destination> {
    Ok(text.parse()?)
}

/// A subnet such as `10.0.2.0/24`, as its address and the length of its prefix.
pub fn subnet(text: &str) -> Result<(Ipv4Addr, u8)> {
    let read = || {
        let (network, length) = text.split_once('/')?;
        Some((network.parse().ok()?, length.parse().ok()?))
    };
    read().with_context(|| format!("`{text}` is no subnet; give for example 10.0.2.0/24"))
}

/// The address of a resolver.
pub fn resolver(text: &str) -> Result<IpAddr> {
    let read = text.parse().ok();
    read.with_context(|| format!("`{text}` is no address; give a number, for example 192.0.2.53"))
}

/// A disk: its path, with options behind it.
pub fn disk(text: &str) -> Result<DiskSpec> {
    let mut parts = text.split(',');
    let mut disk = DiskSpec {
        file: DiskFile::at(parts.next().unwrap_or_default()),
        read_only: false,
        serial: String::new(),
    };
    for option in parts {
        match option.split_once('=').unwrap_or((option, "")) {
            ("readonly", "") => disk.read_only = true,
            ("format", "raw") => disk.file.format = Some(Format::Raw),
            ("format", "qcow2") => disk.file.format = Some(Format::Qcow2),
            ("format", other) => bail!(
                "disk format `{other}` is not supported, only raw and qcow2 are; convert it with `qemu-img \
                 convert -O qcow2`"
            ),
            ("overlay", path) if path.ends_with(IMAGE_SUFFIX) => disk.file.overlay = Some(path.into()),
            ("overlay", path) => bail!(
                "the overlay `{path}` is going to be a qcow2 image, so its name must end in `{IMAGE_SUFFIX}`"
            ),
            ("backing", path) if !path.is_empty() => disk.file.backing = Some(path.into()),
            ("serial", serial) => serial.clone_into(&mut disk.serial),
            _ => bail!(
                "unknown disk option `{option}`; use readonly, format=raw, format=qcow2, overlay=FILE, \
                 backing=FILE or serial=TEXT"
            ),
        }
    }
    if disk.read_only && disk.file.overlay.is_some() {
        bail!("an overlay is there to be written: leave out `readonly`, or the overlay");
    }
    Ok(disk)
}

/// The end of the names of images.
const IMAGE_SUFFIX: &str = ".qcow2";

/// The text of a disk with other paths: `whole` makes each of them of the one that is in the text.
pub fn disk_elsewhere(text: &str, whole: impl Fn(&str) -> String) -> String {
    let elsewhere = |(index, part): (usize, &str)| match (index, part.split_once('=')) {
        // A place at a disk server is the same everywhere.
        (0, _) if part.contains("://") => part.to_owned(),
        (0, _) => whole(part),
        (_, Some((key @ ("overlay" | "backing"), path))) => format!("{key}={}", whole(path)),
        _ => part.to_owned(),
    };
    let parts: Vec<String> = text.split(',').enumerate().map(elsewhere).collect();
    parts.join(",")
}

/// The files of user-data and of meta-data for cloud-init.
pub fn cloud_init(text: &str) -> Result<(PathBuf, Option<PathBuf>)> {
    let (user_data, meta_data) = match text.split_once(',') {
        Some((user_data, meta_data)) => (user_data, Some(meta_data)),
        None => (text, None),
    };
    if user_data.is_empty() || meta_data.is_some_and(|path| path.is_empty() || path.contains(',')) {
        bail!("`{text}` names no files for cloud-init; give USER-DATA, or USER-DATA,META-DATA");
    }
    Ok((user_data.into(), meta_data.map(PathBuf::from)))
}

/// What a network device is plugged into, as its kind and the rest of the text; `None`: there is no device.
pub fn net(text: &str) -> Result<Option<(Plug, &str)>> {
    match text.split_once('=') {
        None if text == "none" => Ok(None),
        Some(("tap", name)) if name.is_empty() || name.len() > INTERFACE_NAME_LEN_MAX => bail!(
            "`{text}` names no tap interface; give a name of 1 to {INTERFACE_NAME_LEN_MAX} characters, as in \
             tap=tap0"
        ),
        Some(("tap", name)) => Ok(Some((Plug::Tap, name))),
        Some(("gateway", rest)) => Ok(Some((Plug::Gateway, rest))),
        _ => bail!("unknown net `{text}`; use gateway=HOST:PORT, gateway=SOCKET, tap=NAME or none"),
    }
}

/// What a network device can be plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// A tap interface of the host.
    Tap,
    /// A gateway.
    Gateway,
}

/// An Ethernet address such as `52:54:00:12:34:56`.
pub fn mac(text: &str) -> Result<[u8; 6]> {
    let Ok(Mac(mac)) = text.parse() else {
        bail!("`{text}` is not an Ethernet address; use for example 52:54:00:12:34:56");
    };
    if mac[0] & 1 != 0 {
        bail!("`{text}` is a group address; the first byte of a guest's address must be even");
    }
    Ok(mac)
}

/// The parts of `HOST:PORT`, without asking for the host's address.
pub fn host_port(text: &str) -> Result<(String, u16)> {
    if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        bail!("`{text}` has no port; an IPv6 address with one is written `[{text}]:7800`");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        bail!("`{text}` has no port; give for example `{text}:7800`");
    };
    if host.is_empty() {
        bail!("`{text}` has no host; give for example `0.0.0.0:{port}` or a host's name");
    }
    let port = port
        .parse()
        .ok()
        .with_context(|| format!("`{port}` in `{text}` is no port; give a number from 0 to 65535"))?;
    let host = match (host.strip_prefix('['), host.contains(':')) {
        (Some(inner), _) => inner.trim_end_matches(']'),
        (None, true) => bail!("the IPv6 address in `{text}` belongs in brackets: `[{host}]:{port}`"),
        (None, false) => host,
    };
    Ok((host.to_owned(), port))
}

/// The first address of `HOST:PORT`, the host by name or number.
pub fn resolve(text: &str) -> Result<SocketAddr> {
    let (host, port) = host_port(text)?;
    let hint = "check its spelling, or give its number, as in 10.0.0.2:7800";
    let mut addresses = (host.as_str(), port).to_socket_addrs().map_err(|error| {
        let error = error.to_string();
        // What the standard library puts before the resolver's own words says nothing more.
        let why = error.strip_prefix("failed to lookup address information: ");
        let why = why.unwrap_or(&error);
        Unresolved(format!("the name `{host}` cannot be resolved ({why}); {hint}"))
    })?;
    let none = || Unresolved(format!("the name `{host}` has no address; {hint}"));
    Ok(addresses.next().ok_or_else(none)?)
}

/// Where a gateway is: a socket's path, with a slash in it or `unix:` before it, or `HOST:PORT`.
pub fn endpoint(text: &str) -> Result<Endpoint> {
    let is_number = text.parse::<IpAddr>().is_ok();
    match text.strip_prefix("unix:") {
        Some(path) => Ok(Endpoint::Unix(path.into())),
        None if text.contains('/') || !is_number && !text.contains(':') => {
            Ok(Endpoint::Unix(PathBuf::from(text)))
        }
        None => Ok(Endpoint::Tcp(resolve(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn sizes_take_the_units_that_people_write() {
        for (text, bytes) in [
            ("4096", 4096),
            ("4096B", 4096),
            ("64k", 64 << 10),
            ("512M", 512 << 20),
            ("512 MiB", 512 << 20),
            ("512Mi", 512 << 20),
            ("512MB", 512 << 20),
            ("4G", 4 << 30),
            ("2gi", 2 << 30),
            ("1T", 1 << 40),
            ("1Ti", 1 << 40),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        assert!(refusal(size("4X")).contains("unknown unit `X`"));
        for wrong in [
            "G",
            "i",
            "iB",
            "-1M",
            "1.5G",
            "99999999999999999999G",
            "99999999T",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_that_no_machine_has_is_refused_in_words_of_people() {
        assert_eq!(memory("512M").unwrap(), 512 << 20);
        assert_eq!(
            refusal(memory("100G")),
            "100 GiB of memory cannot be had; give a multiple of 2 MiB up to 16 GiB"
        );
        assert!(memory("0").is_err() && memory("3M").is_err());
    }

    #[test]
    fn group_and_short_ethernet_addresses_are_refused() {
        assert_eq!(
            mac("52:54:00:12:34:56").unwrap(),
            [0x52, 0x54, 0, 0x12, 0x34, 0x56]
        );
        assert!(mac("53:54:00:12:34:56").is_err());
        assert!(mac("52:54:00:12:34").is_err());
        assert!(mac("52:54:00:12:34:5").is_err());
    }

    #[test]
    fn an_address_that_cannot_be_says_what_is_missing() {
        assert_eq!(
            refusal(resolve("127.0.0.1")),
            "`127.0.0.1` has no port; give for example `127.0.0.1:7800`"
        );
        assert_eq!(
            refusal(resolve("::1")),
            "`::1` has no port; an IPv6 address with one is written `[::1]:7800`"
        );
        assert!(refusal(resolve(":7800")).contains("`0.0.0.0:7800`"));
        assert!(refusal(resolve("a:b")).contains("`b` in `a:b` is no port"));
        assert!(refusal(resolve("a:70000")).contains("0 to 65535"));
        let unknown = refusal(resolve("no.such.host.invalid:7999"));
        assert!(
            unknown.starts_with("the name `no.such.host.invalid` cannot be resolved ("),
            "{unknown}"
        );
        assert_eq!(resolve("[::1]:7").unwrap(), "[::1]:7".parse().unwrap());
    }

    #[test]
    fn cloud_init_is_given_one_file_or_two() {
        assert_eq!(cloud_init("u").unwrap(), ("u".into(), None));
        assert_eq!(cloud_init("a/u,m").unwrap(), ("a/u".into(), Some("m".into())));
        for wrong in ["", ",", "u,", ",m", "u,m,n"] {
            assert!(
                refusal(cloud_init(wrong)).contains("USER-DATA,META-DATA"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_probe_has_an_address_and_no_name() {
        for (text, host) in [("tcp:10.0.0.9:80", "10.0.0.9"), ("tcp:[fd00::9]:80", "fd00::9")] {
            assert_eq!(probe(text).unwrap(), (host.to_owned(), 80));
        }
        for host in ["db.example", "localhost", "10.0.0.900", "0.0.0.0", "224.0.0.1"] {
            let sentence = refusal(probe(&format!("tcp:{host}:80")));
            assert!(sentence.contains("names are not looked up"), "{sentence}");
        }
    }

    #[test]
    fn an_address_is_never_taken_for_a_socket() {
        assert_eq!(endpoint("/run/a").unwrap(), Endpoint::Unix("/run/a".into()));
        assert_eq!(endpoint("a.sock").unwrap(), Endpoint::Unix("a.sock".into()));
        assert_eq!(endpoint("unix:a:b").unwrap(), Endpoint::Unix("a:b".into()));
        let tcp = Endpoint::Tcp("127.0.0.1:7700".parse().unwrap());
        assert_eq!(endpoint("127.0.0.1:7700").unwrap(), tcp);
        assert!(refusal(endpoint("127.0.0.1")).contains("has no port"));
        assert!(matches!(endpoint("localhost:7700").unwrap(), Endpoint::Tcp(_)));
    }
}
