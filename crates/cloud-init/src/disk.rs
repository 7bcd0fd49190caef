//! A FAT file system labelled `CIDATA` with a few files: the form in which cloud-init takes a disk for its
//! own.
//!
//! [`texts`](crate::texts) has it made. Every byte follows from the files: dates and the volume's number are
//! fixed here, and none comes from a clock.

use std::io::{self, Cursor, Write};

use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider, format_volume};

use crate::limits::DISK_LEN;

/// The label by which cloud-init finds the disk, filled up with spaces.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// The volume's number, `CIDA` in ASCII.
const VOLUME_ID: u32 = 0x4349_4441;

/// The date of everything on the disk: the first that FAT has.
#[derive(Debug)]
struct Never;

impl TimeProvider for Never {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

/// The bytes of a disk with these files in its root directory.
pub fn of_files(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; DISK_LEN];
    let format = FormatVolumeOptions::new()
        .volume_id(VOLUME_ID)
        .volume_label(LABEL);
    format_volume(Cursor::new(&mut bytes), format)?;
    let options = FsOptions::new().time_provider(&Never);
    let volume = FileSystem::new(Cursor::new(&mut bytes), options)?;
    for (name, content) in files {
        let mut file = volume.root_dir().create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    volume.unmount()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::CloudInit;

    /// What a reader of FAT finds on a disk.
    fn files(mut disk: Vec<u8>) -> Vec<(String, String)> {
        let volume = FileSystem::new(Cursor::new(&mut disk), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        assert_eq!(
            volume.read_volume_label_from_root_dir().unwrap().unwrap(),
            "CIDATA"
        );
        let entries = volume.root_dir().iter().map(Result::unwrap);
        entries
            .map(|entry| {
                let mut text = String::new();
                entry.to_file().read_to_string(&mut text).unwrap();
                (entry.file_name(), text)
            })
            .collect()
    }

    fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        files.iter().map(pair).collect()
    }

    #[test]
    fn the_disk_has_both_files_under_the_names_that_cloud_init_asks_for() {
        let given = CloudInit::new("#cloud-config\nusers: []\n", Some("instance-id: 7\n")).unwrap();
        let expected = pairs(&[
            ("user-data", "#cloud-config\nusers: []\n"),
            ("meta-data", "instance-id: 7\n"),
        ]);
        assert_eq!(files(given.disk("shop").unwrap()), expected);
    }

    #[test]
    fn without_meta_data_the_instance_is_called_as_the_vm_is() {
        let given = CloudInit::new("#!/bin/sh\n", None).unwrap();
        let expected = pairs(&[
            ("user-data", "#!/bin/sh\n"),
            (
                "meta-data",
                "instance-id: \"shop-1\"\nlocal-hostname: \"shop-1\"\n",
            ),
        ]);
        assert_eq!(files(given.disk("shop-1").unwrap()), expected);
    }

    #[test]
    fn the_largest_texts_have_room() {
        let user_data = format!("#!{}", "a".repeat(crate::USER_DATA_LEN_MAX - 2));
        let meta_data = "m".repeat(crate::META_DATA_LEN_MAX);
        let disk = CloudInit::new(&user_data, Some(&meta_data)).unwrap();
        let disk = disk.disk("shop").unwrap();
        assert_eq!(disk.len(), DISK_LEN);
        let expected = pairs(&[("user-data", &user_data), ("meta-data", &meta_data)]);
        assert_eq!(files(disk), expected);
    }

    /// The two halves of a pair may be of two releases, and each makes the disk itself.
    #[test]
    fn the_bytes_are_the_same_in_every_build() {
        let disk = CloudInit::new("#cloud-config\n", None).unwrap();
        let disk = disk.disk("shop").unwrap();
        // FNV-1a, which is written down in a line.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = disk.iter().fold(0xcbf2_9ce4_8422_2325, fold);
        assert_eq!(format!("{hash:016x}"), "3aa6955c139b019e");
    }
}
