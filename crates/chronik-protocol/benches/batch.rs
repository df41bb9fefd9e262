//! Record batches: check (header and checksum), walk, validate, and each codec. Run with `cargo bench -p chronik-protocol --bench batch`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use chronik_protocol::batch::{Batch, BatchBuilder, HEADER_SIZE};
use chronik_protocol::compression::{Codec, Compression, compress, decompress};
use chronik_protocol::record::RecordIter;
use chronik_protocol::validate::{AppendRules, prepare};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW: i64 = 1_700_000_000_000;

/// Words, not noise and not zeros: compresses about as well as logs do.
fn value(length: usize, seed: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [b"info ", b"error ", b"user=", b"42 ", b"path=/a/b ", b"took ", b"17ms ", b"done\n"];
    let mut state = seed as u32 | 1;
    let mut out = Vec::with_capacity(length + 16);
    while out.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(WORDS[(state >> 28) as usize % 8]);
        out.push(b'0' + (state >> 20) as u8 % 10);
    }
    out.truncate(length);
    out
}

/// A batch of about `size` bytes before compression, in records of `record` bytes.
fn batch(size: usize, record: usize, codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::with_capacity(size).compression(Compression::of(codec));
    let mut i = 0;
    while builder.uncompressed_size() + record.min(size / 2) / 2 < size {
        builder.push(NOW, Some(b"key-0001"), Some(&value(record, i)), &[]);
        i += 1;
    }
    builder.build().unwrap().to_vec()
}

fn check(c: &mut Criterion) {
    let mut group = c.benchmark_group("check");
    for (name, size) in [("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", 1 << 20)] {
        let bytes = batch(size, (size - 100).min(1 << 20), Codec::None);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| Batch::parse(black_box(&bytes)).unwrap().check_crc().unwrap()));
    }
}

fn walk(c: &mut Criterion) {
    let mut group = c.benchmark_group("walk");
    for record in [100, 1000] {
        let bytes = batch(1 << 20, record, Codec::None);
        let count = Batch::parse(&bytes).unwrap().header.records_count;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("1 MiB of {record} B records"), |b| {
            b.iter(|| RecordIter::new(black_box(&bytes[HEADER_SIZE..]), count).map(Result::unwrap).count());
        });
    }
}

fn validate(c: &mut Criterion) {
    let mut group = c.benchmark_group("validate");
    let rules = AppendRules { max_message_bytes: 2 << 20, ..AppendRules::default() };
    for codec in Codec::ALL {
        let bytes = batch(1 << 20, 1000, codec);
        group.throughput(Throughput::Bytes(1 << 20));
        group
            .bench_function(format!("1 MiB, {codec}"), |b| b.iter(|| prepare(black_box(&bytes), &rules, NOW).unwrap()));
    }
    let small = batch(1 << 10, 900, Codec::None);
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("1 KiB, none", |b| b.iter(|| prepare(black_box(&small), &rules, NOW).unwrap()));
}

fn codecs(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for size in [16 << 10, 1 << 20] {
        let data = value(size, 1);
        group.throughput(Throughput::Bytes(size as u64));
        for codec in &Codec::ALL[1..] {
            let mut compressed = Vec::new();
            compress(Compression::of(*codec), &data, &mut compressed).unwrap();
            group.bench_function(format!("{codec} inflate {} KiB", size >> 10), |b| {
                b.iter(|| decompress(*codec, black_box(&compressed), size).unwrap());
            });
            group.bench_function(format!("{codec} deflate {} KiB", size >> 10), |b| {
                let mut out = Vec::new();
                b.iter(|| {
                    out.clear();
                    compress(Compression::of(*codec), black_box(&data), &mut out).unwrap();
                });
            });
        }
    }
}

criterion_group!(benches, check, walk, validate, codecs);
criterion_main!(benches);
