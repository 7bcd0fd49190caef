//! Finished images on disk: `~/.cache/lockstep/<kind>-<key>/`, one directory each, complete or absent.
//!
//! A build happens in a directory of another name, is flushed to the disk and then renamed. So a directory
//! with the final name is never half-made, whenever the power or the process goes. One build at a time holds
//! the lock; a directory that an earlier build left behind is removed under the same lock.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};

use super::error::ImageError;
use super::progress::{Progress, Report, Stage};

/// Beginning of the names of directories that are not finished images.
const UNFINISHED: &str = ".building-";

/// Beginning of the names of directories that a newer image replaces.
const REPLACED: &str = ".replaced-";

/// The directory with the images of a user.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `$XDG_CACHE_HOME/lockstep`, or `~/.cache/lockstep`.
    pub fn of_user() -> Result<Self, ImageError> {
        let directory = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| {
                std::env::home_dir()
                    .filter(|home| home.is_absolute())
                    .map(|home| home.join(".cache"))
            });
        directory
            .map(|directory| Self::at(directory.join("lockstep")))
            .ok_or_else(|| {
                ImageError::Option("neither XDG_CACHE_HOME nor HOME says where to keep images".to_owned())
            })
    }

    /// The directory that holds the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The finished image of that key, if there is one.
    pub(super) fn find(&self, key: &Key) -> Option<PathBuf> {
        let directory = self.root.join(key.to_string());
        directory.is_dir().then_some(directory)
    }

    /// The finished image of that key: the image that is there unless `rebuild`, else the one that `build`
    /// makes in the empty directory that it is given.
    pub(super) fn find_or_build(
        &self,
        key: &Key,
        rebuild: bool,
        report: Report<'_>,
        build: impl FnOnce(&Path, Report<'_>) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        if let Some(found) = self.find(key).filter(|_| !rebuild) {
            return Ok(found);
        }
        let _lock = self.lock(report)?;
        // The process that held the lock before may have built the same image.
        if let Some(found) = self.find(key).filter(|_| !rebuild) {
            return Ok(found);
        }
        self.remove_leftovers()?;
        let unfinished = self.root.join(format!("{UNFINISHED}{key}"));
        fs::create_dir(&unfinished).map_err(ImageError::file("create", &unfinished))?;
        let built = build(&unfinished, report).and_then(|()| self.publish(key, &unfinished));
        if built.is_err() {
            // A failure is ignored: the error to report is the build's, and the next build cleans up as well.
            let _ = fs::remove_dir_all(&unfinished);
        }
        built
    }

    fn publish(&self, key: &Key, unfinished: &Path) -> Result<PathBuf, ImageError> {
        for entry in fs::read_dir(unfinished).map_err(ImageError::file("read", unfinished))? {
            let path = entry.map_err(ImageError::file("read", unfinished))?.path();
            flush(&path)?;
        }
        flush(unfinished)?;
        let directory = self.root.join(key.to_string());
        let replaced = self.root.join(format!("{REPLACED}{key}"));
        if directory.exists() {
            // A directory cannot be renamed over another. If the process is killed between the two renames,
            // the image is absent.
            fs::rename(&directory, &replaced).map_err(ImageError::file("replace", &directory))?;
        }
        fs::rename(unfinished, &directory).map_err(ImageError::file("create", &directory))?;
        flush(&self.root)?;
        // Machines that run from the replaced files have them open; the names may go.
        let _ = fs::remove_dir_all(&replaced);
        Ok(directory)
    }

    fn lock(&self, report: Report<'_>) -> Result<File, ImageError> {
        fs::create_dir_all(&self.root).map_err(ImageError::file("create", &self.root))?;
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(ImageError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report(Progress::begin(Stage::Waiting));
                file.lock().map_err(ImageError::file("lock", &path))?;
            }
            Err(TryLockError::Error(source)) => return Err(ImageError::file("lock", &path)(source)),
        }
        Ok(file)
    }

    fn remove_leftovers(&self) -> Result<(), ImageError> {
        for entry in fs::read_dir(&self.root).map_err(ImageError::file("read", &self.root))? {
            let entry = entry.map_err(ImageError::file("read", &self.root))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(UNFINISHED) || name.starts_with(REPLACED) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(ImageError::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn flush(path: &Path) -> Result<(), ImageError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(ImageError::file("flush", path))
}

/// Identifies an image: its kind, and everything that went into it from our side.
pub(super) struct Key {
    kind: &'static str,
    digest: Blake2s256,
}

impl Key {
    /// A key for an image of that kind, made by that version of the builder.
    pub fn new(kind: &'static str, version: u32) -> Self {
        Self {
            kind,
            digest: Blake2s256::new(),
        }
        .with(&version.to_le_bytes())
    }

    /// Adds an ingredient.
    pub fn with(mut self, ingredient: &[u8]) -> Self {
        // The length comes first, so that ("ab", "c") and ("a", "bc") are different.
        self.digest.update((ingredient.len() as u64).to_le_bytes());
        self.digest.update(ingredient);
        self
    }

    /// Adds a list of ingredients.
    pub fn with_all<T: AsRef<[u8]>>(self, ingredients: &[T]) -> Self {
        let counted = self.with(&(ingredients.len() as u64).to_le_bytes());
        ingredients
            .iter()
            .fold(counted, |key, ingredient| key.with(ingredient.as_ref()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.kind)?;
        // Eight bytes are enough, since the images are one user's and no adversary's.
        self.digest
            .clone()
            .finalize()
            .iter()
            .take(8)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache in a directory of its own, which is removed with it.
    struct Fixture(Cache);

    impl Fixture {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("lockstep-cache-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            Self(Cache::at(root))
        }

        fn build(&self, rebuild: bool, content: &str) -> Result<PathBuf, ImageError> {
            self.0
                .find_or_build(&key(), rebuild, &mut |_| {}, |directory, _| {
                    fs::write(directory.join("kernel"), content).unwrap();
                    Ok(())
                })
        }

        fn fail(&self) -> Result<PathBuf, ImageError> {
            self.0.find_or_build(&key(), true, &mut |_| {}, |directory, _| {
                fs::write(directory.join("kernel"), "half").unwrap();
                Err(ImageError::NoMirror)
            })
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.root()).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.root());
        }
    }

    fn key() -> Key {
        Key::new("appliance", 1).with(b"options")
    }

    #[test]
    fn finished_image_is_used_again() {
        let cache = Fixture::new("again");
        let first = cache.build(false, "one").unwrap();
        assert_eq!(cache.build(false, "two").unwrap(), first);
        assert_eq!(fs::read_to_string(first.join("kernel")).unwrap(), "one");
    }

    #[test]
    fn rebuild_replaces_the_image() {
        let cache = Fixture::new("rebuild");
        cache.build(false, "one").unwrap();
        let directory = cache.build(true, "two").unwrap();
        assert_eq!(fs::read_to_string(directory.join("kernel")).unwrap(), "two");
        assert_eq!(cache.names(), [key().to_string(), "lock".to_owned()]);
    }

    #[test]
    fn failed_build_leaves_nothing() {
        let cache = Fixture::new("failed");
        assert!(cache.fail().is_err());
        assert!(cache.0.find(&key()).is_none());
        assert_eq!(cache.names(), ["lock"]);
    }

    #[test]
    fn failed_rebuild_leaves_the_old_image() {
        let cache = Fixture::new("failed-rebuild");
        let directory = cache.build(false, "one").unwrap();
        assert!(cache.fail().is_err());
        assert_eq!(fs::read_to_string(directory.join("kernel")).unwrap(), "one");
    }

    #[test]
    fn killed_build_is_no_image_and_is_cleaned_up() {
        let cache = Fixture::new("killed");
        // These are left by a build that was killed while it wrote, and by one that was killed between the
        // renames.
        for prefix in [UNFINISHED, REPLACED] {
            let left = cache.0.root().join(format!("{prefix}{}", key()));
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("kernel"), "half").unwrap();
        }
        assert!(cache.0.find(&key()).is_none());
        let directory = cache.build(false, "whole").unwrap();
        assert_eq!(fs::read_to_string(directory.join("kernel")).unwrap(), "whole");
        assert_eq!(cache.names(), [key().to_string(), "lock".to_owned()]);
    }

    #[test]
    fn second_builder_waits_and_uses_what_the_first_built() {
        let cache = Fixture::new("second");
        let mut waited = false;
        std::thread::scope(|scope| {
            let (started, start) = std::sync::mpsc::channel();
            let (finish, finished) = std::sync::mpsc::channel::<()>();
            let first = scope.spawn({
                let cache = &cache;
                move || {
                    cache.0.find_or_build(&key(), false, &mut |_| {}, |directory, _| {
                        started.send(()).unwrap();
                        finished.recv().unwrap();
                        fs::write(directory.join("kernel"), "first").unwrap();
                        Ok(())
                    })
                }
            });
            start.recv().unwrap();
            let mut report = |progress: Progress| {
                waited |= progress.stage == Stage::Waiting;
                finish.send(()).unwrap();
            };
            let second = cache
                .0
                .find_or_build(&key(), false, &mut report, |_, _| Err(ImageError::NoMirror));
            assert_eq!(second.unwrap(), first.join().unwrap().unwrap());
        });
        assert!(waited);
    }

    #[test]
    fn key_depends_on_every_ingredient_and_their_borders() {
        let text = |key: Key| key.to_string();
        assert_ne!(
            text(Key::new("a", 1).with(b"ab").with(b"c")),
            text(Key::new("a", 1).with(b"a").with(b"bc"))
        );
        assert_ne!(text(Key::new("a", 1)), text(Key::new("a", 2)));
        assert_ne!(
            text(Key::new("a", 1).with_all(&["x"]).with_all::<&str>(&[])),
            text(Key::new("a", 1).with_all::<&str>(&[]).with_all(&["x"]))
        );
        assert_eq!(text(key()), text(key()));
        assert!(text(key()).starts_with("appliance-"));
    }
}
