//! A batch that would inflate to far more than is allowed costs neither its size nor the limit: memory stays what a codec's
//! own block or window takes. A process of its own, so that nothing else moves the figures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

use chronik_protocol::ErrorCode;
use chronik_protocol::batch::{BatchBuilder, BatchHeader, HEADER_SIZE};
use chronik_protocol::validate::{AppendRules, prepare};

const ZEROS: usize = 16 << 20;
const LIMIT: usize = 12 << 20;
const MIB: u64 = 1 << 20;

/// A figure of this process, in bytes.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Writes one record whose value is zeros, piece by piece, so that the test itself needs no memory either.
fn write_record(out: &mut impl Write) {
    fn varint(value: usize) -> Vec<u8> {
        let mut raw = value << 1;
        let mut bytes = Vec::new();
        while raw > 0x7f {
            bytes.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        bytes.push(raw as u8);
        bytes
    }
    let value = varint(ZEROS);
    // Attributes, timestamp delta, offset delta, null key; at the end no headers.
    let body = 4 + value.len() + ZEROS + 1;
    for piece in [varint(body), vec![0, 0, 0, 1], value] {
        out.write_all(&piece).unwrap();
    }
    let zeros = [0; 64 << 10];
    for _ in 0..ZEROS / zeros.len() {
        out.write_all(&zeros).unwrap();
    }
    out.write_all(&[0]).unwrap();
}

fn bombs() -> Vec<(&'static str, i16, Vec<u8>)> {
    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write_record(&mut gzip);
    // A stream whose encoder did not know its size does not tell it either.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    write_record(&mut zstd);
    let mut bombs = vec![("gzip", 1, gzip.finish().unwrap()), ("zstd", 4, zstd.finish().unwrap())];
    for (name, size) in [("lz4 of 64 KiB blocks", BlockSize::Max64KB), ("lz4 of 4 MiB blocks", BlockSize::Max4MB)] {
        let mut lz4 = FrameEncoder::with_frame_info(FrameInfo::new().block_size(size), Vec::new());
        write_record(&mut lz4);
        bombs.push((name, 3, lz4.finish().unwrap()));
    }
    let mut plain = Vec::with_capacity(ZEROS + 64);
    write_record(&mut plain);
    let mut xerial = Vec::new();
    let codec = chronik_protocol::compression::Codec::Snappy;
    chronik_protocol::compression::compress(codec.into(), &plain, &mut xerial).unwrap();
    bombs.push(("snappy in xerial's framing", 2, xerial));
    bombs.push(("snappy in one block", 2, snap::raw::Encoder::new().compress_vec(&plain).unwrap()));
    bombs
}

fn batch_around(codec: i16, payload: &[u8]) -> Vec<u8> {
    let mut one = BatchBuilder::new();
    one.push(1_700_000_000_000, None, None, &[]);
    let mut header = BatchHeader::parse(&one.build().unwrap()).unwrap();
    header.attributes = codec;
    header.batch_length = (HEADER_SIZE - 12 + payload.len()) as i32;
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    chronik_protocol::batch::set_producer(&mut bytes, -1, -1, -1);
    bytes
}

#[test]
fn a_bomb_is_refused_within_a_few_pages() {
    let rules = AppendRules { max_decompressed_bytes: LIMIT, max_message_bytes: usize::MAX, ..AppendRules::default() };
    for (name, codec, payload) in bombs() {
        let batch = batch_around(codec, &payload);
        drop(payload);
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let error = prepare(&batch, &rules, 1_700_000_000_000).unwrap_err();
        let peak = memory("VmHWM").saturating_sub(before);
        assert_eq!(error.code, ErrorCode::MessageTooLarge, "{name}: {error}");
        // What a codec holds by itself: a zstd window of 2 MiB, an LZ4 block of up to 4 MiB, nothing for the others.
        assert!(peak <= 6 * MIB, "{name}: {peak} bytes for {} that inflate beyond {LIMIT}", batch.len());
    }
}
