//! `VM.toml`: a machine and its pair in a file.
//!
//! Flags given on the command line override the file. A setting that cannot be is refused here with its line;
//! `spec` says what the rest means.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use arbiter::Place;
use clap::ValueEnum;
use cloud_init::CloudInit;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};
use toml_edit::{DocumentMut, Item};

use crate::args::{HangPolicy, PairArgs, PanicPolicy, SlowPolicy, StartArgs, VmArgs};
use crate::{usage, values};

/// The word that stands for no firmware; a file of that name is `./none`. So it is with QEMU's `-bios`.
pub const FIRMWARE_NONE: &str = "none";
/// The word that stands for the firmware of the distribution.
pub const FIRMWARE_DEFAULT: &str = "default";
/// The word that stands for U-Boot in the place of a kernel, behind the firmware of the distribution.
pub const FIRMWARE_UBOOT: &str = "uboot";

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
    pub cloud_init: Option<String>,
    /// What is in the files of `cloud_init`; `None`: nobody has read them, or there are none.
    #[serde(skip)]
    pub cloud_init_texts: Option<CloudInit>,
    pub net: Option<String>,
    pub mac: Option<String>,
    pub virtio: Option<String>,
    pub serial: Option<String>,
    pub on_panic: Option<PanicPolicy>,
    pub backup: Option<String>,
    pub key: Option<PathBuf>,
    pub allow_open_key: bool,
    pub insecure: bool,
    #[serde(deserialize_with = "place")]
    pub arbiter: Option<Place>,
    pub timeout_ms: Option<u64>,
    pub timeout_only: bool,
    pub on_slow: Option<SlowPolicy>,
    pub min_speed: Option<u32>,
    pub probe: Option<String>,
    pub probe_after: Option<u64>,
    pub on_hang: Option<HangPolicy>,
}

/// What a setting of the file is written as, with an example.
#[derive(Clone, Copy)]
enum Form {
    Text(&'static str),
    /// A text, or a list of texts.
    Texts(&'static str),
    Number(u64),
    YesNo,
}

/// Every setting of the file.
const SETTINGS: [(&str, Form); 26] = [
    ("name", Form::Text("shop")),
    ("kernel", Form::Text("Image")),
    ("initrd", Form::Text("initrd.img")),
    ("append", Form::Text("root=/dev/vda rw console=ttyS0")),
    ("firmware", Form::Text("fw_dynamic.bin")),
    ("memory", Form::Text("512M")),
    ("harts", Form::Number(2)),
    ("disk", Form::Texts("/shared/shop.raw")),
    ("cloud_init", Form::Text("user-data")),
    ("net", Form::Text("gateway=127.0.0.1:7700")),
    ("mac", Form::Text("52:54:00:12:34:56")),
    ("virtio", Form::Text("legacy")),
    ("serial", Form::Text("unix:/run/shop.console")),
    ("on_panic", Form::Text("stop")),
    ("backup", Form::Text("10.0.0.2:7800")),
    ("key", Form::Text("shop.key")),
    ("allow_open_key", Form::YesNo),
    ("insecure", Form::YesNo),
    ("arbiter", Form::Text("/shared/arbiter")),
    ("timeout_ms", Form::Number(500)),
    ("timeout_only", Form::YesNo),
    ("on_slow", Form::Text("follow")),
    ("min_speed", Form::Number(50)),
    ("probe", Form::Text("tcp:10.0.0.9:6379")),
    ("probe_after", Form::Number(30)),
    ("on_hang", Form::Text("reset")),
];

impl Form {
    /// How a setting of this form is written, for a sentence.
    fn described(self) -> String {
        match self {
            Form::Text(example) => format!("is text, such as {example:?}"),
            Form::Texts(example) => format!("is text or a list of texts, such as {example:?}"),
            Form::Number(example) => format!("is a number, such as {example}"),
            Form::YesNo => "is true or false".into(),
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Form::Text(_) => value.is_str(),
            Form::Texts(_) => {
                value.is_str()
                    || value
                        .as_array()
                        .is_some_and(|list| list.iter().all(Value::is_str))
            }
            Form::Number(_) => value.as_integer().is_some_and(|number| number >= 0),
            Form::YesNo => value.is_bool(),
        }
    }
}

/// What is wrong with a setting's value, if anything is. `spec`, which knows the whole file, checks what is
/// in lists and what one setting means for another.
fn check(key: &str, value: &Value) -> Result<()> {
    let word = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match key {
        "name" => values::name(&word).map(drop),
        "memory" => values::memory(&word).map(drop),
        "harts" => values::harts(&word).map(drop),
        "mac" => values::mac(&word).map(drop),
        "arbiter" => values::arbiter(&word).map(drop),
        "cloud_init" => values::cloud_init(&word).map(drop),
        "net" => values::net(&word).map(drop),
        "virtio" => values::virtio(&word).map(drop),
        "timeout_ms" => values::timeout_ms(&word).map(drop),
        "min_speed" => values::min_speed(&word).map(drop),
        "probe" => values::probe(&word).map(drop),
        "probe_after" => values::probe_after(&word).map(drop),
        "backup" => values::host_port(&word).map(drop),
        "on_panic" => match PanicPolicy::from_str(&word, false) {
            Ok(_) => Ok(()),
            Err(_) => bail!("`{word}` is unknown; use keep, stop or reset"),
        },
        "on_hang" => match HangPolicy::from_str(&word, false) {
            Ok(_) => Ok(()),
            Err(_) => bail!("`{word}` is unknown; use tell or reset"),
        },
        "on_slow" => match SlowPolicy::from_str(&word, false) {
            Ok(_) => Ok(()),
            Err(_) => bail!("`{word}` is unknown; use drop or follow"),
        },
        _ => Ok(()),
    }
}

/// The settings of a file's text. An error names the line, and where there is one the setting.
fn parse(text: &str) -> Result<VmFile, (usize, String)> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        (line, error.message().replace('\n', "; "))
    })?;
    for (key, value) in &mut table {
        let line = line_of(text, key);
        let Some((_, form)) = SETTINGS.iter().find(|(name, _)| name == key) else {
            return Err((line, no_setting(key)));
        };
        if !form.fits(value) {
            return Err((line, format!("`{key}` {}", form.described())));
        }
        check(key, value).map_err(|error| (line, format!("`{key}`: {error:#}")))?;
        if matches!(form, Form::Texts(_)) && value.is_str() {
            *value = Value::Array(vec![value.clone()]);
        }
    }
    table
        .try_into()
        .map_err(|error: toml::de::Error| (1, error.message().replace('\n', "; ")))
}

/// The number of the line in which a byte of the text is.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// The number of the line in which a setting is given.
fn line_of(text: &str, key: &str) -> usize {
    let gives = |line: &str| {
        let rest = line
            .trim_start()
            .trim_start_matches(['"', '\''])
            .strip_prefix(key);
        let rest = rest.map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        rest.is_some_and(|rest| rest.starts_with(['=', '.'])) || line.trim() == format!("[{key}]")
    };
    1 + text.lines().position(gives).unwrap_or(0)
}

impl VmFile {
    /// Reads the file, if one is named. Paths in the file are relative to its directory.
    pub fn load(path: Option<&Path>) -> Result<VmFile> {
        let Some(path) = path else {
            return Ok(VmFile::default());
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = match parse(&text) {
            Ok(file) => file,
            Err((line, sentence)) => {
                let path = path.display();
                return Err(usage::mark(anyhow!("{path} line {line}: {sentence}")));
            }
        };
        let base = path.parent().unwrap_or(Path::new("."));
        let firmware = file.firmware.as_mut();
        let firmware = firmware.filter(|path| !is_firmware_word(path.to_str()));
        let paths = [
            file.kernel.as_mut(),
            file.initrd.as_mut(),
            firmware,
            file.key.as_mut(),
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
        file.arbiter = file.arbiter.map(|place| place.with_paths(|path| base.join(path)));
        for disk in &mut file.disk {
            *disk = values::disk_elsewhere(disk, |path| base.join(path).to_string_lossy().into_owned());
        }
        let join = |path: &str| base.join(path).to_string_lossy().into_owned();
        file.cloud_init = file.cloud_init.map(|files| each_file(&files, join));
        file.net = file.net.map(|net| match net.split_once(",key=") {
            Some((gateway, key)) => format!("{gateway},key={}", base.join(key).display()),
            None => net,
        });
        Ok(file)
    }

    /// The file's settings as a text with whole paths, for whoever reads it elsewhere.
    pub fn whole_text(path: &Path) -> Result<String> {
        VmFile::load(Some(path))?;
        VmFile::whole(
            &std::fs::read_to_string(path)?,
            path.parent().unwrap_or(Path::new(".")),
        )
    }

    /// A text of settings with whole paths; those in it are relative to `base`. The rest of the text stays as
    /// it is written, with comments.
    pub fn whole(text: &str, base: &Path) -> Result<String> {
        let mut text: DocumentMut = text.parse().map_err(|error| anyhow!("{error}"))?;
        let whole = |path: &str| {
            let path = base.join(path);
            let whole = std::path::absolute(&path).unwrap_or(path);
            whole.display().to_string()
        };
        for key in ["kernel", "initrd", "firmware"] {
            let value = text.get_mut(key).and_then(Item::as_value_mut);
            if let Some(value) = value.filter(|value| !is_firmware_word(value.as_str())) {
                replace(value, &whole);
            }
        }
        let disk_elsewhere = |disk: &str| values::disk_elsewhere(disk, whole);
        match text.get_mut("disk").and_then(Item::as_value_mut) {
            Some(toml_edit::Value::Array(disks)) => {
                disks.iter_mut().for_each(|disk| replace(disk, &disk_elsewhere));
            }
            Some(disk) => replace(disk, &disk_elsewhere),
            None => {}
        }
        if let Some(files) = text.get_mut("cloud_init").and_then(Item::as_value_mut) {
            replace(files, &|files| each_file(files, whole));
        }
        if let Some(net) = text.get_mut("net").and_then(Item::as_value_mut) {
            replace(net, &|net| match net.split_once(",key=") {
                Some((gateway, key)) => format!("{gateway},key={}", base.join(key).display()),
                None => net.to_owned(),
            });
        }
        Ok(text.to_string())
    }

    /// The value of a setting that is given as a word; of a list, one element.
    pub fn value(key: &str, word: &str) -> Result<toml_edit::Value> {
        let Some((_, form)) = SETTINGS.iter().find(|(name, _)| *name == key) else {
            bail!("{}", no_setting(key));
        };
        let value = match form {
            Form::Text(_) | Form::Texts(_) => Some(toml_edit::Value::from(word)),
            Form::Number(_) => word
                .parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)
                .map(Into::into),
            Form::YesNo => word.parse::<bool>().ok().map(Into::into),
        };
        let value = value.ok_or_else(|| anyhow!("`{key}` {}", form.described()))?;
        check(key, &Value::String(word.to_owned())).map_err(|error| anyhow!("`{key}`: {error:#}"))?;
        Ok(value)
    }

    /// Is the setting a list?
    pub fn is_list(key: &str) -> bool {
        let mut settings = SETTINGS.iter();
        settings.any(|(name, form)| *name == key && matches!(form, Form::Texts(_)))
    }

    /// The settings of a text; the sentence of an error names the line.
    pub fn of_text(text: &str) -> Result<VmFile, String> {
        parse(text).map_err(|(line, sentence)| format!("line {line}: {sentence}"))
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
        override_with(&mut self.cloud_init, &vm.cloud_init);
        override_with(&mut self.net, &vm.net);
        override_with(&mut self.mac, &vm.mac);
        override_with(&mut self.virtio, &vm.virtio);
        override_with(&mut self.serial, &vm.serial);
        override_with(&mut self.on_panic, &vm.on_panic);
        if !vm.disk.is_empty() {
            self.disk.clone_from(&vm.disk);
        }
        self
    }

    /// The file with the flags of a start over it.
    pub fn with_start_flags(mut self, start: &StartArgs) -> VmFile {
        override_with(&mut self.arbiter, &start.arbiter);
        override_with(&mut self.key, &start.key);
        override_with(&mut self.on_slow, &start.slow.on_slow);
        override_with(&mut self.min_speed, &start.slow.min_speed);
        self
    }

    /// What another host must know to hold the VM's backup, beside the machine: as the text of such a file,
    /// with whole paths, since a path here is looked for there. Only what cloud-init is told is there by its
    /// content, as a list of texts: the files may have changed since the guest began.
    pub fn settings(&self) -> String {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let whole = |path: &str| Value::from(absolute(Path::new(path)).to_string_lossy().into_owned());
        let arbiter = self.arbiter.clone().map(|place| place.with_paths(absolute));
        let texts = [
            ("net", self.net.clone().map(Value::from)),
            ("mac", self.mac.clone().map(Value::from)),
            ("virtio", self.virtio.clone().map(Value::from)),
            ("arbiter", arbiter.map(|place| Value::from(place.to_string()))),
            ("timeout_ms", Value::try_from(self.timeout_ms).ok()),
            ("timeout_only", self.timeout_only.then_some(Value::from(true))),
            ("on_slow", Value::try_from(self.on_slow).ok()),
            ("min_speed", Value::try_from(self.min_speed).ok()),
        ];
        let mut table: Table = texts
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        let disks: Vec<Value> = self.disk.iter().map(|disk| whole(disk)).collect();
        table.insert("disk".to_owned(), Value::from(disks));
        if let Some(told) = &self.cloud_init_texts {
            let texts = [Some(told.user_data()), told.meta_data()].into_iter().flatten();
            table.insert(
                "cloud_init".to_owned(),
                Value::Array(texts.map(Value::from).collect()),
            );
        }
        table.to_string()
    }

    /// The settings of a VM that another host has sent, see [`VmFile::settings`].
    pub fn of_settings(text: &str) -> Result<VmFile> {
        let wrong = |sentence: &str| anyhow!("the settings of the VM make no sense here: {sentence}");
        let mut table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.message()))?;
        let texts = table.remove("cloud_init");
        let mut file = parse(&table.to_string()).map_err(|(_, sentence)| wrong(&sentence))?;
        if let Some(texts) = texts {
            let texts: Vec<String> = texts
                .try_into()
                .map_err(|error: toml::de::Error| wrong(error.message()))?;
            let (user_data, meta_data) = match &texts[..] {
                [user_data] => (user_data, None),
                [user_data, meta_data] => (user_data, Some(meta_data.as_str())),
                _ => return Err(wrong("`cloud_init` is one text or two")),
            };
            file.cloud_init_texts = Some(CloudInit::new(user_data, meta_data)?);
        }
        Ok(file)
    }

    /// The file with the flags of a pair over it.
    pub fn with_pair_flags(mut self, pair: &PairArgs) -> VmFile {
        override_with(&mut self.backup, &pair.backup);
        override_with(&mut self.key, &pair.key);
        override_with(&mut self.arbiter, &pair.arbiter);
        override_with(&mut self.timeout_ms, &pair.timeout_ms);
        self.allow_open_key |= pair.allow_open_key;
        self.insecure |= pair.insecure;
        self.timeout_only |= pair.timeout_only;
        override_with(&mut self.on_slow, &pair.slow.on_slow);
        override_with(&mut self.min_speed, &pair.slow.min_speed);
        self
    }
}

/// Reads the setting `arbiter`.
fn place<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Place>, D::Error> {
    let place = String::deserialize(value)?.parse();
    place.map(Some).map_err(D::Error::custom)
}

fn no_setting(key: &str) -> String {
    let names: Vec<String> = SETTINGS.iter().map(|(name, _)| format!("`{name}`")).collect();
    format!("there is no setting `{key}`; there are {}", names.join(", "))
}

fn is_firmware_word(value: Option<&str>) -> bool {
    value.is_some_and(|value| [FIRMWARE_NONE, FIRMWARE_DEFAULT, FIRMWARE_UBOOT].contains(&value))
}

/// Changes each of the paths between commas.
fn each_file(paths: &str, change: impl Fn(&str) -> String) -> String {
    let paths: Vec<String> = paths.split(',').map(change).collect();
    paths.join(",")
}

/// Puts another text in the place of one, with the comment behind it.
fn replace(value: &mut toml_edit::Value, other: &dyn Fn(&str) -> String) {
    if let Some(text) = value.as_str() {
        let mut changed = toml_edit::Value::from(other(text));
        *changed.decor_mut() = value.decor().clone();
        *value = changed;
    }
}

fn override_with<T: Clone>(value: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        value.clone_from(flag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named_with_its_line_and_an_example() {
        let refusal = |text: &str| {
            let (line, sentence) = parse(text).unwrap_err();
            format!("{line}: {sentence}")
        };
        assert_eq!(refusal("memory = 1"), "1: `memory` is text, such as \"512M\"");
        assert_eq!(
            refusal("\n\ndisk = 1"),
            "3: `disk` is text or a list of texts, such as \"/shared/shop.raw\""
        );
        assert_eq!(
            refusal("name = \"a\"\nharts = \"two\""),
            "2: `harts` is a number, such as 2"
        );
        assert_eq!(
            refusal("harts = 9"),
            "1: `harts`: 9 harts cannot be had; give 1 to 8"
        );
        assert_eq!(refusal("insecure = 1"), "1: `insecure` is true or false");
        assert_eq!(
            refusal("\n[pair]\nkey = 1").split(';').next(),
            Some("2: there is no setting `pair`")
        );
        assert!(refusal("backup = \"10.0.0.2\"").starts_with("1: `backup`: `10.0.0.2` has no port"));
        assert!(refusal("timeout_ms = 50").starts_with("1: `timeout_ms`: `50` is not from 100 to"));
        assert!(refusal("on_panic = \"cry\"").ends_with("use keep, stop or reset"));
        assert!(refusal("on_slow = \"wait\"").ends_with("use drop or follow"));
        assert!(refusal("on_hang = \"cry\"").ends_with("use tell or reset"));
        assert!(refusal("probe_after = 4").starts_with("1: `probe_after`: `4` is not from 5 to 3"));
        for probe in [
            "10.0.0.9:6379",
            "udp:10.0.0.9:53",
            "tcp:10.0.0.9",
            "tcp::80",
            "tcp:a:0",
            "tcp:a:99999",
        ] {
            let sentence = refusal(&format!("probe = {probe:?}"));
            assert!(
                sentence.starts_with("1: `probe`: ") && sentence.contains("give "),
                "{sentence}"
            );
        }
        for probe in [
            "tcp:db.example:1",
            "tcp:10.0.0.900:1",
            "tcp:0.0.0.0:1",
            "tcp:a/b:1",
            "tcp:[ff02::1]:1",
            "tcp:a b:1",
        ] {
            let sentence = refusal(&format!("probe = {probe:?}"));
            assert!(sentence.contains("is no address of a guest"), "{sentence}");
        }
        assert_eq!(
            refusal("min_speed = 101"),
            "1: `min_speed`: `101` is not from 0 to 100 %"
        );
    }

    #[test]
    fn the_manual_has_every_setting() {
        let sections = crate::help::sections("lockstep-run");
        let (_, blocks) = sections.iter().find(|(title, _)| *title == "VM.TOML").unwrap();
        let lines = blocks.iter().filter_map(|block| match block {
            crate::help::Block::Line(line) => Some(line.as_str()),
            _ => None,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let file: Table = text.parse().unwrap();
        assert!(parse(&text).is_ok(), "{text}");
        for (name, _) in SETTINGS {
            assert!(file.contains_key(name), "{name}");
        }
        assert_eq!(file.len(), SETTINGS.len());
    }

    #[test]
    fn what_cloud_init_is_told_travels_as_text_and_fits() {
        use replica::limits::SETTINGS_BYTES_MAX;
        let told = |user_data: &str, meta_data: Option<&str>| VmFile {
            cloud_init: Some("/a/user-data".into()),
            cloud_init_texts: Some(CloudInit::new(user_data, meta_data).unwrap()),
            disk: vec!["/shared/shop.raw".into()],
            ..VmFile::default()
        };
        // What TOML must write as two characters, or might put between three marks.
        for sign in ["\"", "\\", "\r", "\t\n", "'", "\"\"\"", "ä"] {
            let long = |begin: &str, max: usize| {
                let count = (max - begin.len()) / sign.len();
                format!("{begin}{}", sign.repeat(count))
            };
            let user_data = long("#!", cloud_init::USER_DATA_LEN_MAX);
            let meta_data = long("", cloud_init::META_DATA_LEN_MAX);
            let file = told(&user_data, Some(&meta_data));
            let text = file.settings();
            assert!(
                text.len() < SETTINGS_BYTES_MAX - (4 << 10),
                "{sign:?}: {}",
                text.len()
            );
            let back = VmFile::of_settings(&text).unwrap();
            assert_eq!(back.cloud_init_texts, file.cloud_init_texts, "{sign:?}");
            assert_eq!((back.cloud_init, back.disk), (None, file.disk));
        }
        let text = told("#!/bin/sh\n", None).settings();
        let back = VmFile::of_settings(&text).unwrap();
        assert_eq!(back.settings(), text, "it can go on to a third host");
        for wrong in ["1", "[]", "['#!', '', '']", "['users: []']", "'#!'"] {
            assert!(
                VmFile::of_settings(&format!("cloud_init = {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn paths_of_cloud_init_and_of_a_boot_loader_are_those_of_the_file() {
        let text = "firmware = \"uboot\" # from Debian\ncloud_init = \"user-data,/etc/meta-data\"\n";
        let whole = VmFile::whole(text, Path::new("/vms")).unwrap();
        assert_eq!(whole, text.replace("user-data,", "/vms/user-data,"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.toml");
        std::fs::write(&path, text).unwrap();
        let file = VmFile::load(Some(&path)).unwrap();
        assert_eq!(file.firmware.unwrap(), Path::new("uboot"));
        let user_data = dir.path().join("user-data").display().to_string();
        assert_eq!(file.cloud_init.unwrap(), format!("{user_data},/etc/meta-data"));
    }

    #[test]
    fn one_disk_needs_no_list() {
        assert_eq!(parse("disk = \"a.raw\"").unwrap().disk, ["a.raw"]);
        assert_eq!(parse("disk = [\"a\", \"b\"]").unwrap().disk, ["a", "b"]);
    }

    #[test]
    fn every_setting_is_a_field_of_the_file() {
        for (name, form) in SETTINGS {
            let value = match form {
                Form::Text(example) | Form::Texts(example) => format!("{example:?}"),
                Form::Number(example) => example.to_string(),
                Form::YesNo => "true".into(),
            };
            let text = format!("{name} = {value}");
            assert!(parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = std::env::temp_dir().join(format!("lockstep-vm-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("vm.toml");
        std::fs::write(&path, "name = \"a\"\nmemry = \"1G\"\n").unwrap();
        let message = VmFile::load(Some(&path)).unwrap_err().to_string();
        assert!(
            message.contains("vm.toml line 2: there is no setting `memry`; there are `name`, "),
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
