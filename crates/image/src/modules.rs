//! The kernel modules of an appliance: which ones, in which order, and in the form that loads fastest.
//!
//! The kernel package has no `modules.dep` (depmod writes it on installation), so dependencies are read from
//! the modules themselves. Each module is stored decompressed and without its signature: checking one costs
//! the guest about 40 million instructions, and the package it came from was checked by apt. The kernel notes
//! "module verification failed" once and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

use super::elf;
use super::error::ImageError;

/// Size in bytes of the largest module that is accepted, decompressed. Debian's largest are graphics drivers
/// of some 10 MB.
const MODULE_BYTES_MAX: u64 = 64 << 20;

/// Mark at the end of a signed module.
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// Size in bytes of the description before the mark: eight bytes of kinds, and the signature's size in four.
const SIGNATURE_DESCRIPTION: usize = 12;

/// A module in the form in which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Name of the module, as the kernel writes it.
    pub name: String,
    /// Content of the module's ELF file.
    pub data: Vec<u8>,
}

/// All modules that a kernel package brings.
pub struct KernelModules {
    package: String,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl KernelModules {
    /// Looks through `directory`, which holds `kernel/` and `modules.builtin`.
    pub fn scan(directory: &Path, package: &str) -> Result<Self, ImageError> {
        let mut files = BTreeMap::new();
        collect(&directory.join("kernel"), &mut files)?;
        let list = directory.join("modules.builtin");
        let list = fs::read_to_string(&list).map_err(ImageError::file("read", &list))?;
        let built_in = list
            .lines()
            .filter_map(|line| module_name(Path::new(line)))
            .collect();
        Ok(Self {
            package: package.to_owned(),
            files,
            built_in,
        })
    }

    /// The modules `wanted` and all that they depend on, each behind those that it depends on. Modules that
    /// are built into the kernel are left out.
    pub fn in_load_order(&self, wanted: &[&str]) -> Result<Vec<Module>, ImageError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(&canonical(name), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<(), ImageError> {
        // The module is marked before its dependencies, so that a circle, which the kernel does not have,
        // would end too.
        if self.built_in.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self
            .files
            .get(name)
            .ok_or_else(|| ImageError::package(&self.package, format!("it has no module {name}")))?;
        let data = without_signature(self.read(path)?);
        let information = elf::module_information(&data)
            .ok_or_else(|| ImageError::package(&self.package, format!("the module {name} is damaged")))?;
        let depends = information.iter().filter(|(key, _)| key == "depends");
        for dependency in depends
            .flat_map(|(_, names)| names.split(','))
            .filter(|name| !name.is_empty())
        {
            self.visit(&canonical(dependency), seen, order)?;
        }
        order.push(Module {
            name: name.to_owned(),
            data,
        });
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, ImageError> {
        let file = fs::File::open(path).map_err(ImageError::file("open", path))?;
        let mut data = Vec::new();
        let reader: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => Box::new(XzReader::new(file, true)),
            Some("ko") => Box::new(file),
            _ => {
                let reason = format!("{} is compressed in an unknown way", path.display());
                return Err(ImageError::package(&self.package, reason));
            }
        };
        reader
            .take(MODULE_BYTES_MAX)
            .read_to_end(&mut data)
            .map_err(ImageError::file("decompress", path))?;
        Ok(data)
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    for entry in fs::read_dir(directory).map_err(ImageError::file("read", directory))? {
        let entry = entry.map_err(ImageError::file("read", directory))?;
        let path = entry.path();
        // Links are skipped, so that the package's content is not followed out of the package.
        let kind = entry.file_type().map_err(ImageError::file("read", &path))?;
        if kind.is_dir() {
            collect(&path, files)?;
        } else if kind.is_file()
            && let Some(name) = module_name(&path)
        {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The module's name of a file: `a/b/virtio-rng.ko.xz` is `virtio_rng`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, _) = file.split_once(".ko")?;
    Some(canonical(name))
}

/// A module's name with `_` for `-`, which the kernel takes for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn without_signature(mut data: Vec<u8>) -> Vec<u8> {
    let Some(signed) = data.strip_suffix(SIGNATURE_MARK) else {
        return data;
    };
    let Some(size) = signed.last_chunk::<4>().map(|size| u32::from_be_bytes(*size)) else {
        return data;
    };
    let trailer = SIGNATURE_MARK.len() + SIGNATURE_DESCRIPTION + size as usize;
    // A size that does not fit is not a signature's; the kernel may judge the module.
    if let Some(kept) = data.len().checked_sub(trailer) {
        data.truncate(kept);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file that has only a `.modinfo` section.
    fn module(information: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let information = information.as_bytes();
        let sections_at = 64 + information.len() + names.len();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([1, 0, 243, 0, 1, 0, 0, 0]);
        file.extend([0; 16]);
        file.extend((sections_at as u64).to_le_bytes());
        file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        file.extend(information);
        file.extend(names);
        let mut section = |name: u32, kind: u32, at: usize, size: usize| {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend([0; 16]);
            file.extend((at as u64).to_le_bytes());
            file.extend((size as u64).to_le_bytes());
            file.extend([0; 24]);
        };
        section(0, 0, 0, 0);
        section(1, 1, 64, information.len());
        section(10, 3, 64 + information.len(), names.len());
        file
    }

    fn signed(mut module: Vec<u8>) -> Vec<u8> {
        let signature = [0xab; 300];
        module.extend(signature);
        module.extend([0; 8]);
        module.extend(300_u32.to_be_bytes());
        module.extend(SIGNATURE_MARK);
        module
    }

    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("lockstep-modules-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("kernel/drivers/net")).unwrap();
            fs::write(root.join("modules.builtin"), "kernel/net/packet/af_packet.ko\n").unwrap();
            let add = |path: &str, information: &str| {
                fs::write(root.join("kernel").join(path), signed(module(information))).unwrap();
            };
            add("failover.ko", "license=GPL\0depends=\0");
            add("drivers/net/net_failover.ko", "depends=failover\0");
            add(
                "drivers/net/virtio_net.ko",
                "depends=net-failover,af_packet\0name=virtio_net\0",
            );
            add("virtio-rng.ko", "depends=\0");
            add("broken.ko", "depends=nothing_like_it\0");
            Self(root)
        }

        fn order(&self, wanted: &[&str]) -> Result<Vec<Module>, ImageError> {
            KernelModules::scan(&self.0, "linux-image")
                .unwrap()
                .in_load_order(wanted)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn dependencies_come_first_and_once_and_built_in_ones_not_at_all() {
        let modules = Fixture::new("order")
            .order(&["virtio-rng", "virtio_net", "failover"])
            .unwrap();
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["virtio_rng", "failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn stored_module_has_no_signature() {
        let modules = Fixture::new("signature").order(&["failover"]).unwrap();
        assert_eq!(modules[0].data, module("license=GPL\0depends=\0"));
    }

    #[test]
    fn missing_module_is_named() {
        let error = Fixture::new("missing")
            .order(&["broken"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("linux-image") && error.contains("nothing_like_it"),
            "{error}"
        );
    }

    #[test]
    fn data_that_only_ends_like_a_signed_module_is_left_alone() {
        let mut short = vec![0xff; 8];
        short.extend(SIGNATURE_MARK);
        assert_eq!(without_signature(short.clone()), short);
        assert_eq!(without_signature(SIGNATURE_MARK.to_vec()), SIGNATURE_MARK);
    }
}
