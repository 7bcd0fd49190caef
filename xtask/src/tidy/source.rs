//! Rules about Rust files: what may stand where, how long a file and a function may be.
//!
//! The rules read the text and the syntax tree; what a type or a lint can say is left to the compiler and
//! clippy.

use syn::visit::Visit;

use super::arrows::DETERMINISTIC;
use super::{File, Finding};

/// Lines of a file, without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, signature to closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Tables and dispatch loops that are clearer in one piece: (path, file lines, function lines). The numbers
/// may only go down.
const EXEMPT: &[(&str, usize, usize)] = &[("crates/hart/src/interp/int.rs", 500, 234)];

/// Where unsafe code may stand (docs/style.md U1).
const UNSAFE_ISLANDS: &[&str] = &[
    "crates/hart/src/ram.rs",
    "crates/hart/src/ram/advice.rs",
    "crates/hart/src/jit/",
    "crates/os/src/sys/",
    // Calls the C library that the soft float is compared with.
    "crates/hart/tests/fpu/berkeley.rs",
    // Asks the kernel for what the sandbox forbids.
    "crates/host/tests/sandbox/raw.rs",
];

/// What makes two runs differ: (token, what to use instead).
const NONDETERMINISTIC: &[(&str, &str)] = &[
    (
        "HashMap",
        "BTreeMap or a Vec: iteration order must be the same everywhere",
    ),
    (
        "HashSet",
        "BTreeSet or a Vec: iteration order must be the same everywhere",
    ),
    (
        "std::time",
        "Step for the guest, replica::Time as an argument for the host",
    ),
    (
        "SystemTime",
        "Step for the guest, replica::Time as an argument for the host",
    ),
    (
        "Instant::now",
        "Step for the guest, replica::Time as an argument for the host",
    ),
    ("std::thread", "nothing: threads live in host"),
    ("std::net", "nothing: sockets live in host"),
    ("std::fs", "nothing: files live in host"),
    ("std::process", "nothing: processes live in host"),
    ("std::env", "nothing: the environment is read in cli"),
];

/// What no file of ours may contain.
const NEVER: &[(&str, &str)] = &[
    ("#[ignore", "make the slow test a command of its own"),
    ("should_panic", "return an error and assert on it"),
    ("FIXME", "mend it, or write a decision note"),
    ("crates.io/api", "name no registry host"),
];

/// File names that become drawers.
const DRAWERS: &[&str] = &[
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "manager.rs",
    "misc.rs",
];

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        opening(file, findings);
        if file.path.starts_with("xtask/src/tidy/") {
            continue; // The rules name what they forbid.
        }
        tokens(file, findings);
        sizes(file, findings);
    }
}

fn opening(file: &File, findings: &mut Vec<Finding>) {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if DRAWERS.contains(&name) {
        push(
            findings,
            &file.path,
            0,
            "a drawer: name the file after its concept",
        );
    }
    let first = file.text.lines().find(|line| !line.starts_with("#!"));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        push(
            findings,
            &file.path,
            0,
            "opens without `//!`: what it is, where in the flow, what it never does",
        );
    }
}

fn tokens(file: &File, findings: &mut Vec<Finding>) {
    let production = production_lines(&file.text);
    let deterministic = DETERMINISTIC
        .iter()
        .any(|name| file.path.starts_with(&format!("crates/{name}/src/")))
        && file.path != "crates/sim/src/main.rs";
    let island = UNSAFE_ISLANDS.iter().any(|path| file.path.starts_with(path));
    for (index, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (token, instead) in NEVER {
            if code.contains(token) {
                push(findings, &file.path, index + 1, &format!("`{token}`: {instead}"));
            }
        }
        // A pause between two attempts to reach something outside is none; in a test it always is.
        if (index >= production || file.path.contains("/tests/")) && code.contains("thread::sleep") {
            push(
                findings,
                &file.path,
                index + 1,
                "`thread::sleep` in a test: wait for the event itself",
            );
        }
        if index >= production {
            continue;
        }
        if deterministic {
            for (token, instead) in NONDETERMINISTIC {
                if code.contains(token) {
                    push(findings, &file.path, index + 1, &format!("`{token}`: {instead}"));
                }
            }
        }
        let has_unsafe =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        if has_unsafe && !island {
            push(
                findings,
                &file.path,
                index + 1,
                "unsafe outside the three islands (docs/style.md U1)",
            );
        }
    }
}

fn sizes(file: &File, findings: &mut Vec<Finding>) {
    let (file_max, function_max) = EXEMPT
        .iter()
        .find(|(path, ..)| *path == file.path)
        .map_or((FILE_LINES_MAX, FUNCTION_LINES_MAX), |&(_, lines, function)| {
            (lines, function)
        });
    let lines = production_lines(&file.text);
    if lines > file_max && !file.path.contains("/tests/") {
        push(
            findings,
            &file.path,
            0,
            &format!("{lines} lines, at most {file_max}: split by concept"),
        );
    }
    let Ok(parsed) = syn::parse_file(&file.text) else {
        push(findings, &file.path, 0, "does not parse");
        return;
    };
    if file.path.contains("/tests/") {
        return; // A table of cases is clearest in one piece.
    }
    let mut functions = Functions {
        longest: Vec::new(),
        max: function_max,
    };
    functions.visit_file(&parsed);
    for (name, line, length) in functions.longest {
        let message = format!("function {name} has {length} lines, at most {function_max}");
        push(findings, &file.path, line, &message);
    }
}

/// Lines before the unit tests at the bottom of a file.
fn production_lines(text: &str) -> usize {
    text.lines()
        .position(|line| line.trim_start() == "#[cfg(test)]")
        .unwrap_or_else(|| text.lines().count())
}

struct Functions {
    longest: Vec<(String, usize, usize)>,
    max: usize,
}

impl Functions {
    fn look(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.fn_token.span.start().line;
        let length = block.brace_token.span.close().end().line - start + 1;
        if length > self.max {
            self.longest.push((signature.ident.to_string(), start, length));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

fn push(findings: &mut Vec<Finding>, path: &str, line: usize, message: &str) {
    let place = if line == 0 {
        path.to_owned()
    } else {
        format!("{path}:{line}")
    };
    findings.push(Finding {
        place,
        message: message.to_owned(),
    });
}
