//! `lockstep image`: builds a guest image, shows the progress, says where the files are.
//!
//! What an image is made of is the business of the crate `image`.

use std::io::IsTerminal;

use anyhow::Result;
use image::{
    Appliance, ApplianceOptions, DebianImage, DebianOptions, Progress, Undone, Unit, build_appliance,
    build_debian,
};

use crate::args::ImageCommand;
use crate::values;

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
                disk_bytes: values::size(&size)?,
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
    }
    Ok(())
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
    if undone.is_empty() {
        return;
    }
    tell!("image: an appliance does not run the installation scripts of packages; not done was:");
    for Undone { package, what } in undone {
        tell!("image:   {package}: {what}");
    }
    let wanted: String = packages.iter().map(|name| format!(" --package {name}")).collect();
    tell!(
        "image: if the service needs that, `lockstep image debian{wanted}` makes a guest that has run them"
    );
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

/// Progress on standard error: one line that is rewritten on a terminal, a line per stage elsewhere.
#[derive(Default)]
struct Shown {
    stage: Option<image::Stage>,
}

impl Shown {
    fn progress(&mut self, progress: Progress) {
        let is_terminal = std::io::stderr().is_terminal();
        let is_new = self.stage.replace(progress.stage) != Some(progress.stage);
        if is_terminal {
            if is_new {
                self.newline();
            }
            os::stderr::write_text(format_args!(
                "\r\x1b[Kimage: {}{}",
                progress.stage,
                counts(&progress)
            ));
        } else if is_new {
            tell!("image: {}", progress.stage);
        }
    }

    fn newline(&self) {
        os::stderr::write_text(format_args!("\r"));
    }

    fn end(&self) {
        if self.stage.is_some() && std::io::stderr().is_terminal() {
            os::stderr::write_text(format_args!("\r\x1b[K"));
        }
    }
}

fn counts(progress: &Progress) -> String {
    let scale = match progress.unit {
        Unit::Packages => (1, ""),
        Unit::Bytes => (1 << 20, " MiB"),
    };
    match (progress.done, progress.total) {
        (0, 0) => String::new(),
        (done, 0) => format!(" {}{}", done / scale.0, scale.1),
        (done, total) => format!(" {}/{}{}", done / scale.0, total / scale.0, scale.1),
    }
}
