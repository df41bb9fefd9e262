//! File journals against what a crash, a power cut, damage and recycling leave, on the memory disk; and once on the real one.

use std::io::IoSlice;

use proptest::prelude::*;

use super::*;
use crate::disk::memory::{Fault, MemoryDisk, Operation, seeded};
use crate::disk::{BLOCK_BYTES, OpenMode, RealDisk};
use crate::journal::Entry;
use crate::journal::testing::{bytes_of, entry};

const DIR: &str = "/data/journal";
const ONE: SessionId = SessionId(1 << 90);
const TWO: SessionId = SessionId(2 << 90);

/// Files of sixteen blocks, so that everything that happens to files happens soon.
const SMALL: FileJournalOptions = FileJournalOptions {
    file_bytes_min: 16 * BLOCK_BYTES as u64,
    file_bytes_max: 64 * BLOCK_BYTES as u64,
    idle_bytes: 32 * BLOCK_BYTES as u64,
    limit_bytes: 1 << 20,
    direct: true,
};

type Group = (Position, Vec<Entry>);

fn open(disk: &MemoryDisk) -> Arc<FileJournals> {
    FileJournals::open(Arc::new(disk.clone()), Path::new(DIR), SMALL).unwrap()
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// The entries of group `number` of a test; `shape` decides how many and how large.
fn entries(number: usize, shape: usize) -> Vec<Entry> {
    (0..=shape % 4)
        .map(|i| entry((shape % 7) as u8, i as i32, number as i64 * 10, (shape * 37 + i * 1111) % 9000))
        .collect()
}

/// Appends groups and answers what the footers must say: the start of each group, and its entries.
fn append(writer: &mut dyn JournalWriter, shapes: &[usize]) -> Vec<Group> {
    let mut groups = Vec::new();
    for (number, &shape) in shapes.iter().enumerate() {
        let start = writer.position();
        let group = entries(number, shape);
        let end = writer.append(&group).unwrap();
        assert!(end > start);
        groups.push((start, group));
    }
    groups
}

/// Everything that can be read of a sealed session from `from` on is exactly the last of `groups`.
fn check(journals: &dyn Journals, session: SessionId, from: Position, groups: &[Group]) {
    let mut found = Vec::new();
    journals.footers(session, from, &mut |footer| found.push(footer)).unwrap();
    let expected: Vec<_> =
        groups.iter().flat_map(|(start, group)| group.iter().map(move |entry| (*start, entry))).collect();
    assert_eq!(found.len(), expected.len());
    for (footer, (start, entry)) in found.iter().zip(expected) {
        assert_eq!((footer.location.group, footer.meta), (start, entry.meta));
        assert_eq!(journals.read(session, &footer.location).unwrap(), bytes_of(entry));
    }
}

fn end_of(groups: &[Group]) -> Position {
    groups
        .last()
        .map_or(Position::default(), |(start, group)| Position(start.0 + group::encoded_len(group).unwrap() as u64))
}

#[test]
fn groups_come_back_after_a_kill_and_after_a_clean_end() {
    let shapes = [0, 1, 2, 3, 40, 500, 77, 12, 9, 121, 64];
    for clean in [false, true] {
        let disk = disk();
        let journals = open(&disk);
        let mut writer = journals.create(ONE).unwrap();
        let groups = append(&mut *writer, &shapes);
        if clean {
            assert_eq!(writer.close().unwrap(), end_of(&groups));
        }
        drop(journals);
        let journals = open(&disk.snapshot());
        assert_eq!(journals.sessions().unwrap(), [ONE]);
        assert!(matches!(journals.footers(ONE, Position(0), &mut |_| {}), Err(JournalError::NotSealed(ONE))));
        let sealed = Sealed { end: end_of(&groups), cut: None };
        assert_eq!(journals.seal(ONE).unwrap(), sealed);
        assert_eq!(journals.seal(ONE).unwrap(), sealed);
        for (index, (start, _)) in groups.iter().enumerate() {
            check(&*journals, ONE, *start, &groups[index..]);
        }
        journals.remove(ONE).unwrap();
        assert!(journals.sessions().unwrap().is_empty());
        assert!(matches!(journals.seal(ONE), Err(JournalError::UnknownSession(ONE))));
    }
}

#[test]
fn files_go_from_lap_to_lap_and_from_session_to_session() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    let mut groups = Vec::new();
    for lap in 0..40 {
        groups = append(&mut *writer, &[lap, lap + 50, lap + 3]);
        journals.trim(ONE, writer.position()).unwrap();
    }
    assert!(journals.usage().live_bytes <= 2 * SMALL.file_bytes_max, "{:?}", journals.usage());
    drop((writer, journals));

    let disk = disk.snapshot();
    let journals = open(&disk);
    let end = end_of(&groups);
    assert_eq!(journals.seal(ONE).unwrap(), Sealed { end, cut: None });
    // What is left begins with some group; the last ones are whole.
    check(&*journals, ONE, groups[2].0, &groups[2..]);
    let mut writer = journals.create(TWO).unwrap();
    journals.remove(ONE).unwrap();
    let groups = append(&mut *writer, &[5, 6, 7, 700, 800, 900]);
    drop((writer, journals));
    let journals = open(&disk.snapshot());
    assert_eq!(journals.sessions().unwrap(), [TWO]);
    assert_eq!(journals.seal(TWO).unwrap(), Sealed { end: end_of(&groups), cut: None });
    check(&*journals, TWO, Position(0), &groups);
}

#[test]
fn an_entry_larger_than_a_file_gets_a_file_of_its_own_size() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    let mut groups = append(&mut *writer, &[1]);
    let start = writer.position();
    let large = vec![entry(9, 0, 1, 3_000_000)];
    writer.append(&large).unwrap();
    groups.push((start, large));
    let start = writer.position();
    writer.append(&entries(5, 5)).unwrap();
    groups.push((start, entries(5, 5)));
    drop((writer, journals));
    let journals = open(&disk.snapshot());
    assert_eq!(journals.seal(ONE).unwrap().end, end_of(&groups));
    check(&*journals, ONE, Position(0), &groups);
}

/// Where a position is on the disk: the file that holds it, and the place in it.
fn place(disk: &MemoryDisk, session: SessionId, position: Position) -> (PathBuf, u64) {
    let journals = open(&disk.snapshot());
    let sessions = journals.shared.sessions.lock();
    let files = &sessions[&session].files;
    let (index, offset) = place_of(files, position);
    (files[index].path(Path::new(DIR), session), offset)
}

fn overwrite(disk: &MemoryDisk, (path, offset): &(PathBuf, u64), bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[IoSlice::new(bytes)], *offset).unwrap();
}

#[test]
fn the_tail_cut_at_every_byte_is_whole_or_gone() {
    cut_the_tail([50, 200], 1);
    cut_the_tail([700, 3500], 127);
}

fn cut_the_tail(sizes: [usize; 2], step: usize) {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    // Two laps, so that the file of the tail holds older groups of the session behind it.
    append(&mut *writer, &[9; 40]);
    journals.trim(ONE, writer.position()).unwrap();
    let mut groups = append(&mut *writer, &[9; 24]);
    let before = disk.snapshot();
    let start = writer.position();
    let last = vec![entry(1, 2, 3, sizes[0]), entry(2, 0, 9, sizes[1])];
    writer.append(&last).unwrap();
    drop((writer, journals));
    let previous = groups.last().unwrap().0;
    let end = Position(start.0 + group::encoded_len(&last).unwrap() as u64);
    let meaning = group::HEADER_BYTES + 2 * group::FOOTER_BYTES + last.iter().map(Entry::len).sum::<usize>();
    groups.push((start, last));

    let at = place(&disk, ONE, start);
    let len = (end.0 - start.0) as usize;
    let read = |disk: &MemoryDisk| {
        let mut bytes = vec![0; len];
        disk.open(&at.0, OpenMode::Read).unwrap().read_at(&mut bytes, at.1).unwrap();
        bytes
    };
    let new = read(&disk);
    let garbage: Vec<u8> = (0..len).map(|i| (i * 131 % 255) as u8 + 1).collect();
    for old in [vec![0; len], garbage, read(&before)] {
        for kept in (0..=meaning + step).step_by(step) {
            let mut torn = old.clone();
            torn[..kept].copy_from_slice(&new[..kept]);
            // Bytes that were the same before are not torn, nor is the padding.
            let whole = torn[..meaning] == new[..meaning];
            overwrite(&disk, &at, &torn);
            let chain_end = end_found(&disk, start);
            assert_eq!(chain_end.0, if whole { end } else { start }, "kept {kept}");
            assert!(chain_end.1.is_some() != whole || kept < group::HEADER_BYTES, "kept {kept}");
        }
    }
    // The same through the front door, at some of the places.
    for kept in (0..meaning).step_by(511) {
        let disk = disk.snapshot();
        let mut torn = vec![0; len];
        torn[..kept].copy_from_slice(&new[..kept]);
        overwrite(&disk, &at, &torn);
        let journals = open(&disk);
        assert_eq!(journals.seal(ONE).unwrap().end, start);
        check(&*journals, ONE, previous, &groups[groups.len() - 2..groups.len() - 1]);
        let journals = open(&disk.snapshot());
        assert_eq!(journals.seal(ONE).unwrap(), Sealed { end: start, cut: None });
    }
}

/// Finds the end of the session as a seal would, without writing.
fn end_found(disk: &MemoryDisk, from: Position) -> (Position, Option<crate::journal::Cut>) {
    let dir = Path::new(DIR);
    let mut files = Vec::new();
    for entry in disk.list(dir).unwrap() {
        if let Some(FileName::Of(session, number)) = FileName::parse(&entry.name) {
            let file = disk.open(&dir.join(&entry.name), OpenMode::Read).unwrap();
            let base = walk::base_of(&*file, session).unwrap();
            files.push(FileInfo { number, size: file.len().unwrap(), base });
        }
    }
    let end = Chain { disk, dir, session: ONE, files: &files }.walk(from, &mut |_, _| Ok(())).unwrap();
    (end.position, end.cut)
}

#[test]
fn damage_with_good_groups_behind_it_is_an_error_and_never_a_cut() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    let groups = append(&mut *writer, &[3; 14]);
    drop((writer, journals));
    for damaged in 0..groups.len() - 1 {
        let (start, group) = &groups[damaged];
        let (path, offset) = place(&disk, ONE, *start);
        let meaning = group::HEADER_BYTES + group.iter().map(|entry| group::FOOTER_BYTES + entry.len()).sum::<usize>();
        for byte in (0..meaning).step_by(389) {
            let disk = disk.snapshot();
            let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
            let mut value = [0];
            file.read_at(&mut value, offset + byte as u64).unwrap();
            overwrite(&disk, &(path.clone(), offset + byte as u64), &[value[0] ^ 1]);
            let journals = open(&disk);
            match journals.seal(ONE) {
                Err(JournalError::Corrupt { position, .. }) => assert!(position <= *start),
                Err(other) => panic!("{other}"),
                // The insides of an entry are looked at when they are read.
                Ok(sealed) => {
                    assert_eq!(sealed.end, end_of(&groups));
                    let mut bad = 0;
                    let mut locations = Vec::new();
                    journals.footers(ONE, Position(0), &mut |footer| locations.push(footer.location)).unwrap();
                    for location in locations {
                        match journals.read(ONE, &location) {
                            Ok(_) => {}
                            Err(JournalError::Corrupt { position, .. }) if position == *start => bad += 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    assert_eq!(bad, 1, "group {damaged}, byte {byte}");
                }
            }
        }
    }
}

#[test]
fn a_missing_file_in_the_middle_is_an_error() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    append(&mut *writer, &[3; 40]);
    drop((writer, journals));
    disk.remove_file(&Path::new(DIR).join(format!("{ONE}-{:010}{SUFFIX}", 2))).unwrap();
    assert!(matches!(open(&disk).seal(ONE), Err(JournalError::Corrupt { .. })));
}

#[test]
fn a_failed_write_kills_the_writer_and_is_not_believed() {
    for (torn_bytes, direct) in [(0, true), (5000, true), (usize::MAX, true), (0, false), (usize::MAX, false)] {
        for appended in 1..12 {
            let disk = disk();
            if !direct {
                disk.refuse_direct();
            }
            let journals = open(&disk);
            let mut writer = journals.create(ONE).unwrap();
            assert_eq!(journals.is_direct(), Some(direct));
            let groups = append(&mut *writer, &vec![6; appended]);
            let operation = if direct { Operation::Write } else { Operation::Sync };
            // The thread that fills spares works on other names.
            let session = format!("{ONE}");
            disk.fail(Fault { torn_bytes, ..Fault::once(operation, &session) });
            let failed = writer.append(&entries(1, 6));
            assert!(matches!(failed, Err(JournalError::Io { .. })), "{failed:?}");
            assert!(matches!(writer.append(&entries(1, 6)), Err(JournalError::Closed(ONE))));
            let sealed = Sealed { end: end_of(&groups), cut: None };
            assert_eq!(journals.seal(ONE).unwrap(), sealed);
            check(&*journals, ONE, Position(0), &groups);
            let mut writer = journals.create(TWO).unwrap();
            let second = append(&mut *writer, &[1, 2, 3]);
            drop((writer, journals));
            // The next process finds it the same.
            let journals = open(&disk.snapshot());
            assert_eq!(journals.sessions().unwrap(), [ONE, TWO]);
            assert_eq!(journals.seal(ONE).unwrap(), sealed);
            check(&*journals, ONE, Position(0), &groups);
            assert_eq!(journals.seal(TWO).unwrap().end, end_of(&second));
            check(&*journals, TWO, Position(0), &second);
        }
    }
}

#[test]
fn a_seal_stops_a_writer_that_lives() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    assert!(matches!(journals.create(ONE), Err(JournalError::SessionExists(ONE))));
    assert!(matches!(journals.remove(ONE), Err(JournalError::NotSealed(ONE))));
    let groups = append(&mut *writer, &[1, 2]);
    assert_eq!(journals.seal(ONE).unwrap().end, end_of(&groups));
    assert!(matches!(writer.append(&entries(1, 1)), Err(JournalError::Closed(ONE))));
    assert_eq!(writer.close().unwrap(), end_of(&groups));
}

#[test]
fn a_full_disk_is_met_before_anything_is_written() {
    let disk = disk();
    let journals = open(&disk);
    let mut writer = journals.create(ONE).unwrap();
    let full =
        |operation| Fault { error: std::io::ErrorKind::StorageFull, for_ever: true, ..Fault::once(operation, SPARE) };
    disk.fail(full(Operation::Preallocate));
    let mut groups = Vec::new();
    let failed = loop {
        let start = writer.position();
        match writer.append(&entries(1, 7)) {
            Ok(_) => groups.push((start, entries(1, 7))),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, JournalError::Io { action: "reserve", .. }), "{failed}");
    assert!(groups.len() > 2);
    assert_eq!(journals.seal(ONE).unwrap().end, end_of(&groups));
    assert!(matches!(journals.create(TWO), Err(JournalError::Io { .. })));
    disk.heal();
    append(&mut *journals.create(TWO).unwrap(), &[7; 20]);
}

#[test]
fn works_on_the_real_disk() {
    for direct in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let options = FileJournalOptions { direct, ..FileJournalOptions::default() };
        let open = || FileJournals::open(Arc::new(RealDisk), &path, options).unwrap();
        let journals = open();
        let mut writer = journals.create(ONE).unwrap();
        let groups = append(&mut *writer, &[5, 100, 3000, 77]);
        drop((writer, journals));
        let journals = open();
        assert_eq!(journals.seal(ONE).unwrap().end, end_of(&groups));
        check(&*journals, ONE, Position(0), &groups);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is appended and trimmed: after a power cut, everything that was acknowledged and not trimmed is there.
    #[test]
    fn power_cuts_lose_nothing_acknowledged(
        shapes in prop::collection::vec(0..2000usize, 1..60),
        trims in prop::collection::vec(any::<bool>(), 60),
        direct in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let disk = disk();
        if !direct {
            disk.refuse_direct();
        }
        let mut random = seeded(seed);
        let journals = open(&disk);
        let mut writer = journals.create(ONE).unwrap();
        let mut groups = Vec::new();
        for (number, &shape) in shapes.iter().enumerate() {
            let start = writer.position();
            writer.append(&entries(number, shape)).unwrap();
            groups.push((start, entries(number, shape)));
            if trims[number] {
                let kept = random() as usize % groups.len();
                groups.drain(..kept);
                journals.trim(ONE, groups[0].0).unwrap();
            }
            if random().is_multiple_of(4) {
                let journals = open(&disk.power_cut(&mut random));
                prop_assert_eq!(journals.seal(ONE).unwrap(), Sealed { end: end_of(&groups), cut: None });
                check(&*journals, ONE, groups[0].0, &groups);
            }
        }
    }
}
