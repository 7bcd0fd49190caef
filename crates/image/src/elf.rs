//! What an ELF file says that it needs: the shared libraries of a program, the `.modinfo` of a kernel module.
//!
//! `assemble` and `modules` ask; a file that cannot be read as ELF needs nothing.

use object::elf::{DT_NEEDED, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

/// File names of the libraries that an ELF file needs, its program interpreter included. Another or a damaged
/// file needs none that could be found.
pub fn needed_libraries(data: &[u8]) -> Vec<String> {
    if !data.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    let Ok(file) = ElfFile64::<Endianness>::parse(data) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Ok(table) = file.elf_dynamic_table() {
        for entry in table.iter().filter(|entry| entry.tag == DT_NEEDED) {
            names.extend(table.string(entry).ok().and_then(text));
        }
    }
    let endian = file.endian();
    for header in file
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(endian) == PT_INTERP)
    {
        let interpreter = header.interpreter(endian, data).ok().flatten().and_then(text);
        names.extend(interpreter.and_then(|path| path.rsplit('/').next().map(str::to_owned)));
    }
    debug_assert!(file.elf_header().is_supported());
    names
}

/// The `key=value` strings of a kernel module.
pub fn module_information(data: &[u8]) -> Option<Vec<(String, String)>> {
    let file = ElfFile64::<Endianness>::parse(data).ok()?;
    let section = file.section_by_name(".modinfo")?;
    let strings = section.data().ok()?.split(|byte| *byte == 0).filter_map(text);
    Some(
        strings
            .filter_map(|line| {
                line.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            })
            .collect(),
    )
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_this_test_include_the_c_library() {
        let data = std::fs::read("/proc/self/exe").unwrap();
        let names = needed_libraries(&data);
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("ld-linux")), "{names:?}");
    }

    #[test]
    fn scripts_and_damaged_files_need_nothing() {
        assert!(needed_libraries(b"#!/bin/sh\n").is_empty());
        assert!(needed_libraries(b"\x7fELF\x02\x01\x01").is_empty());
        assert!(module_information(b"\x7fELF").is_none());
    }
}
