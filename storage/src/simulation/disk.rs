//! A disk that keeps what POSIX promises and nothing more.
//!
//! A file has what processes see and what is on the platter; so has a folder. A write changes the first; an fsync of the file carries
//! its dirty pages over, one of the folder its names. A kill leaves what processes see. A power cut leaves the platter and, of each page
//! and name that is on its way, all, nothing or a part, in any order. After an fsync that failed, the pages count as clean whatever became
//! of them, so a later fsync that succeeds says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io::{self, SeekFrom},
    path::{Component, Path},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{random::Random, world::World};

/// Smaller than any real one: more of a small file can be lost.
const PAGE: usize = 256;
const ROOT: u64 = 0;

/// What can be done to a file that is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening {
    pub(crate) write: bool,
    pub(crate) create: bool,
    pub(crate) truncate: bool,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) len: u64,
    pub(crate) is_dir: bool,
    pub(crate) modified: SystemTime,
}

/// Everything on one disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
}

#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Debug)]
struct FileNode {
    seen: Vec<u8>,
    platter: Vec<u8>,
    dirty: BTreeSet<usize>,
    modified: SystemTime,
    modified_on_platter: SystemTime,
}

#[derive(Clone, Debug, Default)]
struct DirNode {
    seen: BTreeMap<OsString, u64>,
    platter: BTreeMap<OsString, u64>,
    /// What was done since the last fsync.
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug)]
struct NameChange {
    removed: Option<OsString>,
    added: Option<(OsString, u64)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, node)) = &self.added {
            names.insert(name.clone(), *node);
        }
    }
}

impl Default for Disk {
    /// A disk with nothing but the folder `/data`, where it is mounted.
    fn default() -> Self {
        let mut disk = Self { nodes: [(ROOT, Node::Dir(DirNode::default()))].into(), next_node: ROOT + 1 };
        let mounted = disk.create_dir(Path::new("/data")).and_then(|()| disk.sync(ROOT));
        mounted.expect("an empty disk takes a folder");
        disk
    }
}

impl Disk {
    /// What the power cut leaves.
    pub(crate) fn cut_power(&mut self, random: &mut Random) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut_power(random),
                Node::Dir(dir) => dir.cut_power(random),
            }
        }
    }

    pub(crate) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        if self.dir(parent)?.seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.add(Node::Dir(DirNode::default()));
        self.change(parent, NameChange { removed: None, added: Some((name.to_owned(), node)) })
    }

    pub(crate) fn open(&mut self, path: &Path, opening: Opening, now: SystemTime) -> io::Result<u64> {
        let node = match self.find(path) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound && opening.create => {
                let (parent, name) = self.parent(path)?;
                let file = FileNode {
                    seen: Vec::new(),
                    platter: Vec::new(),
                    dirty: BTreeSet::new(),
                    modified: now,
                    modified_on_platter: now,
                };
                let node = self.add(Node::File(file));
                self.change(parent, NameChange { removed: None, added: Some((name.to_owned(), node)) })?;
                node
            }
            Err(error) => return Err(error),
        };
        if opening.truncate {
            self.set_len(node, 0, now)?;
        }
        Ok(node)
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file_mut(self.find(path)?)?;
        let (parent, name) = self.parent(path)?;
        self.change(parent, NameChange { removed: Some(name.to_owned()), added: None })
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let ((parent, old), (new_parent, new)) = (self.parent(from)?, self.parent(to)?);
        if parent != new_parent {
            return Err(io::Error::other("the simulated disk renames within one folder"));
        }
        self.change(parent, NameChange { removed: Some(old.to_owned()), added: Some((new.to_owned(), node)) })
    }

    pub(crate) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (parent, name) = self.parent(to)?;
        if self.dir(parent)?.seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(parent, NameChange { removed: None, added: Some((name.to_owned(), node)) })
    }

    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.dir(self.find(path)?)?.seen.keys().cloned().collect())
    }

    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Meta> {
        self.metadata_of(self.find(path)?)
    }

    /// What processes see of the file at `path`.
    pub(crate) fn content(&self, path: &Path) -> io::Result<(&[u8], SystemTime)> {
        let file = self.file(self.find(path)?)?;
        Ok((&file.seen, file.modified))
    }

    fn metadata_of(&self, node: u64) -> io::Result<Meta> {
        Ok(match self.node(node)? {
            Node::File(file) => Meta { len: file.seen.len() as u64, is_dir: false, modified: file.modified },
            Node::Dir(_) => Meta { len: 0, is_dir: true, modified: SystemTime::UNIX_EPOCH },
        })
    }

    fn write(&mut self, node: u64, at: u64, bytes: &[u8], now: SystemTime) -> io::Result<()> {
        let file = self.file_mut(node)?;
        let at = index(at);
        let end = at + bytes.len();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
        }
        file.seen[at..end].copy_from_slice(bytes);
        file.dirty.extend(at / PAGE..end.div_ceil(PAGE));
        file.modified = now;
        Ok(())
    }

    fn set_len(&mut self, node: u64, len: u64, now: SystemTime) -> io::Result<()> {
        let file = self.file_mut(node)?;
        file.seen.resize(index(len), 0);
        file.modified = now;
        Ok(())
    }

    fn sync(&mut self, node: u64) -> io::Result<()> {
        match self.node_mut(node)? {
            Node::File(file) => file.sync(),
            Node::Dir(dir) => {
                dir.platter = dir.seen.clone();
                dir.pending.clear();
            }
        }
        Ok(())
    }

    /// An fsync that fails: some pages arrived, some are lost, and all count as clean.
    fn fail_sync(&mut self, node: u64, random: &mut Random) -> io::Result<()> {
        match self.node_mut(node)? {
            Node::File(file) => file.fail_sync(random),
            Node::Dir(_) => {}
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> u64 {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        id
    }

    fn change(&mut self, dir: u64, change: NameChange) -> io::Result<()> {
        let Node::Dir(dir) = self.node_mut(dir)? else { return Err(io::ErrorKind::NotADirectory.into()) };
        change.apply(&mut dir.seen);
        dir.pending.push(change);
        Ok(())
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(u64, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        names.into_iter().try_fold(ROOT, |dir, name| self.dir(dir)?.seen.get(name).copied().ok_or(io::ErrorKind::NotFound.into()))
    }

    fn node(&self, node: u64) -> io::Result<&Node> {
        self.nodes.get(&node).ok_or_else(|| io::Error::other("no such node"))
    }

    fn node_mut(&mut self, node: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&node).ok_or_else(|| io::Error::other("no such node"))
    }

    fn dir(&self, node: u64) -> io::Result<&DirNode> {
        match self.node(node)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, node: u64) -> io::Result<&FileNode> {
        match self.node(node)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, node: u64) -> io::Result<&mut FileNode> {
        match self.node_mut(node)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl FileNode {
    fn sync(&mut self) {
        self.platter.resize(self.seen.len(), 0);
        self.modified_on_platter = self.modified;
        for page in std::mem::take(&mut self.dirty) {
            self.carry_over(page, PAGE);
        }
    }

    fn fail_sync(&mut self, random: &mut Random) {
        for page in std::mem::take(&mut self.dirty) {
            match random.below(3) {
                0 => {
                    let end = self.seen.len().min((page + 1) * PAGE);
                    if self.platter.len() < end {
                        self.platter.resize(end, 0);
                    }
                    self.carry_over(page, PAGE);
                }
                // Clean, and not on the platter.
                1 => {}
                // Some file systems take the old page back.
                _ => {
                    for at in page * PAGE..self.seen.len().min((page + 1) * PAGE) {
                        self.seen[at] = self.platter.get(at).copied().unwrap_or(0);
                    }
                }
            }
        }
    }

    fn cut_power(&mut self, random: &mut Random) {
        let (seen, old) = (self.seen.len(), self.platter.len());
        let len = match random.below(3) {
            _ if seen == old => old,
            0 => old,
            1 => seen,
            _ => old.min(seen) + index(random.below(old.abs_diff(seen) as u64 + 1)),
        };
        self.platter.resize(len, 0);
        let order = random.below(3);
        for page in std::mem::take(&mut self.dirty) {
            let bytes = match (order, random.below(4)) {
                // In order: all that is there, once in a while cut short.
                (0, 0..3) | (_, 0) => PAGE,
                (_, 1) => index(random.below(PAGE as u64)),
                _ => 0,
            };
            self.carry_over(page, bytes);
        }
        self.seen = self.platter.clone();
        self.modified = self.modified_on_platter;
    }

    /// Writes the first `bytes` of `page`, as far as the file goes.
    fn carry_over(&mut self, page: usize, bytes: usize) {
        let from = page * PAGE;
        let to = (from + bytes).min(self.seen.len()).min(self.platter.len());
        if from < to {
            self.platter[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }
}

impl DirNode {
    fn cut_power(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending);
        let in_order = !random.one_in(4);
        let first = random.below(pending.len() as u64 + 1);
        for (nth, change) in (0..).zip(&pending) {
            if if in_order { nth < first } else { random.one_in(2) } {
                change.apply(&mut self.platter);
            }
        }
        self.seen = self.platter.clone();
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files are small")
}

/// An open file or folder.
#[derive(Debug)]
pub(crate) struct Handle {
    world: Arc<World>,
    node: u64,
    name: OsString,
    at: u64,
}

impl Handle {
    pub(crate) fn metadata(&self) -> io::Result<Meta> {
        self.world.disk().metadata_of(self.node)
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.world.reading(&self.name)?;
        let disk = self.world.disk();
        let rest = disk.file(self.node)?.seen.get(index(self.at)..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        drop(disk);
        self.at += read as u64;
        Ok(read)
    }

    /// May write less than it is given, as `write` may.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.world.writing(&self.name, bytes.len())?;
        let now = self.world.wall_clock().into();
        self.world.disk().write(self.node, self.at, &bytes[..written], now)?;
        self.at += written as u64;
        // The crash comes when a part is written.
        self.world.written()?;
        Ok(written)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.changing("set length", &self.name)?;
        let now = self.world.wall_clock().into();
        self.world.disk().set_len(self.node, len, now)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let is_dir = self.metadata()?.is_dir;
        match self.world.syncing(&self.name, is_dir)? {
            Sync::Works => self.world.disk().sync(self.node),
            Sync::Lies => Ok(()),
            Sync::ComesLater(after) => {
                let (world, node) = (Arc::clone(&self.world), self.node);
                self.world.spawn(async move {
                    world.sleep(after).await;
                    // A node that is gone meanwhile has nothing to lose.
                    drop(world.disk().sync(node));
                });
                Ok(())
            }
            Sync::Fails => {
                self.world.with_random(|random| self.world.disk().fail_sync(self.node, random))?;
                Err(io::Error::other("simulated EIO"))
            }
        }
    }

    pub(crate) fn set_modified(&self, at: SystemTime) -> io::Result<()> {
        self.world.changing("touch", &self.name)?;
        self.world.disk().file_mut(self.node)?.modified = at;
        Ok(())
    }

    pub(crate) fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(by) => self.metadata()?.len.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

/// What becomes of an fsync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sync {
    Works,
    Fails,
    /// Says that it worked, and did nothing: what a program does that forgot it.
    Lies,
    /// Says that it worked before it did: what a program does that acknowledges too early.
    ComesLater(Duration),
}

impl World {
    pub(crate) fn create_dir(self: &Arc<Self>, path: &Path) -> io::Result<()> {
        self.changing("create folder", path.as_os_str())?;
        self.disk().create_dir(path)
    }

    pub(crate) fn open(self: &Arc<Self>, path: &Path, opening: Opening) -> io::Result<Handle> {
        let exists = self.disk().metadata(path).is_ok();
        if opening.truncate || (opening.create && !exists) {
            self.changing("create", path.as_os_str())?;
        }
        let now = self.wall_clock().into();
        let node = self.disk().open(path, opening, now)?;
        Ok(Handle { world: Arc::clone(self), node, name: path.as_os_str().to_owned(), at: 0 })
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.changing("remove", path.as_os_str())?;
        self.disk().remove_file(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing("rename", to.as_os_str())?;
        self.disk().rename(from, to)
    }

    pub(crate) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing("link", to.as_os_str())?;
        self.disk().hard_link(from, to)
    }

    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.disk().names(path)
    }

    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Meta> {
        self.disk().metadata(path)
    }
}
