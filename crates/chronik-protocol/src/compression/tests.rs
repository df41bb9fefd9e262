//! Round trips, both snappy framings, cuts, garbage and bombs, each codec by codec.

use super::*;

const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| b"the quick brown fox"[(i * i / 7 + i) % 19]).collect()
}

fn compressed(codec: Codec, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(Compression::of(codec), data, &mut out).unwrap();
    out
}

#[test]
fn every_codec_round_trips_every_size() {
    for codec in Codec::ALL {
        for length in [0, 1, 100, WINDOW - 1, WINDOW, WINDOW + 1, 300_000] {
            let data = text(length);
            if codec == Codec::None || !compressed(codec, &data).is_empty() {
                assert_eq!(decompress(codec, &compressed(codec, &data), length).unwrap(), data, "{codec} {length}");
            }
        }
    }
}

#[test]
fn a_bare_snappy_block_is_read() {
    let data = text(100_000);
    let block = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(decompress(Codec::Snappy, &block, data.len()).unwrap(), data);
}

#[test]
fn appended_gzip_members_and_xerial_streams_are_read() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let twice = [compressed(codec, b"one "), compressed(codec, b"two")].concat();
        assert_eq!(decompress(codec, &twice, 100).unwrap(), b"one two", "{codec}");
    }
}

#[test]
fn levels_work_and_unknown_ones_are_refused() {
    let data = text(100_000);
    for (codec, level) in
        [(Codec::Gzip, 1), (Codec::Gzip, 9), (Codec::Gzip, -1), (Codec::Zstd, -5), (Codec::Zstd, 1), (Codec::Zstd, 19)]
    {
        let mut out = Vec::new();
        compress(Compression { codec, level: Some(level) }, &data, &mut out).unwrap();
        assert_eq!(decompress(codec, &out, data.len()).unwrap(), data, "{codec} {level}");
    }
    assert!(compress(Compression { codec: Codec::Gzip, level: Some(10) }, &data, &mut Vec::new()).is_err());
}

#[test]
fn a_cut_payload_is_damage_at_every_byte() {
    let data = text(5_000);
    for codec in COMPRESSING {
        let whole = compressed(codec, &data);
        // A xerial stream that ends between blocks is a shorter stream; the record count tells.
        let complete = if codec == Codec::Snappy { vec![16] } else { vec![] };
        for length in (0..whole.len()).filter(|length| !complete.contains(length)) {
            let result = decompress(codec, &whole[..length], 1 << 20);
            assert!(
                matches!(result, Err(InflateError::Corrupt { .. })),
                "{codec} cut at {length} of {}: {result:?}",
                whole.len()
            );
        }
    }
}

#[test]
fn garbage_is_damage() {
    for codec in COMPRESSING {
        for garbage in [vec![0xff; 100], b"this is not compressed at all".to_vec(), vec![0; 7], text(40_000)] {
            let result = decompress(codec, &garbage, 1 << 20);
            // Zeros are a valid empty snappy block followed by nothing that makes sense.
            assert!(matches!(result, Err(InflateError::Corrupt { .. })), "{codec}: {result:?}");
        }
    }
}

#[test]
fn the_limit_is_exact() {
    let data = text(100_000);
    for codec in COMPRESSING {
        let whole = compressed(codec, &data);
        assert_eq!(decompress(codec, &whole, 100_000).unwrap().len(), 100_000);
        assert_eq!(decompress(codec, &whole, 99_999), Err(InflateError::TooLarge { limit: 99_999 }), "{codec}");
    }
}

#[test]
fn a_snappy_preamble_that_lies_allocates_nothing() {
    // Varint 2³²−1, then nothing.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    assert!(matches!(decompress(Codec::Snappy, &lie, usize::MAX), Err(InflateError::Corrupt { .. })));
}

#[test]
fn linked_lz4_blocks_are_refused() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&text(1000)).unwrap();
    let frame = encoder.finish().unwrap();
    assert!(matches!(decompress(Codec::Lz4, &frame, 1 << 20), Err(InflateError::Unsupported { .. })));
}

#[test]
fn lz4_frames_of_other_clients_are_read() {
    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let data = text(200_000);
    for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
        for checksums in [false, true] {
            let info = FrameInfo::new().block_size(block_size).block_checksums(checksums).content_checksum(checksums);
            let info = info.content_size(checksums.then_some(data.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&data).unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(decompress(Codec::Lz4, &frame, data.len()).unwrap(), data);
        }
    }
}

#[test]
fn names_and_ids_are_kafkas() {
    for (id, name) in (0u8..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let codec = Codec::from_id(id).unwrap();
        assert_eq!((codec.id(), codec.name(), name.parse()), (id, name, Ok(codec)));
    }
    assert_eq!((Codec::from_id(5), Codec::from_id(7)), (Err(5), Err(7)));
    assert_eq!("uncompressed".parse(), Ok(Codec::None));
    assert!("brotli".parse::<Codec>().is_err());
}
