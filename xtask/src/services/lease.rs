//! The services for as long as a command needs them.
//!
//! Every lease holds a shared lock on `in-use`; whoever gives its lease back and then gets that lock alone was the last one out, and
//! stops what nobody asked to keep. Giving back after a failure, or after `services stop`, is safe: what does not run is not stopped.

use std::fs::File;

use super::state::State;
use super::{Services, TURN, Urls};
use crate::error::{Error, Result};
use crate::process::Interrupts;
use crate::turn::{lock_file, take_turn};

impl Services {
    /// Starts what does not run, and keeps it as long as the lease (of any command) lasts.
    ///
    /// # Errors
    /// As [`Services::start`].
    pub fn lease(&self) -> Result<Lease<'_>> {
        let turn = take_turn(&self.folder, TURN, self.say, &self.interrupts)?;
        let (in_use, path) = lock_file(&self.folder, "in-use")?;
        // Does not wait: it is locked exclusively only by a command whose turn it is.
        in_use.lock_shared().map_err(Error::file("locking", &path))?;
        let mut lease = Lease {
            services: self,
            in_use: Some(in_use),
            urls: Urls { redis: String::new(), postgres: String::new() },
        };
        let urls = State::load(&self.folder).and_then(|mut state| self.bring_up(&mut state));
        // Giving the lease back, here or when the start has failed, takes a turn of its own: no `?` above this line.
        drop(turn);
        lease.urls = urls?;
        Ok(lease)
    }
}

/// The services, for as long as a command needs them.
pub struct Lease<'a> {
    services: &'a Services,
    in_use: Option<File>,
    urls: Urls,
}

impl Lease<'_> {
    /// Where they are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Gives them back: stops what was started for a command's sake once no command needs it.
    ///
    /// # Errors
    /// When a server does not end.
    pub fn give_back(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(in_use) = self.in_use.take() else { return Ok(()) };
        let folder = &self.services.folder;
        // Not to be interrupted: a lease that is given back without its turn could leave servers that nobody needs.
        let _turn = take_turn(folder, TURN, self.services.say, &Interrupts::default())?;
        drop(in_use);
        let (others, _) = lock_file(folder, "in-use")?;
        let state = State::load(folder)?;
        if state.keep || others.try_lock().is_err() {
            return Ok(());
        }
        self.services.bring_down(&state)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            (self.services.say)(&format!("stopping the services: {error}"));
        }
    }
}
