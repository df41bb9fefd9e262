//! The data directory's lock: one process owns a data directory, and a second one is told which.
//!
//! The lock is an advisory one of the kernel (`flock`) on `.lock`, so it ends with its process, however that ends; the pid inside is
//! only for people. Beside it `chronik.properties` says in which format the directory is, so that an older program does not touch
//! what it does not understand.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::disk::{RealDisk, write_atomically};

/// The format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

const LOCK_FILE: &str = ".lock";
const FORMAT_FILE: &str = "chronik.properties";
const FORMAT_KEY: &str = "format.version=";
/// The file by which a directory of Apache Kafka is known.
const KAFKA_FILE: &str = "meta.properties";

/// Why a data directory cannot be used. The process exits with status 78.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}", dir.display(), owner(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process, when it has said.
        pid: Option<u32>,
    },
    /// It cannot be made, written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    Unusable {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A newer program has written it.
    #[error("{} is in format {found}; this program knows formats up to {FORMAT_VERSION}", dir.display())]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file that says the format does not say it.
    #[error("{} does not name a format", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to Apache Kafka, whose files would be taken for strays.
    #[error("{} is a data directory of Apache Kafka", dir.display())]
    OfKafka {
        /// The directory.
        dir: PathBuf,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

/// The right to use a data directory, until it is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
    dir: PathBuf,
}

impl DataDirLock {
    /// Takes the directory, making it when it is missing, and checks its format.
    pub fn acquire(dir: &Path) -> Result<DataDirLock, LockError> {
        let unusable = |action, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Unusable { action, path, source }
        };
        fs::create_dir_all(dir).map_err(unusable("make directory", dir))?;
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(unusable("write", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::InUse { dir: dir.to_owned(), pid: pid_in(&file) });
            }
            Err(errno) => return Err(unusable("lock", &path)(errno.into())),
        }
        let pid = format!("{}\n", std::process::id());
        let written = file.write_all_at(pid.as_bytes(), 0).and_then(|()| file.set_len(pid.len() as u64));
        written.map_err(unusable("write", &path))?;
        check_format(dir)?;
        Ok(DataDirLock { _file: file, dir: dir.to_owned() })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The pid that the owner has written. It does so just after it has the lock, so an empty file is asked again for a moment.
fn pid_in(file: &File) -> Option<u32> {
    for _ in 0..10 {
        let mut text = [0; 16];
        let read = file.read_at(&mut text, 0).ok()?;
        let pid = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
        if pid.is_some() {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn check_format(dir: &Path) -> Result<(), LockError> {
    let path = dir.join(FORMAT_FILE);
    let unusable = |action| {
        let path = path.clone();
        move |source| LockError::Unusable { action, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let version = text.lines().find_map(|line| line.strip_prefix(FORMAT_KEY));
            match version.and_then(|version| version.trim().parse().ok()) {
                Some(found) if found > FORMAT_VERSION => Err(LockError::NewerFormat { dir: dir.to_owned(), found }),
                Some(_) => Ok(()),
                None => Err(LockError::UnknownFormat { path }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join(KAFKA_FILE).exists() {
                return Err(LockError::OfKafka { dir: dir.to_owned() });
            }
            let text = format!("# The format of this data directory of Chronik.\n{FORMAT_KEY}{FORMAT_VERSION}\n");
            write_atomically(&RealDisk, &path, text.as_bytes()).map_err(unusable("write"))
        }
        Err(error) => Err(unusable("read")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_the_first_ones_pid_and_may_follow_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let first = DataDirLock::acquire(&dir).unwrap();
        assert_eq!(first.dir(), dir);
        let error = DataDirLock::acquire(&dir).unwrap_err();
        let LockError::InUse { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()));
        assert_eq!(error.to_string(), format!("{} is in use by process {}", dir.display(), std::process::id()));
        drop(first);
        DataDirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_newer_or_unknown_format_and_a_kafka_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDirLock::acquire(dir.path()).unwrap());
        let path = dir.path().join(FORMAT_FILE);
        fs::write(&path, "format.version=2\n").unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::NewerFormat { found: 2, .. }), "{error}");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataDirLock::acquire(dir.path()), Err(LockError::UnknownFormat { .. })));
        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join(KAFKA_FILE), "version=1\n").unwrap();
        assert!(matches!(DataDirLock::acquire(dir.path()), Err(LockError::OfKafka { .. })));
    }

    #[test]
    fn a_place_where_no_directory_can_be_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDirLock::acquire(&file.join("data")).unwrap_err();
        assert!(matches!(error, LockError::Unusable { action: "make directory", .. }), "{error}");
    }
}
