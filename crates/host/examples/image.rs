//! Builds an image from the command line, for trying the builder alone: `image appliance|debian [--rebuild]`.

use host::image::{ApplianceOptions, DebianOptions, ImageError, Progress, build_appliance, build_debian};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rebuild = arguments.iter().any(|argument| argument == "--rebuild");
    let mut last = None;
    let mut report = |progress: Progress| {
        if last != Some(progress.stage) {
            eprintln!("{}", progress.stage);
            last = Some(progress.stage);
        }
    };
    let result: Result<(), ImageError> = match arguments.first().map(String::as_str) {
        Some("appliance") => {
            let options = ApplianceOptions {
                rebuild,
                ..ApplianceOptions::default()
            };
            build_appliance(&options, &mut report).map(|image| println!("{image:#?}"))
        }
        Some("debian") => {
            let options = DebianOptions {
                rebuild,
                ..DebianOptions::default()
            };
            build_debian(&options, &mut report).map(|image| println!("{image:#?}"))
        }
        _ => {
            eprintln!("usage: image appliance|debian [--rebuild]");
            std::process::exit(2);
        }
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
