//! A disk in memory: names and bytes that were not synced are lost in a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::{DirEntry, Disk, DiskFile, OpenMode};

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, Inode>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    now: Names,
    durable: Names,
}

/// A disk in memory.
#[derive(Debug, Default)]
pub(crate) struct MemDisk {
    state: Mutex<State>,
    /// Bytes that may still be written before the disk is full.
    room: Arc<AtomicU64>,
}

impl MemDisk {
    pub(crate) fn new() -> Arc<Self> {
        let disk = MemDisk::default();
        disk.room.store(u64::MAX, Ordering::Relaxed);
        disk.state.lock().now.dirs.insert("/".into());
        disk.state.lock().durable.dirs.insert("/".into());
        Arc::new(disk)
    }

    /// A new disk that holds what survives a power cut.
    pub(crate) fn after_power_cut(&self) -> Arc<Self> {
        let state = self.state.lock();
        let mut names = state.durable.clone();
        names.files.retain(|path, _| path.ancestors().skip(1).all(|dir| state.durable.dirs.contains(dir)));
        let disk = MemDisk::new();
        for (path, inode) in names.files {
            let durable = inode.lock().durable.clone();
            let copy = Arc::new(Mutex::new(Content { now: durable.clone(), durable }));
            disk.state.lock().now.files.insert(path, copy);
        }
        disk.state.lock().now.dirs = names.dirs;
        let now = disk.state.lock().now.clone();
        disk.state.lock().durable = now;
        disk
    }

    /// A new disk with the same content, as a killed process leaves it.
    pub(crate) fn after_kill(&self) -> Arc<Self> {
        let state = self.state.lock();
        let disk = MemDisk::new();
        let mut copies = State::default();
        for (path, inode) in &state.now.files {
            let content = inode.lock();
            let copy = Arc::new(Mutex::new(Content { now: content.now.clone(), durable: content.durable.clone() }));
            copies.now.files.insert(path.clone(), copy.clone());
            if state.durable.files.get(path).is_some_and(|durable| Arc::ptr_eq(durable, inode)) {
                copies.durable.files.insert(path.clone(), copy);
            }
        }
        (copies.now.dirs, copies.durable.dirs) = (state.now.dirs.clone(), state.durable.dirs.clone());
        *disk.state.lock() = copies;
        disk
    }

    /// Changes the bytes of a file behind everybody's back, durably.
    pub(crate) fn damage(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = self.state.lock().now.files.get(path.as_ref()).cloned().expect("the file is there");
        let mut content = inode.lock();
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    pub(crate) fn bytes(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.state.lock().now.files.get(path.as_ref()).expect("the file is there").lock().now.clone()
    }

    pub(crate) fn remove(&self, path: impl AsRef<Path>) {
        self.state.lock().now.files.remove(path.as_ref());
        self.state.lock().durable.files.remove(path.as_ref());
    }

    pub(crate) fn names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        self.list(dir.as_ref()).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    }

    /// Says how many bytes may still be written.
    pub(crate) fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::Relaxed);
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let found = state.now.files.get(path).cloned();
        let inode = match (found, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), OpenMode::Truncate) => {
                inode.lock().now.clear();
                inode
            }
            (Some(inode), _) => inode,
            (None, OpenMode::Read | OpenMode::ReadWrite | OpenMode::DirectSync) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (None, _) if !state.now.dirs.contains(parent) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let inode = Inode::default();
                state.now.files.insert(path.to_owned(), inode.clone());
                inode
            }
        };
        Ok(Arc::new(MemFile { inode, room: self.room.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.now.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.lock().now.files.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.now.files.retain(|file, _| !file.starts_with(path));
        state.now.dirs.retain(|dir| !dir.starts_with(path));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(inode) = state.now.files.remove(from) {
            state.now.files.insert(to.to_owned(), inode);
            return Ok(());
        }
        if !state.now.dirs.remove(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved = |path: &Path| to.join(path.strip_prefix(from).expect("a path below"));
        for names in [&mut state.now] {
            let below: Vec<_> = names.files.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in below {
                let inode = names.files.remove(&path).expect("just listed");
                names.files.insert(moved(&path), inode);
            }
        }
        state.now.dirs.insert(to.to_owned());
        // What was durable below moves with the directory's inode, and is reached by whichever name of it survives.
        let below: Vec<_> = state
            .durable
            .files
            .iter()
            .filter(|(path, _)| path.starts_with(from))
            .map(|(p, i)| (p.clone(), i.clone()))
            .collect();
        for (path, inode) in below {
            state.durable.files.insert(moved(&path), inode);
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let inside = |name: &Path| name.parent() == Some(path);
        let State { now, durable } = &mut *state;
        durable.files.retain(|file, _| !inside(file));
        durable.files.extend(
            now.files.iter().filter(|(file, _)| inside(file)).map(|(file, inode)| (file.clone(), inode.clone())),
        );
        let gone: Vec<_> = durable.dirs.iter().filter(|dir| inside(dir) && !now.dirs.contains(*dir)).cloned().collect();
        durable.dirs.retain(|dir| !gone.iter().any(|gone| dir.starts_with(gone)));
        durable.dirs.extend(now.dirs.iter().filter(|dir| inside(dir)).cloned());
        Ok(())
    }

    fn sync_file_system(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        for inode in state.now.files.values() {
            let mut content = inode.lock();
            content.durable = content.now.clone();
        }
        state.durable = state.now.clone();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        if !state.now.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        let inside = |name: &&PathBuf| name.parent() == Some(path);
        let files = state.now.files.keys().filter(inside).map(|path| DirEntry { name: name(path), is_dir: false });
        let dirs = state.now.dirs.iter().filter(inside).map(|path| DirEntry { name: name(path), is_dir: true });
        let mut entries: Vec<_> = files.chain(dirs).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    fn file_len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.state.lock().now.files.get(path).map(|inode| inode.lock().now.len() as u64))
    }
}

#[derive(Debug)]
struct MemFile {
    inode: Inode,
    room: Arc<AtomicU64>,
}

impl DiskFile for MemFile {
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut content = self.inode.lock();
        let start = usize::try_from(offset).expect("a small file");
        for (at, byte) in (start..).zip(parts.iter().flat_map(|part| part.iter())) {
            // Byte by byte, so that a full disk leaves a part behind.
            if at >= content.now.len() {
                let room = self.room.load(Ordering::Relaxed);
                if room == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.room.store(room - u64::from(room != u64::MAX), Ordering::Relaxed);
                content.now.resize(at + 1, 0);
            }
            content.now[at] = *byte;
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.inode.lock();
        let rest = content.now.get(usize::try_from(offset).expect("a small file")..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn read_at_nowait(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        self.read_at(buf, offset).map(Some)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.inode.lock();
        content.durable = content.now.clone();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inode.lock().now.resize(usize::try_from(len).expect("a small file"), 0);
        Ok(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let longer = len.max(self.len()?);
        self.set_len(longer)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().now.len() as u64)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
