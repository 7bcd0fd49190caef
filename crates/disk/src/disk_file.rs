//! `DiskFile`: where a disk is, as the operator has named it.

use std::path::{Path, PathBuf};

use ::qcow2::Format;

use crate::error::DiskError;
use crate::nbd::NbdPlace;

/// The file of a disk, as the operator has named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFile {
    /// A raw file, a block device, a qcow2 image, or a place at a disk server.
    pub path: PathBuf,
    /// What the file holds; `None`: its name says it, an image if the name ends in `.qcow2`.
    pub format: Option<Format>,
    /// The image that takes all writes, so that the file at `path` stays as it is; `None`: that file takes
    /// them. It is made if it is not there.
    pub overlay: Option<PathBuf>,
    /// A backing file of the image that may lie in any directory; `None`: all are beside their images.
    pub backing: Option<PathBuf>,
}

impl DiskFile {
    /// A file of which nothing is said but its path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> DiskFile {
        DiskFile {
            path: path.into(),
            format: None,
            overlay: None,
            backing: None,
        }
    }

    /// The file that takes the guest's writes.
    #[must_use]
    pub fn written(&self) -> &Path {
        self.overlay.as_deref().unwrap_or(&self.path)
    }

    /// What the file at `path` holds. Its content never decides that: a guest may have written it.
    pub(crate) fn format(&self) -> Format {
        let is_named_so = self.path.extension().is_some_and(|suffix| suffix == "qcow2");
        let by_name = if is_named_so { Format::Qcow2 } else { Format::Raw };
        self.format.unwrap_or(by_name)
    }

    /// Where the disk is if it is at a server; `None`: it is a file.
    ///
    /// # Errors
    /// It is meant to be such a place, and is none.
    pub fn place(&self) -> Result<Option<NbdPlace>, DiskError> {
        let text = self.path.to_str().filter(|text| NbdPlace::is_meant(text));
        Ok(text.map(str::parse).transpose()?)
    }
}
