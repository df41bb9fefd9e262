//! When segments may go, and how their files do: renamed first, deleted after `file.delete.delay.ms`, as in Apache Kafka.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::env::Moment;
use crate::partition::{DELETED_SUFFIX, Expired, Partition};
use crate::store::segment_files;

/// The wall clock may run ahead of the monotonic one by this much between two looks before it is doubted.
const JUMP_MAX_MS: i64 = 60 * 60 * 1000;
/// How long a clock that has jumped must hold before records are deleted by it.
const CONFIRMATION_MS: i64 = 60 * 60 * 1000;

/// Doubts a wall clock that jumps: a clock set ten years ahead must not delete everything at once.
#[derive(Debug, Default)]
pub(crate) struct ClockGuard {
    last: Option<Moment>,
    doubted_until_ms: Option<i64>,
}

impl ClockGuard {
    /// Whether records may be deleted by their age now.
    pub(crate) fn believes(&mut self, now: Moment) -> bool {
        if let Some(last) = self.last.replace(now) {
            let ahead = (now.wall_ms.saturating_sub(last.wall_ms))
                .saturating_sub(now.monotonic_ms.saturating_sub(last.monotonic_ms));
            if ahead > JUMP_MAX_MS {
                tracing::error!(
                    ahead_ms = ahead,
                    wait_ms = CONFIRMATION_MS,
                    "the clock has jumped ahead: retention by time waits until it has proved stable"
                );
                self.doubted_until_ms = Some(now.monotonic_ms.saturating_add(CONFIRMATION_MS));
            } else if ahead < -JUMP_MAX_MS {
                // It was set back: what made us doubt is gone.
                self.doubted_until_ms = None;
            }
        }
        if self.doubted_until_ms.is_some_and(|until| now.monotonic_ms >= until) {
            self.doubted_until_ms = None;
        }
        self.doubted_until_ms.is_none()
    }
}

#[derive(Debug)]
struct Item {
    path: PathBuf,
    is_dir: bool,
    due_ms: i64,
}

/// Files and directories that wait for their deletion.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    items: Vec<Item>,
}

impl Trash {
    /// Adds a directory that was renamed to its last name.
    pub(crate) fn add_dir(&mut self, path: PathBuf, due_ms: i64) {
        self.items.push(Item { path, is_dir: true, due_ms });
    }

    /// Renames the files of segments that are not part of their log any more, and adds them.
    pub(crate) fn add_segments(&mut self, disk: &dyn Disk, partition: &Partition, expired: &Expired, now_ms: i64) {
        for segment in &expired.segments {
            segment.close();
            for path in segment_files(partition, segment.base_offset) {
                let mut name = OsString::from(&path);
                name.push(DELETED_SUFFIX);
                let target = PathBuf::from(name);
                match disk.rename(&path, &target) {
                    Ok(()) => {
                        let due_ms = now_ms.saturating_add(expired.delay_ms);
                        self.items.push(Item { path: target, is_dir: false, due_ms });
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::error!(file = %path.display(), %error, "a segment that is not needed any more could not be renamed")
                    }
                }
            }
        }
    }

    /// Deletes what is due; what cannot be deleted is tried again.
    pub(crate) fn empty(&mut self, disk: &dyn Disk, now_ms: i64) {
        self.items.retain(|item| {
            if item.due_ms > now_ms {
                return true;
            }
            let removed = if item.is_dir { disk.remove_dir_all(&item.path) } else { disk.remove_file(&item.path) };
            match removed {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => {
                    tracing::error!(path = %item.path.display(), %error, "could not be deleted");
                    true
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn at(wall_ms: i64, monotonic_ms: i64) -> Moment {
        Moment { wall_ms, monotonic_ms }
    }

    #[test]
    fn a_clock_that_jumps_is_doubted_for_an_hour() {
        let mut guard = ClockGuard::default();
        assert!(guard.believes(at(1_000, 0)));
        assert!(guard.believes(at(1_000 + 300_000, 300_000)));
        let ten_years = 3_650 * DAY;
        assert!(!guard.believes(at(ten_years, 600_000)));
        assert!(!guard.believes(at(ten_years + 300_000, 900_000)));
        assert!(guard.believes(at(ten_years + CONFIRMATION_MS, 600_000 + CONFIRMATION_MS)));
    }

    #[test]
    fn a_clock_that_is_set_right_again_is_believed() {
        let mut guard = ClockGuard::default();
        assert!(guard.believes(at(0, 0)));
        assert!(!guard.believes(at(10 * DAY, 1_000)));
        assert!(guard.believes(at(2_000, 2_000)));
    }
}
