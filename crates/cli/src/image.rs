//! `lockstep image`: builds a guest image, shows the progress, says where the files are.
//!
//! What an image is made of is the business of the crate `image`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use image::{
    Appliance, ApplianceOptions, BootLoader, BootLoaderOptions, DebianImage, DebianOptions, Progress, Undone,
    Unit, build_appliance, build_boot_loader, build_debian,
};
use replica::Span;
use report::amount;

use crate::args::ImageCommand;

/// Runs one of the image commands.
pub fn run(command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Appliance {
            package,
            run,
            rebuild,
            json,
        } => {
            let options = ApplianceOptions {
                packages: package,
                run,
                rebuild,
                ..ApplianceOptions::default()
            };
            let Appliance {
                kernel,
                initrd,
                firmware,
                append,
                undone,
                manifest: _,
            } = appliance(&options)?;
            tell_undone(&undone, &options.packages);
            let files = [
                ("kernel", kernel.display().to_string()),
                ("initrd", initrd.display().to_string()),
                ("firmware", firmware.display().to_string()),
                ("append", append),
            ];
            print(&files, json);
        }
        ImageCommand::Debian {
            package,
            size,
            rebuild,
            json,
        } => {
            let options = DebianOptions {
                packages: package,
                disk_bytes: size,
                rebuild,
                ..DebianOptions::default()
            };
            let mut show = Shown::default();
            let DebianImage {
                kernel,
                initrd,
                firmware,
                disk,
                append,
                debian_initrd: _,
            } = build_debian(&options, &mut |progress| show.progress(progress))?;
            show.end();
            let files = [
                ("kernel", kernel.display().to_string()),
                ("initrd", initrd.display().to_string()),
                ("firmware", firmware.display().to_string()),
                ("disk", disk.display().to_string()),
                ("append", append),
            ];
            print(&files, json);
        }
        ImageCommand::Uboot { rebuild, json } => {
            let BootLoader { firmware, u_boot } = boot_loader(rebuild)?;
            let [firmware, u_boot] = [firmware, u_boot].map(|path| path.display().to_string());
            print(&[("firmware", firmware), ("kernel", u_boot)], json);
        }
    }
    Ok(())
}

/// The boot loader, fetched now if it is missing.
pub fn boot_loader(rebuild: bool) -> Result<BootLoader> {
    let options = BootLoaderOptions {
        rebuild,
        ..BootLoaderOptions::default()
    };
    let mut show = Shown::default();
    let found = build_boot_loader(&options, &mut |progress| show.progress(progress))?;
    show.end();
    Ok(found)
}

/// The appliance, built now if it is missing.
pub fn appliance(options: &ApplianceOptions) -> Result<Appliance> {
    let mut show = Shown::default();
    let appliance = build_appliance(options, &mut |progress| show.progress(progress))?;
    show.end();
    Ok(appliance)
}

/// Says which packages would have been installed with more than is in the appliance, and the way out.
fn tell_undone(undone: &[Undone], packages: &[String]) {
    for sentence in sentences_of(undone, packages) {
        tell!("image: {sentence}");
    }
}

fn sentences_of(undone: &[Undone], packages: &[String]) -> Vec<String> {
    if undone.is_empty() {
        return Vec::new();
    }
    let start = "an appliance does not run the installation scripts of packages; not done was:".to_owned();
    let each = undone
        .iter()
        .map(|Undone { package, what }| format!("  {package}: {what}"));
    let wanted: String = packages.iter().map(|name| format!(" --package {name}")).collect();
    let way_out =
        format!("if the service needs that, `lockstep image debian{wanted}` makes a guest that has run them");
    [start].into_iter().chain(each).chain([way_out]).collect()
}

/// Prints the files under the words of `VM.toml`, so that the lines can be pasted into one.
fn print(files: &[(&str, String)], json: bool) {
    if json {
        let object: serde_json::Map<String, serde_json::Value> = files
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
            .collect();
        say!("{}", serde_json::Value::Object(object));
    } else {
        for (key, value) in files {
            say!("{key} = {value:?}");
        }
    }
}

/// How long a stage must have gone on before its rate is told: before, that is a guess.
const RATE_KNOWN_AFTER: Duration = Duration::from_secs(1);

/// Progress on standard error: one line that is rewritten on a terminal, a line per stage elsewhere.
#[derive(Default)]
struct Shown {
    /// The stage that is under way, and since when.
    stage: Option<(image::Stage, Instant)>,
}

impl Shown {
    fn progress(&mut self, progress: Progress) {
        let is_terminal = std::io::stderr().is_terminal();
        let since = match self.stage {
            Some((stage, since)) if stage == progress.stage => since,
            _ => {
                let now = Instant::now();
                self.stage = Some((progress.stage, now));
                if !is_terminal {
                    tell!("image: {}", progress.stage);
                }
                now
            }
        };
        if is_terminal {
            os::stderr::write_text(format_args!(
                "\r\x1b[Kimage: {}{}",
                progress.stage,
                counts(&progress, since.elapsed())
            ));
        }
    }

    fn end(&self) {
        if self.stage.is_some() && std::io::stderr().is_terminal() {
            os::stderr::write_text(format_args!("\r\x1b[K"));
        }
    }
}

/// How far a stage is after it has gone on for so long, how fast it goes, and how long the rest takes at that
/// rate: ` 58/116 MiB, 9 MiB/s, 6.4 s left`.
fn counts(progress: &Progress, lasted: Duration) -> String {
    let (scale, unit) = match progress.unit {
        Unit::Packages => (1, ""),
        Unit::Bytes => (1 << 20, " MiB"),
    };
    let Progress { done, total, .. } = *progress;
    let mut text = match (done, total) {
        (0, 0) => String::new(),
        (done, 0) => format!(" {}{unit}", done / scale),
        (done, total) => format!(" {}/{}{unit}", done / scale, total / scale),
    };
    if lasted < RATE_KNOWN_AFTER || done == 0 {
        return text;
    }
    if progress.unit == Unit::Bytes {
        let per_second = u128::from(done) * 1000 / lasted.as_millis();
        text += &format!(", {} MiB/s", per_second / u128::from(scale));
    }
    if let Some(rest) = total.checked_sub(done).filter(|&rest| rest > 0) {
        let ms = u128::from(rest) * lasted.as_millis() / u128::from(done);
        let left = Span::from_ms(u64::try_from(ms).unwrap_or(u64::MAX / 1_000_000));
        text += &format!(", {} left", amount::lasted(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(unit: Unit, done: u64, total: u64, lasted_ms: u64) -> String {
        let stage = image::Stage::Unpack;
        let progress = Progress {
            stage,
            done,
            total,
            unit,
        };
        counts(&progress, Duration::from_millis(lasted_ms))
    }

    #[test]
    fn what_an_appliance_leaves_undone_is_told_with_the_way_out() {
        assert_eq!(sentences_of(&[], &["nginx-light".into()]), Vec::<String>::new());
        let undone = Undone {
            package: "mariadb-server".into(),
            what: "runs mariadb-install-db".into(),
        };
        let told = sentences_of(&[undone], &["mariadb-server".into(), "nginx-light".into()]);
        assert_eq!(told[1], "  mariadb-server: runs mariadb-install-db");
        let way_out = "`lockstep image debian --package mariadb-server --package nginx-light`";
        assert!(told[2].contains(way_out), "{told:?}");
    }

    #[test]
    fn progress_says_how_fast_it_goes_and_how_long_the_rest_takes() {
        assert_eq!(told(Unit::Bytes, 0, 116 << 20, 5000), " 0/116 MiB");
        assert_eq!(told(Unit::Bytes, 58 << 20, 116 << 20, 900), " 58/116 MiB");
        assert_eq!(
            told(Unit::Bytes, 58 << 20, 116 << 20, 6400),
            " 58/116 MiB, 9 MiB/s, 6.4 s left"
        );
        assert_eq!(
            told(Unit::Bytes, 116 << 20, 116 << 20, 10_000),
            " 116/116 MiB, 11 MiB/s"
        );
        assert_eq!(told(Unit::Packages, 50, 200, 40_000), " 50/200, 2 min 0 s left");
        assert_eq!(told(Unit::Packages, 0, 0, 40_000), "");
        // However little is done of however much.
        assert!(told(Unit::Bytes, 1, u64::MAX, u64::MAX).ends_with(" left"));
    }
}
