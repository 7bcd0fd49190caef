//! `Symbols`: names for a guest's addresses, from files that say them: a kernel's `System.map`, what a
//! running kernel shows in `/proc/kallsyms`, or an ELF file that was not stripped.
//!
//! `--symbols` loads them, and profile and perf map ask for names. A name is for people: no run depends on
//! it.

use std::path::{Path, PathBuf};

use hart::Privilege;
use hart::profile::Place;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// No name reaches farther than this beyond its address: what lies behind the last symbol of a file is none
/// of its.
const REACH: u64 = 1 << 20;

/// A file of symbols is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The file cannot be read.
    #[error("cannot read the symbols {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// What the operating system said of it.
        source: std::io::Error,
    },
    /// The file names no address.
    #[error(
        "no symbols in {path}; give a System.map, a copy of the guest's /proc/kallsyms (root sees addresses \
         in it), or an ELF file that was not stripped"
    )]
    None {
        /// Path of the file.
        path: PathBuf,
    },
}

/// Names by address.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// In order of addresses, each once.
    list: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads files.
    ///
    /// # Errors
    /// One of them cannot be read, or has no symbols.
    pub fn load(paths: &[PathBuf]) -> Result<Symbols, SymbolsError> {
        let mut list = Vec::new();
        for path in paths {
            list.extend(read(path)?);
        }
        // The first name of an address: in a kernel's list the others are the start of a section or an alias.
        list.sort_by_key(|&(address, _)| address);
        list.dedup_by_key(|&mut (address, _)| address);
        Ok(Symbols { list })
    }

    /// The symbol that an address belongs to, and how far it is into it.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let behind = self.list.partition_point(|&(start, _)| start <= address);
        let (start, name) = self.list.get(behind.checked_sub(1)?)?;
        let offset = address - start;
        (offset < REACH).then_some((name.as_str(), offset))
    }
}

fn read(path: &Path) -> Result<Vec<(u64, String)>, SymbolsError> {
    let bytes = std::fs::read(path).map_err(|source| SymbolsError::Read {
        path: path.into(),
        source,
    })?;
    let list = match ElfFile64::<Endianness>::parse(bytes.as_slice()) {
        Ok(file) => of_elf(&file),
        Err(_) => of_text(&String::from_utf8_lossy(&bytes)),
    };
    if list.is_empty() {
        return Err(SymbolsError::None { path: path.into() });
    }
    Ok(list)
}

fn of_elf(file: &ElfFile64<'_, Endianness>) -> Vec<(u64, String)> {
    let named = file.symbols().filter(|symbol| {
        symbol.is_definition()
            && matches!(
                symbol.kind(),
                SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown
            )
    });
    named
        .filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| is_name(name))?;
            Some((symbol.address(), name.to_owned()))
        })
        .collect()
}

/// Lines such as `ffffffff80001234 T start_kernel`, perhaps with `[module]` at the end.
fn of_text(text: &str) -> Vec<(u64, String)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?;
        let name = words.next().filter(|name| is_name(name))?;
        // To others than root, a kernel shows zeroes.
        let is_code = matches!(kind, "t" | "T" | "w" | "W") && address != 0;
        is_code.then(|| match words.next() {
            Some(module) => (address, format!("{name} {module}")),
            None => (address, name.to_owned()),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Assemblers and linkers leave marks that name nothing.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['$', '.'])
}

/// What to call a place: its mode, and its symbol or address.
#[must_use]
pub fn name(place: Place, symbols: &Symbols) -> String {
    let mode = mode_letter(place.privilege);
    // A name of the kernel's is none of a program's.
    match symbols
        .find(place.pc)
        .filter(|_| place.privilege != Privilege::User)
    {
        Some((symbol, offset)) => format!("{mode} {symbol}+{offset:#x}"),
        None => format!("{mode} {:#x}", place.pc),
    }
}

/// The manual's letter for a mode.
#[must_use]
pub fn mode_letter(privilege: Privilege) -> char {
    match privilege {
        Privilege::User => 'U',
        Privilege::Supervisor => 'S',
        Privilege::Machine => 'M',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("symbols");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn a_list_of_a_kernel_names_its_code() {
        let text = b"ffffffff80000000 T _start\nffffffff80000000 T _stext\nffffffff80000100 t $x\n\
                     ffffffff80001000 T start_kernel\nffffffff80002000 D data\n\
                      ffffffff01000000 t send\t[virtio_net]\n";
        let (_directory, path) = file(text);
        let symbols = Symbols::load(&[path]).unwrap();
        assert_eq!(symbols.find(0xffff_ffff_8000_0104), Some(("_start", 0x104)));
        assert_eq!(
            symbols.find(0xffff_ffff_8000_2010),
            Some(("start_kernel", 0x1010))
        );
        assert_eq!(
            symbols.find(0xffff_ffff_0100_0000),
            Some(("send [virtio_net]", 0))
        );
        assert_eq!(symbols.find(0xffff_ffff_9000_0000), None);
        assert_eq!(symbols.find(0x1000), None);
    }

    #[test]
    fn an_elf_file_names_its_functions() {
        let symbols = Symbols::load(&["/proc/self/exe".into()]).unwrap();
        assert!(
            symbols
                .list
                .iter()
                .any(|(_, name)| name.contains("an_elf_file_names_its_functions")),
            "this very function"
        );
    }

    #[test]
    fn a_file_without_symbols_is_refused() {
        for text in [
            &b"\x00\x01\x02"[..],
            b"0000000000000000 T hidden\n",
            b"hello world\n",
        ] {
            let (_directory, path) = file(text);
            let error = Symbols::load(&[path]).unwrap_err();
            assert!(error.to_string().contains("no symbols in"), "{error}");
        }
        let error = Symbols::load(&["/nowhere/System.map".into()]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/System.map"), "{error}");
    }
}
