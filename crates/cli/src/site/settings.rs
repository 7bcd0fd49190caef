//! `lockstep set` and `lockstep edit`: the settings of a VM of the site, changed one by one or as a text.
//! The agent keeps the text as it was written, with its comments; here it is read, changed and given back,
//! and the agent judges it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use agent::types::{ProtectionWord, SettingsObject};
use anyhow::{Context, Result, anyhow, bail};
use replica::VmName;
use serde_json::json;
use toml_edit::{Array, DocumentMut, Item, Value};

use super::client::Site;
use super::verbs::tell_change;
use crate::args::{EditArgs, SetArgs};
use crate::usage;
use crate::vm_file::VmFile;

/// The setting that is the site's and stands in no `VM.toml`.
const PROTECT: &str = "protect";
/// The editor of whom nothing else is known.
const EDITOR_DEFAULT: &str = "vi";

/// Changes settings of a VM.
pub fn set(args: &SetArgs) -> Result<ExitCode> {
    let site = Site::needed()?.dry_run(args.dry_run.is_wanted);
    let before = settings(&site, &args.name)?;
    let mut text: DocumentMut = before.toml.parse().context("the settings are no TOML")?;
    let mut protection = None;
    let mut given = Vec::new();
    for word in &args.settings {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            usage::mark(anyhow!(
                "`{word}` is no setting: give KEY=VALUE, such as memory=1G"
            ))
        })?;
        if key == PROTECT {
            protection = Some(protection_of(value).map_err(usage::mark)?);
        } else {
            let is_further = given.contains(&key);
            put(&mut text, key, value, is_further).map_err(usage::mark)?;
            given.push(key);
        }
    }
    let here = std::env::current_dir()?;
    let toml = VmFile::whole(&text.to_string(), &here).map_err(usage::mark)?;
    store(&site, &before, &toml, protection, &args.comment.comment)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets the user change the text of a VM's settings in an editor.
pub fn edit(args: &EditArgs) -> Result<ExitCode> {
    let site = Site::needed()?;
    let before = settings(&site, &args.name)?;
    let file = tempfile::Builder::new()
        .prefix(&format!("{}-", args.name))
        .suffix(".toml")
        .tempfile()?
        .into_temp_path();
    std::fs::write(&file, &before.toml)?;
    run_editor(&file)?;
    // An editor may have put another file in its place.
    let text = std::fs::read_to_string(&file)?;
    if text == before.toml {
        say!("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let stored = whole(&text).and_then(|toml| store(&site, &before, &toml, None, &args.comment.comment));
    if let Err(error) = stored {
        let kept: PathBuf = file.keep().context("the text cannot be kept")?;
        tell!("lockstep: the text is kept in {}", kept.display());
        return Err(error);
    }
    Ok(ExitCode::SUCCESS)
}

fn path(vm: &VmName) -> String {
    format!("/v1/vms/{vm}/settings")
}

fn settings(site: &Site, vm: &VmName) -> Result<SettingsObject> {
    Ok(site.get(&path(vm))?)
}

/// The text with whole paths, where it makes sense.
fn whole(text: &str) -> Result<String> {
    VmFile::of_text(text).map_err(|sentence| usage::mark(anyhow!(sentence)))?;
    VmFile::whole(text, &std::env::current_dir()?)
}

/// Has the agent keep settings, unless somebody else has changed them since they were read.
fn store(
    site: &Site,
    before: &SettingsObject,
    toml: &str,
    protection: Option<ProtectionWord>,
    comment: &str,
) -> Result<()> {
    let body = json!({ "toml": toml, "protection": protection, "comment": comment });
    let path = format!("/v1/vms/{}/settings", before.name);
    let change = site.change_of("PUT", &path, &body, Some(before.generation))?;
    tell_change(&change);
    Ok(())
}

/// Puts a setting into a text, in the place of the one before and with that one's comment. `is_further`: it
/// was given before, and is a further element of a list.
fn put(text: &mut DocumentMut, key: &str, word: &str, is_further: bool) -> Result<()> {
    if word.is_empty() {
        text.remove(key);
        return Ok(());
    }
    let mut value = VmFile::value(key, word)?;
    let before = text.get(key).and_then(Item::as_value);
    if is_further {
        let Some(before) = before.filter(|_| VmFile::is_list(key)) else {
            bail!("`{key}` is given twice");
        };
        let mut list = match before {
            Value::Array(list) => list.clone(),
            one => Array::from_iter([one.clone().decorated("", "")]),
        };
        list.push(value);
        value = Value::Array(list);
    }
    if let Some(before) = before {
        *value.decor_mut() = before.decor().clone();
    }
    match text.get_mut(key) {
        Some(item) => *item = Item::Value(value),
        None => {
            text.insert(key, Item::Value(value));
        }
    }
    Ok(())
}

fn protection_of(word: &str) -> Result<ProtectionWord> {
    match word {
        "true" => Ok(ProtectionWord::On),
        "false" => Ok(ProtectionWord::Off),
        _ => bail!("`{PROTECT}` is true or false"),
    }
}

/// Runs the user's editor on a file, until it ends.
fn run_editor(file: &Path) -> Result<()> {
    let named = ["VISUAL", "EDITOR"].map(|name| std::env::var(name).ok().filter(|word| !word.is_empty()));
    let editor = named
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| EDITOR_DEFAULT.to_owned());
    // It may have arguments, and is a line of shell everywhere else, too.
    let line = format!("exec {editor} \"$1\"");
    let ended = Command::new("sh").args(["-c", &line, "sh"]).arg(file).status();
    let ended = ended.with_context(|| format!("cannot run the editor `{editor}`"))?;
    if !ended.success() {
        bail!("the editor `{editor}` has failed ({ended}); nothing was changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, words: &[(&str, &str, bool)]) -> String {
        let mut text: DocumentMut = text.parse().unwrap();
        for (key, word, is_further) in words {
            put(&mut text, key, word, *is_further).unwrap();
        }
        text.to_string()
    }

    #[test]
    fn a_setting_is_put_in_its_place_and_comments_stay() {
        let text = "# the shop\nname = \"shop\"\nmemory = \"512M\" # enough\n\n# two of them\nharts = 2\n";
        let expected = "# the shop\nname = \"shop\"\nmemory = \"1G\" # enough\n\n# two of them\nharts = 4\n\
                        net = \"tap=tap0\"\n";
        let words = [
            ("memory", "1G", false),
            ("harts", "4", false),
            ("net", "tap=tap0", false),
        ];
        assert_eq!(changed(text, &words), expected);
        assert_eq!(
            changed("name = \"a\"\nharts = 2\n", &[("harts", "", false)]),
            "name = \"a\"\n"
        );
        assert_eq!(
            changed("timeout_only = true\n", &[("timeout_only", "false", false)]),
            "timeout_only = false\n"
        );
    }

    #[test]
    fn several_disks_are_a_list() {
        let words = [("disk", "/a", false), ("disk", "/b", true), ("disk", "/c", true)];
        assert_eq!(
            changed("disk = \"/old\"\n", &words),
            "disk = [\"/a\", \"/b\", \"/c\"]\n"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        let refusal = |key: &str, word: &str, is_further: bool| {
            let mut text: DocumentMut = "memory = \"1G\"\n".parse().unwrap();
            put(&mut text, key, word, is_further).unwrap_err().to_string()
        };
        assert!(refusal("memry", "1G", false).starts_with("there is no setting `memry`; there are `name`"));
        assert_eq!(refusal("harts", "two", false), "`harts` is a number, such as 2");
        assert_eq!(
            refusal("harts", "9", false),
            "`harts`: 9 harts cannot be had; give 1 to 8"
        );
        assert_eq!(
            refusal("timeout_only", "perhaps", false),
            "`timeout_only` is true or false"
        );
        assert_eq!(refusal("memory", "2G", true), "`memory` is given twice");
        assert!(protection_of("on").is_err());
    }
}
