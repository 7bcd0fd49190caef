//! Builds an image from the command line, for trying the builder alone:
//! `image appliance|debian [--rebuild] [--package NAME]... [--run COMMAND] [--port PORT] [--script FILE]...`.

use host::image::{ApplianceOptions, DebianOptions, ImageError, Progress, build_appliance, build_debian};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rebuild = arguments.iter().any(|argument| argument == "--rebuild");
    let all = |name: &str| -> Vec<String> {
        arguments
            .windows(2)
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].clone())
            .collect()
    };
    let mut last = None;
    let mut report = |progress: Progress| {
        if last != Some((progress.stage, progress.done * 20 / progress.total.max(1))) {
            eprintln!("{} {}/{}", progress.stage, progress.done, progress.total);
            last = Some((progress.stage, progress.done * 20 / progress.total.max(1)));
        }
    };
    let packages = all("--package");
    let result: Result<(), ImageError> = match arguments.first().map(String::as_str) {
        Some("appliance") => {
            let options = ApplianceOptions {
                packages,
                rebuild,
                run: all("--run").pop(),
                port: all("--port").pop().and_then(|port| port.parse().ok()),
                scripts: all("--script").into_iter().map(Into::into).collect(),
                ..ApplianceOptions::default()
            };
            build_appliance(&options, &mut report).map(|image| println!("{image:#?}"))
        }
        Some("debian") => {
            let options = DebianOptions {
                rebuild,
                packages,
                ..DebianOptions::default()
            };
            build_debian(&options, &mut report).map(|image| println!("{image:#?}"))
        }
        _ => {
            eprintln!("usage: image appliance|debian");
            std::process::exit(2);
        }
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
