//! A file system in memory that can lose power and fail on demand: what tests put in the place of the real one.
//!
//! It keeps apart what was written and what was synced. [`MemoryDisk::power_cut`] takes back what was not: of the writes, any
//! sector for itself; of the names in a directory, those since some point. So code that forgets an fsync loses data here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::{DirEntry, Disk, DiskFile, OpenMode};

/// What a disk writes at once; a write is torn between sectors, not within one.
const SECTOR_BYTES: usize = 512;

/// The operations that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening and creating.
    Open,
    /// Writing; see [`Fault::torn_bytes`].
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Reading.
    Read,
    /// Reserving room.
    Preallocate,
}

/// One failure to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// Only where the path contains this.
    pub path_contains: String,
    /// How many such operations succeed before.
    pub after: u32,
    /// The answer.
    pub error: io::ErrorKind,
    /// Of a write that fails: how many bytes it has written, durably, before it did.
    pub torn_bytes: usize,
    /// Whether all later ones fail too.
    pub for_ever: bool,
}

impl Fault {
    /// The next such operation on such a path fails, once.
    pub fn once(operation: Operation, path_contains: &str) -> Fault {
        Fault {
            operation,
            path_contains: path_contains.into(),
            after: 0,
            error: io::ErrorKind::Other,
            torn_bytes: 0,
            for_ever: false,
        }
    }
}

/// Numbers that follow from the seed (splitmix64), for [`MemoryDisk::power_cut`].
pub fn seeded(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A file system in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Held by every change, and exclusively by a power cut, which so falls between two of them.
    changes: RwLock<()>,
    names: Mutex<Names>,
    faults: Mutex<Vec<Fault>>,
    sync_delay: Mutex<Duration>,
    /// Whether direct writes are refused, as some file systems do.
    no_direct: AtomicBool,
}

/// Every name and what it stands for; a directory is a name without content.
#[derive(Default)]
struct Names {
    now: BTreeMap<PathBuf, Node>,
    /// Changes since the directory's last sync, oldest first: the name and what it stood for before.
    unsynced: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Content>>),
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// Sectors written since the last sync, as they were then.
    unsynced: BTreeMap<usize, Vec<u8>>,
    synced_len: usize,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("names", &self.0.names.lock().now.len()).finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Adds a failure to come.
    pub fn fail(&self, fault: Fault) {
        self.0.faults.lock().push(fault);
    }

    /// Takes all failures back.
    pub fn heal(&self) {
        self.0.faults.lock().clear();
    }

    /// Makes every sync (and durable write) take this long.
    pub fn delay_syncs(&self, delay: Duration) {
        *self.0.sync_delay.lock() = delay;
    }

    /// Refuses direct writes from now on.
    pub fn refuse_direct(&self) {
        self.0.no_direct.store(true, Ordering::Relaxed);
    }

    /// A disk of its own with what a power cut now would leave: everything that was synced, and of the rest what `random` (any
    /// numbers) decides. Those who use this disk go on undisturbed.
    pub fn power_cut(&self, random: &mut dyn FnMut() -> u64) -> MemoryDisk {
        let _no_changes = self.0.changes.write();
        let names = self.0.names.lock();
        let mut left = names.now.clone();
        let kept = (random() % (names.unsynced.len() as u64 + 1)) as usize;
        for (path, before) in names.unsynced[kept..].iter().rev() {
            match before {
                Some(node) => left.insert(path.clone(), node.clone()),
                None => left.remove(path),
            };
        }
        for node in left.values_mut() {
            if let Node::File(content) = node {
                let content = content.lock().after_power_cut(random);
                *node = Node::File(Arc::new(Mutex::new(content)));
            }
        }
        let names = Mutex::new(Names { now: left, unsynced: Vec::new() });
        MemoryDisk(Arc::new(Inner { names, ..Inner::default() }))
    }

    /// A disk of its own with everything that was written, synced or not: what a killed process leaves.
    pub fn snapshot(&self) -> MemoryDisk {
        let _no_changes = self.0.changes.write();
        let mut now = self.0.names.lock().now.clone();
        for node in now.values_mut() {
            if let Node::File(content) = node {
                let bytes = content.lock().bytes.clone();
                *node = Node::File(Arc::new(Mutex::new(Content::synced(bytes))));
            }
        }
        MemoryDisk(Arc::new(Inner { names: Mutex::new(Names { now, unsynced: Vec::new() }), ..Inner::default() }))
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.fault(operation, path).map_or(Ok(()), |fault| Err(fault.error.into()))
    }

    fn fault(&self, operation: Operation, path: &Path) -> Option<Fault> {
        let mut faults = self.0.faults.lock();
        let hits = |fault: &Fault| {
            fault.operation == operation && path.to_string_lossy().contains(fault.path_contains.as_str())
        };
        let index = faults.iter().position(hits)?;
        if faults[index].after > 0 {
            faults[index].after -= 1;
            return None;
        }
        if faults[index].for_ever { Some(faults[index].clone()) } else { Some(faults.remove(index)) }
    }

    fn wait_for_disk(&self) {
        let delay = *self.0.sync_delay.lock();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }
}

impl Names {
    fn set(&mut self, path: &Path, node: Option<Node>) {
        let before = match node {
            Some(node) => self.now.insert(path.to_owned(), node),
            None => self.now.remove(path),
        };
        self.unsynced.push((path.to_owned(), before));
    }
}

impl Content {
    fn synced(bytes: Vec<u8>) -> Content {
        Content { synced_len: bytes.len(), bytes, unsynced: BTreeMap::new() }
    }

    fn write(&mut self, bytes: &[u8], offset: usize, durable: bool) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.resize(end);
        }
        if !bytes.is_empty() {
            for sector in offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
                self.note(sector);
                if durable {
                    self.unsynced.remove(&sector);
                }
            }
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        if durable {
            self.synced_len = self.synced_len.max(end);
        }
    }

    fn note(&mut self, sector: usize) {
        let end = self.bytes.len().min((sector + 1) * SECTOR_BYTES);
        let start = (sector * SECTOR_BYTES).min(end);
        self.unsynced.entry(sector).or_insert_with(|| self.bytes[start..end].to_vec());
    }

    fn resize(&mut self, len: usize) {
        self.bytes.resize(len, 0);
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced_len = self.bytes.len();
    }

    fn after_power_cut(&self, random: &mut dyn FnMut() -> u64) -> Content {
        let mut bytes = self.bytes.clone();
        for (sector, before) in &self.unsynced {
            let start = sector * SECTOR_BYTES;
            if random().is_multiple_of(2) && start < bytes.len() {
                let end = bytes.len().min(start + SECTOR_BYTES);
                bytes[start..end].fill(0);
                let kept = before.len().min(end - start);
                bytes[start..start + kept].copy_from_slice(&before[..kept]);
            }
        }
        if random().is_multiple_of(2) {
            bytes.resize(self.synced_len, 0);
        }
        Content::synced(bytes)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Open, path)?;
        if mode == OpenMode::DirectSync && self.0.no_direct.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        let content = match (names.now.get(path), mode) {
            (Some(Node::Dir), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(content)), _) => Arc::clone(content),
            (None, OpenMode::Read | OpenMode::ReadWrite | OpenMode::DirectSync) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (None, _) => {
                let content = Arc::default();
                names.set(path, Some(Node::File(Arc::clone(&content))));
                content
            }
        };
        if mode == OpenMode::Truncate {
            content.lock().resize(0);
        }
        let durable = mode == OpenMode::DirectSync;
        Ok(Arc::new(MemoryFile { disk: self.clone(), path: path.to_owned(), content, durable }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        let missing: Vec<_> =
            path.ancestors().filter(|dir| !names.now.contains_key(*dir)).map(Path::to_owned).collect();
        for dir in missing.into_iter().rev() {
            names.set(&dir, Some(Node::Dir));
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        match names.now.get(path) {
            Some(Node::File(_)) => names.set(path, None),
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        if !names.now.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside: Vec<_> = names.now.keys().filter(|name| name.starts_with(path)).cloned().collect();
        for name in inside.iter().rev() {
            names.set(name, None);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, from)?;
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        let moved: Vec<_> =
            names.now.iter().filter(|(name, _)| name.starts_with(from)).map(|(n, c)| (n.clone(), c.clone())).collect();
        if moved.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        for (name, node) in moved {
            let rest = name.strip_prefix(from).unwrap_or(Path::new(""));
            let target = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            names.set(&target, Some(node));
            names.set(&name, None);
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir, path)?;
        self.wait_for_disk();
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        names.unsynced.retain(|(name, _)| name.parent() != Some(path));
        Ok(())
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir, path)?;
        self.wait_for_disk();
        let _change = self.0.changes.read();
        let mut names = self.0.names.lock();
        names.unsynced.clear();
        for node in names.now.values() {
            if let Node::File(content) = node {
                content.lock().sync();
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.0.names.lock();
        if !matches!(names.now.get(path), Some(Node::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = names.now.iter().filter(|(name, _)| name.parent() == Some(path));
        Ok(inside
            .filter_map(|(name, node)| {
                let name = name.file_name()?.to_str()?.to_owned();
                Some(DirEntry { name, is_dir: matches!(node, Node::Dir) })
            })
            .collect())
    }

    fn file_len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(match self.0.names.lock().now.get(path) {
            Some(Node::File(content)) => Some(content.lock().bytes.len() as u64),
            Some(Node::Dir) => Some(0),
            None => None,
        })
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    durable: bool,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryFile").field(&self.path).finish()
    }
}

impl MemoryFile {
    /// The name that the file has now: it may have been renamed since it was opened.
    fn fault(&self, operation: Operation) -> Option<Fault> {
        if self.disk.0.faults.lock().is_empty() {
            return None;
        }
        let is_this = |node: &Node| matches!(node, Node::File(content) if Arc::ptr_eq(content, &self.content));
        let names = self.disk.0.names.lock();
        let name = names.now.iter().find(|(_, node)| is_this(node)).map_or(&self.path, |(name, _)| name);
        self.disk.fault(operation, name)
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        self.fault(operation).map_or(Ok(()), |fault| Err(fault.error.into()))
    }
}

fn to_usize(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl DiskFile for MemoryFile {
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = parts.iter().map(|part| &**part).collect::<Vec<_>>().concat();
        let offset = to_usize(offset)?;
        if let Some(fault) = self.fault(Operation::Write) {
            let torn = &bytes[..fault.torn_bytes.min(bytes.len())];
            let _change = self.disk.0.changes.read();
            self.content.lock().write(torn, offset, true);
            return Err(fault.error.into());
        }
        if self.durable {
            self.disk.wait_for_disk();
        }
        let _change = self.disk.0.changes.read();
        self.content.lock().write(&bytes, offset, self.durable);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(Operation::Read)?;
        let content = self.content.lock();
        let from = content.bytes.get(to_usize(offset)?..).unwrap_or_default();
        let read = from.len().min(buf.len());
        buf[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn read_at_nowait(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buf, offset).map(Some)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(Operation::Sync)?;
        self.disk.wait_for_disk();
        let _change = self.disk.0.changes.read();
        self.content.lock().sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(Operation::Write)?;
        let _change = self.disk.0.changes.read();
        self.content.lock().resize(to_usize(len)?);
        Ok(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.check(Operation::Preallocate)?;
        let _change = self.disk.0.changes.read();
        let mut content = self.content.lock();
        let len = to_usize(len)?;
        if content.bytes.len() < len {
            content.resize(len);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_back_what_was_not_synced() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(&dir.join("a"), OpenMode::Create).unwrap();
        file.write_all_at(&[IoSlice::new(b"synced")], 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_dir(dir).unwrap();
        file.write_all_at(&[IoSlice::new(b"gone!!!")], 0).unwrap();
        disk.open(&dir.join("b"), OpenMode::Create).unwrap();

        let cut = disk.power_cut(&mut || 0);
        assert_eq!(super::super::read_to_end(&cut, &dir.join("a")).unwrap(), b"synced");
        assert_eq!(cut.file_len(&dir.join("b")).unwrap(), None);
        let lucky = disk.power_cut(&mut || 1);
        assert_eq!(super::super::read_to_end(&lucky, &dir.join("a")).unwrap(), b"gone!!!");
        assert_eq!(disk.snapshot().file_len(&dir.join("b")).unwrap(), Some(0));
    }

    #[test]
    fn an_atomic_write_survives_any_power_cut_whole() {
        let path = Path::new("/data/checkpoint");
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        super::super::write_atomically(&disk, path, &[1; 2000]).unwrap();
        for operation in [Operation::Open, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
            for random in 0..8 {
                let disk = disk.snapshot();
                disk.fail(Fault { torn_bytes: 700, ..Fault::once(operation, "") });
                super::super::write_atomically(&disk, path, &[2; 2000]).unwrap_err();
                let cut = disk.power_cut(&mut seeded(random));
                let bytes = super::super::read_to_end(&cut, path).unwrap();
                assert!(bytes == [1; 2000] || bytes == [2; 2000], "{operation:?}");
            }
        }
    }
}
