//! Which user a server runs as, and the folder it keeps its data in.
//!
//! Postgres refuses to run as root. Run by root we start it as `postgres` where that user exists, else as `nobody`, and give that user
//! a private folder. Where it cannot reach the folder asked for (a checkout below /root), the data lies under /var/tmp, in a folder
//! named after a hash of the path asked for, with a symbolic link at that path. Asking again finds the same folder.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::process;

/// The user a server runs as, where that is not the user we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The unprivileged user for a server that refuses to run as root; nobody special when we are not root.
    fn unprivileged() -> Result<Option<Self>> {
        if process::output(Command::new("id").arg("-u"))? != "0" {
            return Ok(None);
        }
        Self::named("postgres").or_else(|| Self::named("nobody")).map(Some).ok_or_else(|| {
            Error::Advice(
                "Postgres does not run as root, and there is no user `postgres` or `nobody`: add one of them"
                    .to_owned(),
            )
        })
    }

    fn named(name: &str) -> Option<Self> {
        let number = |which| process::output(Command::new("id").args([which, name])).ok()?.parse().ok();
        Some(Self { uid: number("-u")?, gid: number("-g")? })
    }

    /// Makes a command run as this user.
    fn adopt(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    fn can_enter(self, folder: &Path) -> bool {
        let mut test = Command::new("test");
        self.adopt(test.arg("-x").arg(folder).current_dir("/"));
        process::output(&mut test).is_ok()
    }
}

/// A private folder (mode 0700) and the user it belongs to.
#[derive(Debug)]
pub(super) struct Home {
    /// Where it really is.
    pub(super) folder: PathBuf,
    /// The link that leads there, when it is not where it was asked for.
    link: Option<PathBuf>,
    account: Option<Account>,
}

impl Home {
    /// Makes or finds the folder for a server that refuses to run as root.
    pub(super) fn prepare(asked: &Path) -> Result<Self> {
        let parent = asked.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
        let parent = &fs::canonicalize(parent).map_err(Error::file("looking up", parent))?;
        let asked = &parent.join(asked.file_name().unwrap_or_default());
        let Some(account) = Account::unprivileged()? else {
            own_folder(asked, None)?;
            return Ok(Self { folder: asked.clone(), link: None, account: None });
        };
        if account.can_enter(parent) {
            own_folder(asked, Some(account))?;
            return Ok(Self { folder: asked.clone(), link: None, account: Some(account) });
        }
        let places = [PathBuf::from("/var/tmp"), env::temp_dir()];
        let Some(place) = places.iter().find(|place| account.can_enter(place)) else {
            return Err(Error::Advice(format!(
                "the user Postgres runs as can reach neither {} nor /var/tmp nor the temporary folder: set TMPDIR to one it can enter",
                parent.display()
            )));
        };
        let folder = place.join(format!("amzigo-{:016x}", fnv1a(asked.as_os_str().as_encoded_bytes())));
        own_folder(&folder, Some(account))?;
        if fs::read_link(asked).ok().as_ref() != Some(&folder) {
            match fs::remove_file(asked) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::file("replacing", asked)(error));
                }
                _ => symlink(&folder, asked).map_err(Error::file("linking", asked))?,
            }
        }
        Ok(Self { folder, link: Some(asked.clone()), account: Some(account) })
    }

    /// A command that runs as the folder's user, inside the folder, with nothing of our environment but PATH: a stray PGPORT or TZ
    /// must not change what a server does.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.folder);
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(account) = self.account {
            account.adopt(&mut command);
        }
        command
    }

    /// Writes a file that only the folder's user can read.
    pub(super) fn write_private(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::io::Write;
        use std::os::unix::fs::{OpenOptionsExt, fchown};
        let path = self.folder.join(name);
        remove_file(&path)?;
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| {
            if let Some(account) = self.account {
                fchown(&file, Some(account.uid), Some(account.gid))?;
            }
            file.write_all(text.as_bytes())
        })
        .map_err(Error::file("writing", &path))?;
        Ok(path)
    }

    /// Removes a folder that had to lie elsewhere, and the link to it. A folder where it was asked for is its caller's to remove.
    pub(super) fn remove_if_elsewhere(&self) -> Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        remove_folder(&self.folder)?;
        remove_file(link)
    }
}

/// Removes a file; one that is not there is as good as removed.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is not there is as good as removed.
pub(super) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Makes a private folder, or accepts one that is ours already. Under /var/tmp anybody may have put something of that name.
fn own_folder(folder: &Path, account: Option<Account>) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::file("creating", folder)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(Error::file("looking at", folder))?;
    let Some(account) = account else { return Ok(()) };
    if !found.is_dir() || ![0, account.uid].contains(&found.uid()) {
        return Err(Error::Advice(format!(
            "{} must be a folder of user {} (it is of user {}): remove it and try again",
            folder.display(),
            account.uid,
            found.uid()
        )));
    }
    chown(folder, Some(account.uid), Some(account.gid))
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
        .map_err(Error::file("taking over", folder))
}

/// The FNV-1a hash: unlike std's it is the same in every release, so that a newer compiler finds the folder again.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_folder_elsewhere_does_not_change() {
        assert_eq!(
            fnv1a(b"/root/project/target/services/postgres"),
            fnv1a(b"/root/project/target/services/postgres")
        );
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published FNV-1a value of \"a\"");
    }
}
