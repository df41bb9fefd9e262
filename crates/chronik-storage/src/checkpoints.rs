//! Small files that are replaced as a whole: Apache Kafka's offset checkpoints and `partition.metadata`.
//!
//! Each is written beside its place, synced, and renamed; a reader sees the old content or the new, never a part. A damaged one is
//! reported as such and never taken for an empty one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::path::Path;
use std::str::FromStr;

use chronik_protocol::uuid::Uuid;

use crate::disk::{self, Disk, OpenMode};

/// Offsets by topic name and partition.
pub(crate) type OffsetMap = BTreeMap<(String, i32), i64>;

/// Name of the file that holds how far the segments of each partition are known to be on stable storage.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Name of the file that holds the log start offsets that lie inside a segment.
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// Name of the file that holds a partition's topic id.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// Replaces `dir/name` by `content`. With `sync` the content is on stable storage when this returns, the name only after the caller's
/// `sync_dir`; without it, the file is one that can be rebuilt.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, name: &str, content: &[u8], sync: bool) -> io::Result<()> {
    let (temporary, target) = (dir.join(format!("{name}.tmp")), dir.join(name));
    let file = disk.open(&temporary, OpenMode::Truncate)?;
    file.write_all_at(&[IoSlice::new(content)], 0)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    disk.rename(&temporary, &target)
}

/// Reads a whole small file; `None` if it is not there.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match disk::read_to_end(disk, path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of an offset checkpoint file.
pub(crate) fn encode_offsets(offsets: &OffsetMap) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    text
}

/// Reads an offset checkpoint file; `None` if it is damaged.
pub(crate) fn decode_offsets(bytes: &[u8]) -> Option<OffsetMap> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = OffsetMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let topic = words.next()?.to_owned();
        let partition = words.next()?.parse().ok()?;
        let offset: i64 = words.next()?.parse().ok()?;
        if words.next().is_some() || offset < 0 {
            return None;
        }
        offsets.insert((topic, partition), offset);
    }
    (offsets.len() == count).then_some(offsets)
}

/// The content of `partition.metadata`.
pub(crate) fn encode_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Reads `partition.metadata`; `None` if it is damaged.
pub(crate) fn decode_metadata(bytes: &[u8]) -> Option<Uuid> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()?.trim() != "version: 0" {
        return None;
    }
    Uuid::from_str(lines.next()?.strip_prefix("topic_id: ")?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_in_kafkas_format() {
        let offsets: OffsetMap = [(("b".to_owned(), 0), 7), (("a".to_owned(), 12), 0)].into();
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n2\na 12 0\nb 0 7\n");
        assert_eq!(decode_offsets(text.as_bytes()), Some(offsets));
    }

    #[test]
    fn damage_is_not_emptiness() {
        for bad in ["", "0", "1\n0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 x\n", "0\n1\na 0 -4\n", "0\n1\na 0 1 2\n"] {
            assert_eq!(decode_offsets(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(decode_offsets(b"0\n0\n"), Some(OffsetMap::new()));
    }

    #[test]
    fn metadata_round_trip() {
        let id = Uuid::from_bytes([7; 16]);
        assert_eq!(decode_metadata(encode_metadata(id).as_bytes()), Some(id));
        for bad in ["", "version: 1\ntopic_id: AAAA", "version: 0\n", "version: 0\ntopic_id: !"] {
            assert_eq!(decode_metadata(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
