//! Record batches: whatever is accepted must be a batch that reads back whole, with the count that its header says.
#![no_main]

use chronik_protocol::batch::{Batch, Batches, crc32c};
use chronik_protocol::compression::decompress;
use chronik_protocol::record::RecordIter;
use chronik_protocol::validate::{AppendRules, prepare};
use libfuzzer_sys::fuzz_target;

/// What a batch may inflate to here: small, so that the fuzzer does not spend its time inflating.
const INFLATE: usize = 1 << 20;

/// Makes the length and the checksum right, so that what lies behind them is reached.
fn repair(data: &[u8]) -> Vec<u8> {
    let mut batch = data.to_vec();
    if batch.len() >= 61 {
        let length = batch.len() as i32 - 12;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}

fn check(data: &[u8]) {
    for batch in Batches::new(data) {
        if batch.is_err() {
            break;
        }
    }
    let rules = AppendRules { max_decompressed_bytes: INFLATE, ..AppendRules::default() };
    let Ok(prepared) = prepare(data, &rules, 1_700_000_000_000) else { return };
    let batch = Batch::parse(&prepared.bytes).expect("what is accepted is a batch");
    batch.check_crc().expect("with the right checksum");
    let codec = batch.header.compression().expect("of a known codec");
    let payload = decompress(codec, batch.payload(), INFLATE).expect("that inflates");
    let records = RecordIter::new(&payload, batch.header.records_count).filter(Result::is_ok).count();
    assert_eq!(records as i32, batch.header.records_count);
}

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&repair(data));
});
