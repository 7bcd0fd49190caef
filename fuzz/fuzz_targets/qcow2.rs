//! Any bytes as a qcow2 image: it is refused, or read and written, never with a panic, nor with more memory
//! than the limits say; what was written is read again, also by who opens the image after a flush.
#![no_main]

use std::io;
use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use qcow2::Image;
use qcow2::parts::{Storage, image_on};

/// The image file may become so long.
const LEN_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Storage for Memory {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        data.fill(0);
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let length = data.len().min(bytes.len() - from);
        data[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let (from, to) = (offset as usize, offset as usize + data.len());
        if to > LEN_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if to > bytes.len() {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(data);
        Ok(())
    }

    fn forget(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write(offset, &vec![0xee; length as usize])
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads at the beginning of the disk, in its middle and at its end.
fn read(image: &Image) {
    let length = image.capacity().min(256 << 10);
    let mut data = vec![0; length as usize];
    for offset in [0, image.capacity() / 2, image.capacity() - length] {
        let within = offset.min(image.capacity() - length);
        let _ = image.read(within, &mut data);
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = image_on(Box::new(Memory(Arc::new(Mutex::new(bytes.to_vec())))), None, false) {
        read(&image);
    }
    let memory = Memory(Arc::new(Mutex::new(bytes.to_vec())));
    let Ok(image) = image_on(Box::new(memory.clone()), None, true) else {
        return;
    };
    read(&image);
    let data = [0x5a; 1024];
    let places = [0, image.capacity() / 3, image.capacity().saturating_sub(1024)].map(|at| at - at % 512);
    let fits = |at: &&u64| **at + 1024 <= image.capacity();
    let mut written = Vec::new();
    for at in places.iter().filter(fits) {
        let _ = image.write_zeroes(*at, 1024, at % 1024 == 0);
        if image.write(*at, &data).is_ok() {
            written.push(*at);
        }
    }
    let whole = |image: &Image| {
        for at in &written {
            let mut found = [0; 1024];
            image.read(*at, &mut found).unwrap();
            assert_eq!(found, data);
        }
    };
    whole(&image);
    if image.flush().is_err() {
        return;
    }
    let again = image_on(Box::new(memory), None, true).unwrap();
    whole(&again);
});
