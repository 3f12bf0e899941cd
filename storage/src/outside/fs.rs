//! `std::fs` as far as storage uses it, for tests: on the simulated disk where there is one, on the real one otherwise. The names and
//! signatures are those of `std::fs`, which is what the binary has here.

use std::{
    ffi::OsString,
    fs,
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub(crate) use std::fs::TryLockError;

use crate::simulation::{
    disk::{Handle, Meta, Opening},
    world,
};

macro_rules! either {
    (|$world:ident| $simulated:expr, $real:expr) => {
        match world::current() {
            Some($world) => $simulated,
            None => $real,
        }
    };
}

pub(crate) fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    either!(|world| world.create_dir(path.as_ref()), fs::create_dir(path))
}

pub(crate) fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    either!(|world| world.remove_file(path.as_ref()), fs::remove_file(path))
}

pub(crate) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    either!(|world| world.rename(from.as_ref(), to.as_ref()), fs::rename(from, to))
}

pub(crate) fn hard_link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    either!(|world| world.hard_link(from.as_ref(), to.as_ref()), fs::hard_link(from, to))
}

pub(crate) fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    either!(|_world| Ok(path.as_ref().to_owned()), fs::canonicalize(path))
}

pub(crate) fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    either!(
        |world| Ok(Metadata(Known::Simulated(world.metadata(path.as_ref())?))),
        Ok(Metadata(Known::Real(fs::metadata(path)?)))
    )
}

pub(crate) fn read_dir(path: impl AsRef<Path>) -> io::Result<std::vec::IntoIter<io::Result<DirEntry>>> {
    let path = path.as_ref();
    let names: Vec<OsString> = match world::current() {
        Some(world) => world.names(path)?,
        None => fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?,
    };
    let entries: Vec<_> = names.into_iter().map(|name| Ok(DirEntry { dir: path.to_owned(), name })).collect();
    Ok(entries.into_iter())
}

pub(crate) struct DirEntry {
    dir: PathBuf,
    name: OsString,
}

impl DirEntry {
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(crate) fn file_name(&self) -> OsString {
        self.name.clone()
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        metadata(self.path())
    }
}

#[derive(Debug)]
pub(crate) struct Metadata(Known);

#[derive(Debug)]
enum Known {
    Real(fs::Metadata),
    Simulated(Meta),
}

impl Metadata {
    pub(crate) fn len(&self) -> u64 {
        match &self.0 {
            Known::Real(meta) => meta.len(),
            Known::Simulated(meta) => meta.len,
        }
    }

    pub(crate) fn modified(&self) -> io::Result<SystemTime> {
        match &self.0 {
            Known::Real(meta) => meta.modified(),
            Known::Simulated(meta) => Ok(meta.modified),
        }
    }
}

#[derive(Debug)]
pub(crate) enum File {
    Real(fs::File),
    Simulated(Handle),
}

impl File {
    pub(crate) fn options() -> OpenOptions {
        OpenOptions::new()
    }

    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        either!(
            |world| Ok(Self::Simulated(world.open(path.as_ref(), Opening::default())?)),
            Ok(Self::Real(fs::File::open(path)?))
        )
    }

    pub(crate) fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().write(true).create(true).truncate(true).open(path)
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata(match self {
            Self::Real(file) => Known::Real(file.metadata()?),
            Self::Simulated(handle) => Known::Simulated(handle.metadata()?),
        }))
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_all(),
            Self::Simulated(handle) => handle.sync(),
        }
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            Self::Simulated(handle) => handle.sync(),
        }
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_len(len),
            Self::Simulated(handle) => handle.set_len(len),
        }
    }

    pub(crate) fn set_modified(&self, at: SystemTime) -> io::Result<()> {
        match self {
            Self::Real(file) => file.set_modified(at),
            Self::Simulated(handle) => handle.set_modified(at),
        }
    }

    pub(crate) fn try_lock(&self) -> Result<(), TryLockError> {
        match self {
            Self::Real(file) => file.try_lock(),
            // A crash ends the only process there is.
            Self::Simulated(_) => Ok(()),
        }
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.read(into),
            Self::Simulated(handle) => handle.read(into),
        }
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.write(bytes),
            Self::Simulated(handle) => handle.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.write_vectored(slices),
            Self::Simulated(handle) => handle.write(&slices.concat_bytes()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.seek(to),
            Self::Simulated(handle) => handle.seek(to),
        }
    }
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for [IoSlice<'_>] {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct OpenOptions {
    real: fs::OpenOptions,
    simulated: Opening,
}

impl OpenOptions {
    pub(crate) fn new() -> Self {
        Self { real: fs::OpenOptions::new(), simulated: Opening::default() }
    }

    pub(crate) fn write(mut self, yes: bool) -> Self {
        self.real.write(yes);
        self.simulated.write = yes;
        self
    }

    pub(crate) fn read(mut self, yes: bool) -> Self {
        self.real.read(yes);
        self
    }

    pub(crate) fn create(mut self, yes: bool) -> Self {
        self.real.create(yes);
        self.simulated.create = yes;
        self
    }

    pub(crate) fn truncate(mut self, yes: bool) -> Self {
        self.real.truncate(yes);
        self.simulated.truncate = yes;
        self
    }

    pub(crate) fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        either!(|world| Ok(File::Simulated(world.open(path.as_ref(), self.simulated)?)), Ok(File::Real(self.real.open(path)?)))
    }
}
