//! `VM.toml`: a machine and its pair in a file.
//!
//! Flags given on the command line override the file. Only the words are read here; `spec` says what they
//! mean.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::args::{PairArgs, VmArgs};

/// The word that stands for no firmware; a file of that name is `./none`. So it is with QEMU's `-bios`.
pub const FIRMWARE_NONE: &str = "none";
/// The word that stands for the firmware of the distribution.
pub const FIRMWARE_DEFAULT: &str = "default";

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VmFile {
    pub name: Option<String>,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    pub append: Option<String>,
    pub firmware: Option<PathBuf>,
    pub memory: Option<String>,
    pub harts: Option<usize>,
    pub disk: Vec<String>,
    pub net: Option<String>,
    pub mac: Option<String>,
    pub virtio: Option<String>,
    pub serial: Option<String>,
    pub backup: Option<String>,
    pub key: Option<PathBuf>,
    pub allow_open_key: bool,
    pub insecure: bool,
    pub arbiter: Option<PathBuf>,
    pub timeout_ms: Option<u64>,
}

impl VmFile {
    /// Reads the file, if one is named. Paths in the file are relative to its directory.
    pub fn load(path: Option<&Path>) -> Result<VmFile> {
        let Some(path) = path else {
            return Ok(VmFile::default());
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file: VmFile = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => {
                let line = error
                    .span()
                    .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                let message = error.message().replace('\n', "; ");
                bail!("{} line {line}: {message}", path.display());
            }
        };
        let base = path.parent().unwrap_or(Path::new("."));
        let is_word = |path: &&mut PathBuf| {
            [FIRMWARE_NONE, FIRMWARE_DEFAULT]
                .map(Path::new)
                .contains(&path.as_path())
        };
        let firmware = file.firmware.as_mut().filter(|path| !is_word(path));
        let paths = [
            file.kernel.as_mut(),
            file.initrd.as_mut(),
            firmware,
            file.key.as_mut(),
            file.arbiter.as_mut(),
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
        for disk in &mut file.disk {
            *disk = base.join(&*disk).to_string_lossy().into_owned();
        }
        file.net = file.net.map(|net| match net.split_once(",key=") {
            Some((gateway, key)) => format!("{gateway},key={}", base.join(key).display()),
            None => net,
        });
        Ok(file)
    }

    /// The file with the flags of a machine over it.
    pub fn with_flags(mut self, vm: &VmArgs) -> VmFile {
        override_with(&mut self.name, &vm.name);
        override_with(&mut self.kernel, &vm.kernel);
        override_with(&mut self.initrd, &vm.initrd);
        override_with(&mut self.append, &vm.append);
        override_with(&mut self.firmware, &vm.firmware);
        override_with(&mut self.memory, &vm.memory);
        override_with(&mut self.harts, &vm.harts);
        override_with(&mut self.net, &vm.net);
        override_with(&mut self.mac, &vm.mac);
        override_with(&mut self.virtio, &vm.virtio);
        override_with(&mut self.serial, &vm.serial);
        if !vm.disk.is_empty() {
            self.disk.clone_from(&vm.disk);
        }
        self
    }

    /// The file with the flags of a pair over it.
    pub fn with_pair_flags(mut self, pair: &PairArgs) -> VmFile {
        override_with(&mut self.backup, &pair.backup);
        override_with(&mut self.key, &pair.key);
        override_with(&mut self.arbiter, &pair.arbiter);
        override_with(&mut self.timeout_ms, &pair.timeout_ms);
        self.allow_open_key |= pair.allow_open_key;
        self.insecure |= pair.insecure;
        self
    }
}

fn override_with<T: Clone>(value: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        value.clone_from(flag);
    }
}

/// A size such as `512M`, `4G` or `4194304`, in bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" | "k" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        other => bail!("unknown unit `{other}` in size `{text}`; use K, M or G"),
    };
    let number: u64 = digits
        .parse()
        .with_context(|| format!("`{text}` is not a size; use for example 512M or 4G"))?;
    number
        .checked_mul(unit)
        .with_context(|| format!("size `{text}` is too large"))
}

/// An Ethernet address such as `52:54:00:12:34:56`.
pub fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let wrong = || format!("`{text}` is not an Ethernet address; use for example 52:54:00:12:34:56");
    let parts: Vec<&str> = text.split(':').collect();
    let parts: [&str; 6] = parts.try_into().ok().with_context(wrong)?;
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(parts) {
        *byte = u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| part.len() == 2)
            .with_context(wrong)?;
    }
    if mac[0] & 1 != 0 {
        bail!("`{text}` is a group address; the first byte of a guest's address must be even");
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        assert_eq!(parse_size("512M").unwrap(), 512 << 20);
        assert_eq!(parse_size("4G").unwrap(), 4 << 30);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        assert!(
            parse_size("4X")
                .unwrap_err()
                .to_string()
                .contains("unknown unit `X`")
        );
        assert!(parse_size("G").is_err());
        assert!(parse_size("99999999999999999999G").is_err());
    }

    #[test]
    fn group_and_short_ethernet_addresses_are_refused() {
        assert_eq!(
            parse_mac("52:54:00:12:34:56").unwrap(),
            [0x52, 0x54, 0, 0x12, 0x34, 0x56]
        );
        assert!(parse_mac("53:54:00:12:34:56").is_err());
        assert!(parse_mac("52:54:00:12:34").is_err());
        assert!(parse_mac("52:54:00:12:34:5").is_err());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = std::env::temp_dir().join(format!("lockstep-vm-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("vm.toml");
        std::fs::write(&path, "name = \"a\"\nmemry = \"1G\"\n").unwrap();
        let message = VmFile::load(Some(&path)).unwrap_err().to_string();
        assert!(
            message.contains("vm.toml line 2: unknown field `memry`"),
            "{message}"
        );
        std::fs::write(&path, "name = \"a\"\nkernel = \"k/Image\"\n").unwrap();
        assert_eq!(
            VmFile::load(Some(&path)).unwrap().kernel.unwrap(),
            dir.join("k/Image")
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
