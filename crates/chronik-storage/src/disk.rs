//! The few file operations that storage needs, behind a trait so that faults can be put in.
//!
//! Everything that the crate writes, syncs, renames or removes goes through [`Disk`] and [`DiskFile`]: a test can then fail
//! exactly one fsync, lose what was not synced, or run out of space. What is not here is not done.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

pub mod memory;

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; created when it is absent, kept as it is otherwise.
    Create,
    /// For reading and writing; created when it is absent, emptied otherwise.
    Truncate,
    /// For reading and writing; an error when it exists.
    CreateNew,
    /// As `ReadWrite`, around the page cache and durable when a write returns (`O_DIRECT|O_DSYNC`). Buffers, offsets and
    /// lengths must be multiples of [`BLOCK_BYTES`]. File systems that cannot do it answer `InvalidInput` or `Unsupported`, some
    /// only at the first write.
    DirectSync,
}

/// What direct writes are aligned to: the logical block size of every disk in use divides it.
pub const BLOCK_BYTES: usize = 4096;

/// A name in a directory, as [`Disk::list`] gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name within the directory. Names that are not UTF-8 are none of ours and are left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A file system. Blocking.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a directory and the missing ones above it; nothing when it exists. The caller syncs the parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file that has the name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable. A file created, renamed or removed is not durably so before this.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything durable that was written to the file system which holds a path: one call where thousands of files have changed.
    fn sync_file_system(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// The length of a file, or none when there is no such file.
    fn file_len(&self, path: &Path) -> io::Result<Option<u64>>;
}

/// An open file. Blocking; all offsets are explicit, so that one handle serves many threads.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of the slices one after the other at `offset`: one system call unless the kernel takes less.
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Reads into `buf`; less than asked only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As `read_at` when the bytes are in memory; none when the disk would have to be waited for.
    fn read_at_nowait(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>>;
    /// Makes the bytes and the length durable (`fdatasync`). After an error nothing written since the last success may be believed.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes and all metadata durable (`fsync`). Errors as for `sync_data`.
    fn sync_all(&self) -> io::Result<()>;
    /// Cuts the file, or lengthens it with a hole.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves room up to `len` (reads as zeros), so that writing there cannot run out of space.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// The length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The descriptor for `sendfile`, when there is one.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Writes a small file so that after a crash it is there as before or as now, never half: a temporary name, fsync, rename, fsync of
/// the directory.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let temporary = parent.join(name);
    let file = disk.open(&temporary, OpenMode::Truncate)?;
    file.write_all_at(&[IoSlice::new(bytes)], 0)?;
    file.sync_all()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent)
}

/// Reads a whole file.
pub fn read_to_end(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::DirectSync => {
                options.write(true).custom_flags((OFlags::DIRECT | OFlags::DSYNC).bits().cast_signed())
            }
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn file_len(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How many slices one system call takes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// A file of the operating system.
#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for parts in parts.chunks(SLICES_MAX) {
            let written = retry(|| rustix::io::pwritev(&self.0, parts, at))?;
            write_rest(&self.0, parts, at, written)?;
            at += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_at_nowait(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while filled < buf.len() {
            let mut parts = [io::IoSliceMut::new(&mut buf[filled..])];
            match rustix::io::preadv2(&self.0, &mut parts, offset + filled as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                // A file system that does not know the flag cannot tell: take the careful way.
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Some(filled))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match retry(|| rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            // Without the call the length at least is right; writing may then run out of space, which is an error of its own.
            Err(Errno::OPNOTSUPP) if self.len()? < len => self.set_len(len),
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Writes what a short `pwritev` has left over. Rare (a full disk, a limit on file sizes), so it goes slice by slice.
fn write_rest(file: &File, parts: &[IoSlice<'_>], offset: u64, mut written: usize) -> io::Result<()> {
    let mut at = offset;
    for part in parts {
        let skipped = written.min(part.len());
        written -= skipped;
        if skipped < part.len() {
            file.write_all_at(&part[skipped..], at + skipped as u64)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectored_writes_read_back_and_end_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defg")], 2).unwrap();
        let mut buf = [0xff; 16];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 9);
        assert_eq!(&buf[..9], b"\0\0abcdefg");
        assert_eq!(file.read_at_nowait(&mut buf[..3], 2).unwrap(), Some(3));
        assert_eq!(file.len().unwrap(), 9);
        assert_eq!(RealDisk.file_len(&path).unwrap(), Some(9));
        assert_eq!(RealDisk.file_len(&dir.path().join("absent")).unwrap(), None);
        assert!(RealDisk.open(&path, OpenMode::CreateNew).is_err());

        let many = vec![IoSlice::new(b"xyz"); SLICES_MAX + 1];
        file.write_all_at(&many, 1).unwrap();
        assert_eq!(file.len().unwrap(), 1 + 3 * (SLICES_MAX as u64 + 1));
    }

    #[test]
    fn the_rest_of_a_short_write_is_written_from_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create_new(dir.path().join("file")).unwrap();
        let parts = [IoSlice::new(b"abc"), IoSlice::new(b"de"), IoSlice::new(b"fgh")];
        for written in 0..=8 {
            let mut expected = vec![b'.'; 10];
            file.write_all_at(&expected, 0).unwrap();
            write_rest(&file, &parts, 1, written).unwrap();
            expected[1 + written..9].copy_from_slice(&b"abcdefgh"[written..]);
            assert_eq!(fs::read(dir.path().join("file")).unwrap(), expected, "after {written}");
        }
    }

    #[test]
    fn an_atomic_write_replaces_the_file_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        write_atomically(&RealDisk, &path, b"one").unwrap();
        write_atomically(&RealDisk, &path, b"two!").unwrap();
        assert_eq!(read_to_end(&RealDisk, &path).unwrap(), b"two!");
        let names = RealDisk.list(dir.path()).unwrap();
        assert_eq!(names, [DirEntry { name: "checkpoint".into(), is_dir: false }]);
    }

    #[test]
    fn preallocation_gives_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file"), OpenMode::Create).unwrap();
        file.preallocate(10_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        let mut buf = [1; 100];
        assert_eq!(file.read_at(&mut buf, 9_950).unwrap(), 50);
        assert_eq!(buf[..50], [0; 50]);
    }
}
