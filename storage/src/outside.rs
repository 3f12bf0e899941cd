//! What storage asks of the world outside it: files, clocks, names that nobody else has, time to wait, tasks, Delta's own threads.
//!
//! In the binary this costs nothing: [`fs`] *is* `std::fs`, the functions are calls of `std`, `chrono`, `uuid` and `tokio`. In the tests of this
//! crate a simulated world may stand in their place (see `simulation`), which has one thread, a clock of its own and a disk that
//! fails. So whatever storage wants of the outside goes through here; what goes past it is not simulated.

#[cfg(test)]
pub(crate) mod fs;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
#[cfg(not(test))]
pub(crate) use std::fs;
use uuid::Uuid;

#[cfg(test)]
use crate::simulation::world;

/// The time of day. It may be set, forward and back, at any moment.
pub(crate) fn wall_clock() -> DateTime<Utc> {
    #[cfg(test)]
    if let Some(world) = world::current() {
        return world.wall_clock();
    }
    Utc::now()
}

/// The clock that only goes forward. Durations are differences of its values, never of [`wall_clock`].
pub(crate) fn monotonic() -> Instant {
    #[cfg(test)]
    if let Some(world) = world::current() {
        return world.monotonic();
    }
    Instant::now()
}

/// This process knows now that it holds the lease of a lake until then, or that it does not.
#[cfg_attr(not(test), expect(unused_variables, reason = "only a simulated world listens"))]
pub(crate) fn told_of_lease(until: Option<Instant>) {
    #[cfg(test)]
    if let Some(world) = world::current() {
        world.told_of_lease(until);
    }
}

/// A name that nothing else has.
pub(crate) fn unique_id() -> Uuid {
    #[cfg(test)]
    if let Some(world) = world::current() {
        return world.unique_id();
    }
    Uuid::new_v4()
}

/// Waits for `duration` of [`monotonic`] time.
pub(crate) async fn sleep(duration: Duration) {
    #[cfg(test)]
    if let Some(world) = world::current() {
        return world.sleep(duration).await;
    }
    tokio::time::sleep(duration).await;
}

/// A task that runs beside its owner.
pub(crate) struct Task(Running);

enum Running {
    Tokio(tokio::task::JoinHandle<()>),
    #[cfg(test)]
    Simulated(world::TaskHandle),
}

impl Task {
    /// Starts `work`.
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        #[cfg(test)]
        if let Some(world) = world::current() {
            return Self(Running::Simulated(world.spawn(work)));
        }
        Self(Running::Tokio(tokio::spawn(work)))
    }

    /// Ends it at its next await.
    pub(crate) fn abort(&self) {
        match &self.0 {
            Running::Tokio(handle) => handle.abort(),
            #[cfg(test)]
            Running::Simulated(handle) => handle.abort(),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it panicked or was aborted.
    pub(crate) async fn join(self) -> Result<(), tokio::task::JoinError> {
        match self.0 {
            Running::Tokio(handle) => handle.await,
            #[cfg(test)]
            Running::Simulated(handle) => {
                handle.ended().await;
                Ok(())
            }
        }
    }
}

/// Runs `work`, which uses threads of a library's own: here, those of Delta's kernel.
pub(crate) async fn with_own_threads<T: Send>(work: impl Future<Output = T> + Send) -> T {
    #[cfg(test)]
    if world::current().is_some() {
        return world::to_its_end_on_another_thread(work);
    }
    work.await
}

/// Makes the folder `dir`, and those it lies in, if they are missing. Durable: also where an earlier process made it and was killed.
pub(crate) fn create_dir_durably(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent != dir && !parent.as_os_str().is_empty() => {
            create_dir_durably(parent)?;
            return create_dir_durably(dir);
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match sync_dir(parent) {
        // Who may not look into the parent did not make the folder.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Folders that this process knows to be durable, so that it makes and fsyncs each of them once.
#[derive(Debug, Default)]
pub(crate) struct DurableFolders(Mutex<HashSet<PathBuf>>);

impl DurableFolders {
    /// Makes the folders from `root`, which is durable, down to `dir`. That a folder is there says nothing: another thread may have made it
    /// just now, or an earlier process just before it was killed.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub(crate) fn ensure(&self, root: &Path, dir: &Path) -> io::Result<()> {
        let made = self.make(root, dir);
        if made.is_err() {
            self.forget();
        }
        made
    }

    fn make(&self, root: &Path, dir: &Path) -> io::Result<()> {
        if dir == root || self.0.lock().contains(dir) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(root);
        self.make(root, parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_dir(parent)?,
        }
        self.0.lock().insert(dir.to_owned());
        Ok(())
    }

    /// Forgets all: something failed, perhaps because someone removed a folder.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Makes `text` the content of the file `name` in `dir`, durably: a crash leaves the old file or the new one, whole.
pub(crate) fn replace_file(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    fs::File::open(dir)?.sync_all()
}
