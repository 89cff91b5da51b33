//! One command at a time: a lock file that two commands cannot hold at once.
//!
//! Locks belong to open files, so a killed command holds none.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::Interrupts;

/// Opens a lock file, making it where there is none.
pub(crate) fn lock_file(folder: &Path, name: &str) -> Result<(File, PathBuf)> {
    fs::create_dir_all(folder).map_err(Error::file("creating", folder))?;
    let path = folder.join(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::file("opening", &path))?;
    Ok((file, path))
}

/// Waits for its turn to do something in `folder`; says so when that is not at once. Its turn ends when the file is dropped.
pub(crate) fn take_turn(folder: &Path, doing: &str, say: fn(&str), interrupts: &Interrupts) -> Result<File> {
    let (file, path) = lock_file(folder, "lock")?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::file("locking", &path)(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        if !said {
            say(&format!("another command is {doing}: waiting for it"));
            said = true;
        }
        // Asked again and again, because a wait inside the kernel would not hear of a Ctrl-C.
        interrupts.check()?;
        thread::sleep(Duration::from_millis(50));
    }
}
