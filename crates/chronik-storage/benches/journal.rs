//! Append and commit through the file journal: what an `acks=all` produce waits for.
//!
//! `cargo bench -p chronik-storage --bench journal`; the directory is `CHRONIK_BENCH_DIR` or the system's for temporary files, which should be
//! on the disk that is to be measured.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_storage::disk::RealDisk;
use chronik_storage::journal::{
    CommitTarget, Committer, CommitterLimits, Entry, EntryMeta, FileJournalOptions, FileJournals, HEAD_BYTES,
    JournalError, Journals, Position, SessionId,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

struct Waiting(SyncSender<()>);

impl CommitTarget for Waiting {
    fn committed(&self, _last_offset: i64, _position: Position) {
        self.0.send(()).expect("the submitter waits");
    }

    fn failed(&self, error: &JournalError) {
        panic!("{error}");
    }
}

fn entry(rest: &Bytes) -> Entry {
    let meta = EntryMeta {
        topic_id: Uuid::from_u128(7),
        partition: 0,
        leader_epoch: 0,
        base_offset: 0,
        last_offset: 0,
        producer_id: -1,
        producer_epoch: -1,
        attributes: 0,
        base_sequence: -1,
        max_timestamp_ms: 0,
    };
    Entry { meta, head: [0; HEAD_BYTES], rest: rest.clone() }
}

/// Every submitter waits for its entry before it submits the next, `rounds` times. Answers all waits, sorted.
fn run(
    committer: &Committer,
    journals: &FileJournals,
    session: SessionId,
    submitters: usize,
    rounds: u64,
    rest: &Bytes,
) -> Vec<Duration> {
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let work = || {
            let (sender, receiver) = sync_channel(1);
            let target: Arc<dyn CommitTarget> = Arc::new(Waiting(sender));
            let mut waits = Vec::with_capacity(rounds as usize);
            for _ in 0..rounds {
                let start = Instant::now();
                committer.submit(entry(rest), Arc::clone(&target)).expect("the journal lives");
                receiver.recv().expect("the committer answers");
                waits.push(start.elapsed());
            }
            waits
        };
        let threads: Vec<_> = (0..submitters).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    journals.trim(session, committer.position()).expect("trims");
    waits.sort_unstable();
    waits
}

fn commit(c: &mut Criterion) {
    let parent = std::env::var("CHRONIK_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into);
    let dir = tempfile::tempdir_in(parent).expect("a directory");
    let journals = FileJournals::open(Arc::new(RealDisk), &dir.path().join("journal"), FileJournalOptions::default())
        .expect("journals open");
    let session = SessionId::generate(None).expect("randomness");
    let writer = journals.create(session).expect("a session begins");
    let committer = Committer::start(writer, CommitterLimits::default()).expect("a thread");
    let mut group = c.benchmark_group("commit");
    for (bytes, submitters) in [(1024, 1), (1024, 16), (1024, 64), (65_536, 16), (1 << 20, 4)] {
        let rest = Bytes::from(vec![7; bytes]);
        let waits = run(&committer, &journals, session, submitters, 400, &rest);
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        eprintln!("{bytes} B, {submitters} at once: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
        group.throughput(Throughput::Bytes((bytes * submitters) as u64));
        group.bench_function(format!("{bytes} B, {submitters} at once"), |b| {
            b.iter_custom(|rounds| {
                let start = Instant::now();
                run(&committer, &journals, session, submitters, rounds, &rest);
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
