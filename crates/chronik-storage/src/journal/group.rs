//! The bytes of a group, the same in every kind of journal.
//!
//! ```text
//! group   = header, one footer per entry, the entries' bytes, zeros up to a multiple of 4096
//! header  = magic u32 · format u16 · kind u16 · session [16] · position u64 · length u64 · entries u32 · crc of footers u32
//!           · reserved [12] · crc of the header u32                                                           (64 bytes)
//! footer  = topic id [16] · partition i32 · leader epoch i32 · base offset i64 · last offset i64 · producer id i64
//!           · producer epoch i16 · attributes i16 · base sequence i32 · max timestamp i64 · offset u32 · length u32
//!           · crc of the entry u32 · reserved [4]                                                             (80 bytes)
//! ```
//!
//! Integers are little-endian, CRCs are CRC-32C. The footers stand before the entries, so that one read of a group's first bytes
//! tells what it holds. A group is valid only as a whole, and only where its header says that it is: session and position together
//! never repeat, so neither an earlier session's bytes nor an earlier lap's can be taken for it.

use chronik_protocol::Uuid;
use crc_fast::crc32_iscsi;

use super::{Cut, Entry, EntryLocation, EntryMeta, Footer, HEAD_BYTES, JournalError, Position, SessionId};
use crate::disk::BLOCK_BYTES;

/// The size of a header.
pub(super) const HEADER_BYTES: usize = 64;
/// The size of a footer.
pub(super) const FOOTER_BYTES: usize = 80;

const MAGIC: u32 = u32::from_le_bytes(*b"CHJG");
const FORMAT: u16 = 1;
/// The CRC of the header's bytes before it.
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;

/// What a header begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A group of entries.
    Entries,
    /// The end of the session.
    Seal,
}

/// A header that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) position: Position,
    /// The length of the whole group, a multiple of the block.
    pub(super) len: u64,
    pub(super) entries: u32,
    footers_crc: u32,
}

/// What stands where a header could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A header of the session, at whatever position.
    Header(Header),
    /// Something that began as a header of the session and is not whole.
    Damaged,
    /// Zeros, the inside of a group, or another session's bytes.
    Nothing,
}

impl Header {
    /// Reads the header at the start of `block`.
    pub(super) fn find(block: &[u8], session: SessionId) -> Found {
        let Some(bytes) = block.first_chunk::<HEADER_BYTES>() else { return Found::Nothing };
        if u32_at(bytes, 0) != MAGIC || bytes[8..24] != session.0.to_le_bytes() {
            return Found::Nothing;
        }
        let kind = match u16_at(bytes, 6) {
            1 => Kind::Entries,
            2 => Kind::Seal,
            _ => return Found::Damaged,
        };
        if u32_at(bytes, HEADER_CRC_AT) != crc32_iscsi(&bytes[..HEADER_CRC_AT]) || u16_at(bytes, 4) != FORMAT {
            return Found::Damaged;
        }
        let header = Header {
            kind,
            position: Position(u64_at(bytes, 24)),
            len: u64_at(bytes, 32),
            entries: u32_at(bytes, 40),
            footers_crc: u32_at(bytes, 44),
        };
        let sane = header.len.is_multiple_of(BLOCK_BYTES as u64) && header.head_bytes() as u64 <= header.len;
        if sane { Found::Header(header) } else { Found::Damaged }
    }

    /// The size of header and footers.
    pub(super) fn head_bytes(&self) -> usize {
        HEADER_BYTES + self.entries as usize * FOOTER_BYTES
    }

    /// Where the group ends.
    pub(super) fn end(&self) -> Position {
        Position(self.position.0 + self.len)
    }

    /// The footers, from the group's first [`Self::head_bytes`]; none when they are damaged.
    pub(super) fn footers<'a>(&self, head: &'a [u8]) -> Option<impl Iterator<Item = Footer> + use<'a>> {
        let footers = head.get(HEADER_BYTES..self.head_bytes())?;
        if crc32_iscsi(footers) != self.footers_crc {
            return None;
        }
        let group = self.position;
        Some(footers.as_chunks::<FOOTER_BYTES>().0.iter().map(move |bytes| decode_footer(bytes, group)))
    }

    /// Whether all of the group's bytes are as they were written.
    pub(super) fn is_whole(&self, group: &[u8]) -> bool {
        let Some(mut footers) = self.footers(group) else { return false };
        footers.all(|footer| entry_of(group, &footer.location).is_some())
    }

    /// What is said of this group when it is cut off.
    pub(super) fn cut(&self) -> Cut {
        Cut { bytes: self.len, entries: self.entries }
    }

    fn encode(&self, session: SessionId, out: &mut [u8]) {
        let out = &mut out[..HEADER_BYTES];
        out.fill(0);
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        out[6] = match self.kind {
            Kind::Entries => 1,
            Kind::Seal => 2,
        };
        out[8..24].copy_from_slice(&session.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.position.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.len.to_le_bytes());
        out[40..44].copy_from_slice(&self.entries.to_le_bytes());
        out[44..48].copy_from_slice(&self.footers_crc.to_le_bytes());
        let crc = crc32_iscsi(&out[..HEADER_CRC_AT]);
        out[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The bytes of an entry within its group, when they are as they were written.
pub(super) fn entry_of<'a>(group: &'a [u8], at: &EntryLocation) -> Option<&'a [u8]> {
    let start = at.offset as usize;
    let entry = group.get(start..start.checked_add(at.len as usize)?)?;
    (crc32_iscsi(entry) == at.crc).then_some(entry)
}

/// The length of the group that these entries make.
pub(super) fn encoded_len(entries: &[Entry]) -> Result<usize, JournalError> {
    let bytes: usize = entries.iter().map(|entry| FOOTER_BYTES + entry.len()).sum();
    let len = (HEADER_BYTES + bytes).next_multiple_of(BLOCK_BYTES);
    // Places within a group are 32 bits wide.
    if u32::try_from(len).is_err() { Err(JournalError::TooLarge(bytes)) } else { Ok(len) }
}

/// Writes the group into `out`, which is as long as [`encoded_len`] says.
pub(super) fn encode(session: SessionId, position: Position, entries: &[Entry], out: &mut [u8]) {
    let len = out.len();
    let (head, bodies) = out.split_at_mut(HEADER_BYTES + entries.len() * FOOTER_BYTES);
    let mut end = 0;
    for (entry, row) in entries.iter().zip(head[HEADER_BYTES..].as_chunks_mut::<FOOTER_BYTES>().0) {
        let body = &mut bodies[end..end + entry.len()];
        body[..HEAD_BYTES].copy_from_slice(&entry.head);
        body[HEAD_BYTES..].copy_from_slice(&entry.rest);
        let location = EntryLocation {
            group: position,
            offset: narrow(HEADER_BYTES + entries.len() * FOOTER_BYTES + end),
            len: narrow(entry.len()),
            crc: crc32_iscsi(body),
        };
        encode_footer(&entry.meta, &location, row);
        end += entry.len();
    }
    bodies[end..].fill(0);
    let footers_crc = crc32_iscsi(&head[HEADER_BYTES..]);
    let header = Header { kind: Kind::Entries, position, len: len as u64, entries: narrow(entries.len()), footers_crc };
    header.encode(session, head);
}

/// Writes the block that ends a session at `position`.
pub(super) fn encode_seal(session: SessionId, position: Position, block: &mut [u8]) {
    block.fill(0);
    let header =
        Header { kind: Kind::Seal, position, len: block.len() as u64, entries: 0, footers_crc: crc32_iscsi(&[]) };
    header.encode(session, block);
}

/// Values that [`encoded_len`] has bounded.
fn narrow(value: usize) -> u32 {
    value as u32
}

fn encode_footer(meta: &EntryMeta, location: &EntryLocation, row: &mut [u8; FOOTER_BYTES]) {
    row[0..16].copy_from_slice(meta.topic_id.as_bytes());
    row[16..20].copy_from_slice(&meta.partition.to_le_bytes());
    row[20..24].copy_from_slice(&meta.leader_epoch.to_le_bytes());
    row[24..32].copy_from_slice(&meta.base_offset.to_le_bytes());
    row[32..40].copy_from_slice(&meta.last_offset.to_le_bytes());
    row[40..48].copy_from_slice(&meta.producer_id.to_le_bytes());
    row[48..50].copy_from_slice(&meta.producer_epoch.to_le_bytes());
    row[50..52].copy_from_slice(&meta.attributes.to_le_bytes());
    row[52..56].copy_from_slice(&meta.base_sequence.to_le_bytes());
    row[56..64].copy_from_slice(&meta.max_timestamp_ms.to_le_bytes());
    row[64..68].copy_from_slice(&location.offset.to_le_bytes());
    row[68..72].copy_from_slice(&location.len.to_le_bytes());
    row[72..76].copy_from_slice(&location.crc.to_le_bytes());
    row[76..80].fill(0);
}

fn decode_footer(row: &[u8; FOOTER_BYTES], group: Position) -> Footer {
    let meta = EntryMeta {
        topic_id: Uuid::from_bytes(bytes_at(row, 0)),
        partition: i32::from_le_bytes(bytes_at(row, 16)),
        leader_epoch: i32::from_le_bytes(bytes_at(row, 20)),
        base_offset: i64::from_le_bytes(bytes_at(row, 24)),
        last_offset: i64::from_le_bytes(bytes_at(row, 32)),
        producer_id: i64::from_le_bytes(bytes_at(row, 40)),
        producer_epoch: i16::from_le_bytes(bytes_at(row, 48)),
        attributes: i16::from_le_bytes(bytes_at(row, 50)),
        base_sequence: i32::from_le_bytes(bytes_at(row, 52)),
        max_timestamp_ms: i64::from_le_bytes(bytes_at(row, 56)),
    };
    let location = EntryLocation { group, offset: u32_at(row, 64), len: u32_at(row, 68), crc: u32_at(row, 72) };
    Footer { meta, location }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::entry;

    const SESSION: SessionId = SessionId(0x1234_5678_9abc);

    fn encoded(entries: &[Entry]) -> Vec<u8> {
        let mut out = vec![0xee; encoded_len(entries).unwrap()];
        encode(SESSION, Position(8192), entries, &mut out);
        out
    }

    #[test]
    fn what_is_encoded_is_found_again() {
        let entries = [entry(1, 0, 10, 100), entry(2, 3, 77, 0), entry(1, 0, 11, 9000)];
        let group = encoded(&entries);
        assert_eq!(group.len(), 12_288);
        let Found::Header(header) = Header::find(&group, SESSION) else { panic!("no header") };
        assert_eq!((header.position, header.end(), header.entries), (Position(8192), Position(8192 + 12_288), 3));
        assert!(header.is_whole(&group));
        let footers: Vec<_> = header.footers(&group).unwrap().collect();
        for (entry, footer) in entries.iter().zip(&footers) {
            assert_eq!(entry.meta, footer.meta);
            let bytes = entry_of(&group, &footer.location).unwrap();
            assert_eq!((&bytes[..HEAD_BYTES], &bytes[HEAD_BYTES..]), (&entry.head[..], &entry.rest[..]));
        }
        assert_eq!(Header::find(&group, SessionId(1)), Found::Nothing);
        assert_eq!(Header::find(&[0; 4096], SESSION), Found::Nothing);
    }

    #[test]
    fn any_byte_that_changes_is_noticed() {
        let entries = [entry(1, 0, 10, 300), entry(2, 3, 77, 40)];
        let group = encoded(&entries);
        let meaning: usize = HEADER_BYTES + entries.iter().map(|entry| FOOTER_BYTES + entry.len()).sum::<usize>();
        for at in 0..meaning {
            let mut damaged = group.clone();
            damaged[at] ^= 0x10;
            let whole = match Header::find(&damaged, SESSION) {
                Found::Header(header) => header.is_whole(&damaged),
                Found::Damaged | Found::Nothing => false,
            };
            assert!(!whole, "byte {at}");
        }
    }

    #[test]
    fn a_seal_is_a_header_of_its_own_kind() {
        let mut block = vec![0xee; BLOCK_BYTES];
        encode_seal(SESSION, Position(4096), &mut block);
        let Found::Header(header) = Header::find(&block, SESSION) else { panic!("no header") };
        assert_eq!((header.kind, header.position, header.entries), (Kind::Seal, Position(4096), 0));
    }
}
