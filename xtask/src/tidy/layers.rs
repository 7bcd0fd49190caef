//! Which file of a crate uses which: no circles, and no arrow upwards where an order is given (docs/style.md
//! N5).
//!
//! A file uses another if its code, tests apart, names something of it by a path. A name that a table of
//! contents (`lib.rs`, `mod.rs`) passes on with `pub use` counts as a use of the file where it comes from, so
//! that a circle cannot hide behind one.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;

use super::{File, Finding};

/// Crates whose files still form circles: (crate, files in circles). The numbers may only go down.
const CIRCLES: &[(&str, usize)] = &[];

/// The order of all files below a folder of a crate's `src`, from below: (folder, files). A file uses only
/// files that stand before it. A table of contents that is not listed is above all.
const ORDERS: &[(&str, &[&str])] = &[
    (
        "hart/src/jit/",
        &[
            "emit/operand",
            "emit/emitter",
            "emit/bits",
            "emit/jump",
            "emit/vector",
            "emit/mod",
            "plan/csr",
            "plan/float",
            "plan/instruction",
            "plan/course",
            "plan/ahead",
            "plan/gather",
            "plan/quiet",
            "plan/simplify",
            "plan/words",
            "plan/seats",
            "plan/vectors",
            "plan/extent",
            "plan/sharing",
            "plan/streams",
            "plan/superblock",
            "workspace",
            "generate/host",
            "generate/pages",
            "generate/stubs",
            "generate/known",
            "generate/cold",
            "generate/block",
            "generate/vectors",
            "generate/registers",
            "generate/lookup",
            "generate/streams",
            "generate/flow",
            "generate/bits",
            "generate/integer",
            "generate/access",
            "generate/convert",
            "generate/float",
            "generate/csr",
            "generate/branch",
            "generate/translate",
            "memory",
            "frames",
            "support",
            "translations",
            "run",
        ],
    ),
    (
        "replica/src/",
        &[
            "limits",
            "mutation",
            "event",
            "metrics",
            "options",
            "guest/outputs",
            "guest/disks",
            "guest/clock",
            "guest/mod",
            "guest/computer",
            "guest/replay",
            "guest/playback",
            "guest/digests",
            "guest/framing",
            "guest/record",
            "peer/handshake",
            "peer/forming",
            "peer/channel",
            "peer/detect",
            "peer/pulse",
            "peer/lag",
            "peer/rest",
            "peer/mean",
            "peer/pace",
            "roles/call",
            "peer/follower",
            "roles/table",
            "roles/dismissal",
            "roles/gate",
            "clone/allowance",
            "clone/catch_up",
            "clone/standing",
            "clone/source",
            "clone/source/slices",
            "snapshot",
            "roles/backup",
            "roles/backup/birth",
            "roles/backup/slices",
            "roles/apprentice",
            "roles/live",
            "roles/live/cloning",
            "roles/live/snapshotting",
            "roles/primary",
            "roles/primary/replacing",
            "roles/primary/judging",
            "roles/primary/giving",
            "roles/primary/taking",
            "roles/handing",
            "roles/claiming",
            "roles/solo",
            "roles/mod",
            "node",
            "node/changes",
        ],
    ),
];

/// The module that a file is, and what it names.
#[derive(Default)]
struct Module {
    path: String,
    /// Paths in the module's code, from the root of the crate.
    names: Vec<Vec<String>>,
    /// Paths in the module's code that begin with a name of its own, of a module below it, or of another
    /// crate.
    bare: Vec<Vec<String>>,
    /// Names that the module passes on, each with the path behind it.
    passes_on: BTreeMap<String, Vec<String>>,
}

type Modules = BTreeMap<Vec<String>, Module>;

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    let crates: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("crates/")?.split('/').next())
        .collect();
    for name in crates {
        let modules = modules(files, name);
        let arrows = arrows(&modules);
        for (folder, order) in ORDERS {
            if folder
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('/'))
            {
                check_order(folder, order, &modules, &arrows, findings);
            }
        }
        let circles = circles(&arrows);
        let known = CIRCLES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |&(_, count)| count);
        let count: usize = circles.iter().map(BTreeSet::len).sum();
        if count == known {
            continue;
        }
        for circle in &circles {
            let mut message = format!("{count} files in circles, {known} are known; these use each other:");
            for from in circle {
                let used = arrows[*from].intersection(circle);
                let used: Vec<&str> = used.map(|module| modules[*module].path.as_str()).collect();
                message += &format!("\n    {} -> {}", modules[*from].path, used.join(", "));
            }
            findings.push(Finding {
                place: format!("crates/{name}"),
                message,
            });
        }
        if circles.is_empty() {
            findings.push(Finding {
                place: format!("crates/{name}"),
                message: format!(
                    "no circles any more, {known} files were known: lower the number in layers.rs"
                ),
            });
        }
    }
}

/// Every file below `folder` stands in `order`, and uses only files below `folder` that stand before it.
fn check_order(
    folder: &str,
    order: &[&str],
    modules: &Modules,
    arrows: &BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>>,
    findings: &mut Vec<Finding>,
) {
    let file = |module: &Vec<String>| {
        let path = modules[module].path.strip_prefix("crates/")?;
        Some(path.strip_prefix(folder)?.strip_suffix(".rs")?.to_owned())
    };
    let place = |file: &str| order.iter().position(|known| *known == file);
    let is_contents = |file: &str| file == "lib" || file.ends_with("mod") || file.contains("tests");
    for (from, used) in arrows {
        let Some(from) = file(from) else { continue };
        let mut finding = |message| {
            findings.push(Finding {
                place: format!("crates/{folder}{from}.rs"),
                message,
            });
        };
        let Some(height) = place(&from) else {
            if !is_contents(&from) {
                finding("has no place in the order of its folder: give it one in layers.rs".to_owned());
            }
            continue;
        };
        for used in used.iter().filter_map(|used| file(used)) {
            if place(&used).is_none_or(|place| place >= height) {
                finding(format!(
                    "uses {used}, which stands above it: share by moving down"
                ));
            }
        }
    }
}

/// All files under a crate's `src`, by module.
fn modules(files: &[File], name: &str) -> Modules {
    let prefix = format!("crates/{name}/src/");
    let mut modules = Modules::new();
    for file in files {
        let Some(inside) = file
            .path
            .strip_prefix(&prefix)
            .and_then(|path| path.strip_suffix(".rs"))
        else {
            continue;
        };
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if module
            .last()
            .is_some_and(|last| matches!(last.as_str(), "lib" | "main" | "mod"))
        {
            module.pop();
        }
        let Ok(parsed) = syn::parse_file(&file.text) else {
            continue;
        };
        let mut reader = Reader {
            module: module.clone(),
            found: Module::default(),
        };
        reader.visit_file(&parsed);
        reader.found.path.clone_from(&file.path);
        modules.insert(module, reader.found);
    }
    modules
}

/// Collects the paths in a file; leaves out code that is only compiled for tests.
struct Reader {
    module: Vec<String>,
    found: Module,
}

impl Reader {
    fn name(&mut self, segments: Vec<String>) {
        match absolute(&self.module, &segments) {
            Some(path) => self.found.names.push(path),
            None => self.found.bare.push(segments),
        }
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree, passes_on: bool) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree, passes_on),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree, passes_on);
                }
            }
            syn::UseTree::Glob(_) => self.name(before.to_vec()),
            syn::UseTree::Name(syn::UseName { ident }) => self.leaf(before, ident, ident, passes_on),
            syn::UseTree::Rename(rename) => self.leaf(before, &rename.ident, &rename.rename, passes_on),
        }
    }

    fn leaf(&mut self, before: &[String], ident: &syn::Ident, name: &syn::Ident, passes_on: bool) {
        let mut path = before.to_vec();
        if ident != "self" {
            path.push(ident.to_string());
        }
        if passes_on {
            let relative = matches!(path.first().map(String::as_str), Some("crate" | "self" | "super"));
            let path = if relative {
                path
            } else {
                [vec!["self".to_owned()], path].concat()
            };
            if let Some(path) = absolute(&self.module, &path) {
                self.found.passes_on.insert(name.to_string(), path);
            }
        } else {
            self.name(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        let for_tests = attributes.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|condition| condition == "test")
        });
        if !for_tests {
            syn::visit::visit_item(self, item);
        }
    }

    /// A visibility such as `pub(super)` names a module and uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let passes_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&[], &item.tree, passes_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.name(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        syn::visit::visit_path(self, path);
    }
}

/// A path from the root of the crate; `None`: it does not begin with `crate`, `self` or `super`.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let (first, mut rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => return None,
    };
    while let Some((next, more)) = rest.split_first()
        && next == "super"
    {
        base.pop();
        rest = more;
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// Which module uses which others.
fn arrows(modules: &Modules) -> BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> {
    modules
        .iter()
        .map(|(module, found)| {
            let bare = found.bare.iter().filter_map(|path| {
                let (first, rest) = path.split_first()?;
                let below = [module.as_slice(), std::slice::from_ref(first)].concat();
                // A single name without a path is a variable of that name.
                let is_module = modules.contains_key(&below) && !rest.is_empty();
                let behind = found.passes_on.get(first).cloned();
                let begin = behind.or_else(|| is_module.then_some(below))?;
                Some([begin.as_slice(), rest].concat())
            });
            let names = found.names.iter().cloned().chain(bare);
            let used = names.filter_map(|name| home(modules, &name, 0));
            (module, used.filter(|used| *used != module).collect())
        })
        .collect()
}

/// The module that defines what a path names.
fn home<'a>(modules: &'a Modules, path: &[String], depth: usize) -> Option<&'a Vec<String>> {
    let known = (0..=path.len())
        .rev()
        .find(|&length| modules.contains_key(&path[..length]))?;
    let (module, found) = modules.get_key_value(&path[..known])?;
    match path.get(known).and_then(|name| found.passes_on.get(name)) {
        Some(behind) if depth < 8 => home(modules, &[behind, &path[known + 1..]].concat(), depth + 1),
        // Naming a module of a table of contents is no use of that table.
        _ if known == path.len() && known == 0 => None,
        _ => Some(module),
    }
}

/// The groups of modules that reach each other.
fn circles<'a>(
    arrows: &BTreeMap<&'a Vec<String>, BTreeSet<&'a Vec<String>>>,
) -> Vec<BTreeSet<&'a Vec<String>>> {
    let reach: BTreeMap<_, _> = arrows
        .keys()
        .map(|&from| (from, reachable(arrows, from)))
        .collect();
    let mut circles: Vec<BTreeSet<&Vec<String>>> = Vec::new();
    for &module in arrows.keys() {
        if circles.iter().any(|circle| circle.contains(module)) || !reach[module].contains(module) {
            continue;
        }
        let both = reach[module].iter().copied();
        circles.push(both.filter(|other| reach[*other].contains(module)).collect());
    }
    circles
}

fn reachable<'a>(
    arrows: &BTreeMap<&'a Vec<String>, BTreeSet<&'a Vec<String>>>,
    from: &'a Vec<String>,
) -> BTreeSet<&'a Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<_> = arrows[from].iter().copied().collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(arrows[next].iter().copied());
        }
    }
    seen
}
