//! The group commit over the file journal on a disk in memory: order, grouping, back-pressure, failure, the end.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::*;
use crate::disk::Disk;
use crate::disk::memory::{Fault, MemoryDisk, Operation};
use crate::journal::testing::entry;
use crate::journal::{FileJournalOptions, FileJournals, Journals, SessionId};

const SESSION: SessionId = SessionId(1 << 90);

#[derive(Default)]
struct Target {
    committed: Mutex<Vec<(i64, Position)>>,
    failed: AtomicUsize,
}

impl CommitTarget for Target {
    fn committed(&self, last_offset: i64, position: Position) {
        self.committed.lock().push((last_offset, position));
    }

    fn failed(&self, _error: &JournalError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

fn start(disk: &MemoryDisk, limits: CommitterLimits) -> (Arc<FileJournals>, Committer) {
    disk.create_dir_all(Path::new("/data")).unwrap();
    let options = FileJournalOptions { file_bytes_min: 1 << 20, file_bytes_max: 1 << 20, ..Default::default() };
    let journals = FileJournals::open(Arc::new(disk.clone()), Path::new("/data/journal"), options).unwrap();
    let committer = Committer::start(journals.create(SESSION).unwrap(), limits).unwrap();
    (journals, committer)
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition does not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn everything_submitted_is_reported_in_order_and_grouped_while_a_write_is_on_its_way() {
    let disk = MemoryDisk::new();
    let (journals, committer) = start(&disk, CommitterLimits::default());
    disk.delay_syncs(Duration::from_millis(2));
    let targets: Vec<Arc<Target>> = (0..3).map(|_| Arc::default()).collect();
    std::thread::scope(|scope| {
        for (index, target) in targets.iter().enumerate() {
            let committer = &committer;
            scope.spawn(move || {
                for base in 0..200 {
                    let target: Arc<dyn CommitTarget> = Arc::clone(target) as _;
                    committer.submit(entry(index as u8, 0, base * 5, 100), target).unwrap();
                }
            });
        }
    });
    let position = committer.flush().unwrap();
    for target in &targets {
        let committed = target.committed.lock();
        assert!(committed.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        assert_eq!(committed.last().unwrap().0, 199 * 5 + 4);
    }
    let counts = committer.counts();
    assert_eq!(counts.entries, 600);
    assert!(counts.groups < 200, "{counts:?}");
    assert_eq!(committer.queued_bytes(), 0);
    assert_eq!(committer.position(), position);
    assert_eq!(committer.shutdown().unwrap(), position);
    let mut footers = 0;
    journals.footers(SESSION, Position(0), &mut |_| footers += 1).unwrap();
    assert_eq!(footers, 600);
}

#[test]
fn groups_are_bounded_and_a_large_entry_goes_alone() {
    let limits = CommitterLimits { group_bytes_max: 1000, group_entries_max: 3, ..CommitterLimits::default() };
    let entries: Vec<Entry> = [100, 100, 100, 100, 900, 5000, 10].map(|len| entry(1, 0, 0, len)).into();
    let mut ends = Vec::new();
    let mut start = 0;
    while start < entries.len() {
        start = group_end(&entries, start, &limits);
        ends.push(start);
    }
    assert_eq!(ends, [3, 4, 5, 6, 7]);
}

#[test]
fn a_failed_write_fails_what_waits_and_everything_after() {
    let disk = MemoryDisk::new();
    let (journals, committer) = start(&disk, CommitterLimits::default());
    let (first, second) = (Arc::<Target>::default(), Arc::<Target>::default());
    committer.submit(entry(1, 0, 0, 100), first.clone()).unwrap();
    let position = committer.flush().unwrap();
    disk.fail(Fault::once(Operation::Write, &SESSION.to_string()));
    disk.delay_syncs(Duration::from_millis(20));
    let mut accepted = 0;
    while committer.submit(entry(1, 0, 5, 100), first.clone()).is_ok() {
        accepted += 1;
        let _ = committer.submit(entry(2, 0, 5, 100), second.clone());
    }
    assert!(accepted > 0);
    assert_eq!(committer.flush(), Err(CommitterClosed));
    assert!(committer.has_failed());
    assert_eq!(first.committed.lock().as_slice(), [(4, position)]);
    assert_eq!(first.failed.load(Ordering::Relaxed), 1);
    assert!(second.failed.load(Ordering::Relaxed) <= 1);
    assert_eq!(committer.queued_bytes(), 0);
    assert!(matches!(committer.shutdown(), Err(JournalError::Io { action: "append", .. })));
    assert_eq!(journals.seal(SESSION).unwrap().end, position);
}

#[test]
fn a_full_queue_says_so_and_wakes_when_there_is_room() {
    #[derive(Default)]
    struct Flag(AtomicUsize);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let disk = MemoryDisk::new();
    let (_journals, committer) = start(&disk, CommitterLimits { queued_bytes_max: 500, ..Default::default() });
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    assert!(committer.poll_room(&mut cx).is_ready());
    disk.delay_syncs(Duration::from_millis(50));
    committer.submit(entry(1, 0, 0, 600), Arc::new(Target::default())).unwrap();
    assert!(committer.poll_room(&mut cx).is_pending());
    assert!(committer.poll_room(&mut cx).is_pending());
    wait_until(|| flag.0.load(Ordering::Relaxed) == 1);
    assert!(committer.poll_room(&mut cx).is_ready());
}

#[test]
fn shutting_down_writes_what_was_accepted() {
    let disk = MemoryDisk::new();
    let (journals, committer) = start(&disk, CommitterLimits::default());
    let target = Arc::<Target>::default();
    for base in 0..50 {
        committer.submit(entry(1, 0, base * 5, 10), target.clone()).unwrap();
    }
    let end = committer.shutdown().unwrap();
    assert_eq!(target.committed.lock().last().unwrap().0, 249);
    assert_eq!(committer.submit(entry(1, 0, 250, 10), target), Err(CommitterClosed));
    drop((committer, journals));
    let options = FileJournalOptions::default();
    let journals = FileJournals::open(Arc::new(disk.snapshot()), Path::new("/data/journal"), options).unwrap();
    assert_eq!(journals.seal(SESSION).unwrap().end, end);
}
