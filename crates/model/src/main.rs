//! Runs searches and prints what they find. Arguments: none, for all searches and flaws of the tests; `deep`,
//! for the searches that take minutes; names of searches and flaws, for those alone.

use std::process::ExitCode;

use model::rules::Model;
use model::scenes::{self, Scene};
use model::{Found, explore, flaw};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |name: &str| names.iter().any(|wanted| wanted == name);
    let is_deep = |scene: &&Scene| is_named("deep") || is_named(scene.name);
    let usual = scenes::ALL
        .iter()
        .filter(|scene| names.is_empty() || is_named(scene.name));
    let mut is_well = true;

    for scene in usual.chain(scenes::DEEP.iter().filter(is_deep)) {
        let found = explore(scene.model(), None);
        print(scene, &found);
        for rule in found.broken() {
            print_path(&found, rule);
            is_well = false;
        }
        for sight in scene.sights.iter().filter(|sight| found.path(sight).is_none()) {
            println!("  never came upon: {sight}");
            is_well = false;
        }
    }
    for flaw in flaw::ALL {
        if !names.is_empty() && !is_named(&format!("{flaw:?}")) {
            continue;
        }
        let (scene, rule) = scenes::finds(flaw);
        let model = Model {
            flaw: Some(flaw),
            ..scene.model()
        };
        let found = explore(model, Some(rule));
        print!("\n{flaw:?} in ");
        print(&scene, &found);
        print_path(&found, rule);
        is_well &= found.path(rule).is_some();
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(scene: &Scene, found: &Found) {
    println!("{}: {} states, depth {}", scene.name, found.states, found.depth);
}

fn print_path(found: &Found, rule: &str) {
    let Some(path) = found.path(rule) else {
        return println!("  {rule} is not broken");
    };
    println!("  {rule} is broken after {} actions:", path.len());
    for action in path {
        println!("    {action:?}");
    }
}
