//! R: record batches that break a rule.

use chronik_protocol::compression::Codec;

use crate::Row;
use crate::batches::{Batch, CODECS, Record, now_ms, varint};
use crate::world::{PRODUCE, World, produce_request};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "R01", input: "a wrong checksum", run: checksum },
    Row { id: "R02", input: "a magic other than 2", run: magic },
    Row { id: "R03", input: "two batches for one partition", run: two_batches },
    Row { id: "R04", input: "no batch, half a batch", run: no_batch },
    Row { id: "R05", input: "codecs 5 to 7", run: unknown_codecs },
    Row { id: "R06", input: "zstd in Produce below v7", run: zstd_too_early },
    Row { id: "R07", input: "more records declared than there are", run: too_few_records },
    Row { id: "R08", input: "a count of −1 and 0", run: no_records },
    Row { id: "R09", input: "a last offset delta that is not count−1", run: last_offset_delta },
    Row { id: "R10", input: "compressed bytes that are garbage", run: garbage },
    Row { id: "R11", input: "a batch that inflates to 16 MiB", run: bombs },
    Row { id: "R12", input: "lengths in a record that lie", run: record_lengths },
    Row { id: "R13", input: "header counts of −1 and 2³¹, a null header key", run: record_headers },
    Row { id: "R14", input: "a batch above max.message.bytes", run: too_large },
    Row { id: "R16", input: "a batch length that lies", run: batch_length },
    Row { id: "R18", input: "the control bit", run: control_bit },
    Row { id: "R20", input: "a producer id without a sequence", run: no_sequence },
    Row { id: "R21", input: "timestamps that cannot be", run: timestamps },
    Row { id: "R23", input: "acks of 5 and −2", run: acks },
    Row { id: "R24", input: "topics and partitions that are not there", run: unknown_partitions },
    Row { id: "R26", input: "a batch for __consumer_offsets", run: internal_topic },
    Row { id: "R27", input: "acks=0 with an error", run: acks_none },
    Row { id: "R33", input: "null records", run: null_records },
    Row { id: "R36", input: "bytes behind the batch", run: bytes_behind },
];

fn checksum(world: &mut World) {
    world.refused("crc", 2, Batch { crc: Some(1), ..Batch::of(&["a"]) }.bytes());
    let mut flipped = Batch::of(&["a value"]).bytes();
    *flipped.last_mut().unwrap() ^= 1;
    world.refused("a flipped bit", 2, flipped);
}

fn magic(world: &mut World) {
    for (magic, code) in [(0, 87), (1, 87), (3, 2), (127, 2), (-1, 2)] {
        world.refused(&format!("magic {magic}"), code, Batch { magic, ..Batch::of(&["a"]) }.bytes());
    }
}

fn two_batches(world: &mut World) {
    world.refused("two", 87, [Batch::of(&["a"]).bytes(), Batch::of(&["b"]).bytes()].concat());
}

fn no_batch(world: &mut World) {
    let batch = Batch::of(&["a", "b"]).bytes();
    world.refused("no byte", 87, Vec::new());
    world.refused("half a batch", 87, batch[..batch.len() / 2].to_vec());
    world.refused("half a header", 87, batch[..30].to_vec());
    world.refused("all but a byte", 87, batch[..batch.len() - 1].to_vec());
    world.refused("less than a length", 87, batch[..11].to_vec());
}

fn unknown_codecs(world: &mut World) {
    let code = world.stricter(-1, 76);
    for codec in 5..8 {
        world.refused(&format!("codec {codec}"), code, Batch { attributes: codec, ..Batch::of(&["a"]) }.bytes());
    }
}

fn zstd_too_early(world: &mut World) {
    let batch = Batch::of(&["a"]).compressed(Codec::Zstd).bytes();
    assert_eq!(world.produce(6, Some(batch.clone())).code, 76);
    assert_eq!(world.produce(3, Some(batch.clone())).code, 76);
    let produced = world.produce(7, Some(batch));
    assert_eq!((produced.code, produced.base_offset), (0, world.next));
    world.next += 1;
}

fn too_few_records(world: &mut World) {
    for codec in std::iter::once(None).chain(CODECS.map(Some)) {
        let batch = Batch { count: Some(3), last_offset_delta: Some(2), ..Batch::of(&["a", "b"]) };
        let batch = codec.map_or(batch.clone(), |codec| batch.compressed(codec));
        world.refused(&format!("{codec:?}"), 87, batch.bytes());
    }
}

fn no_records(world: &mut World) {
    for count in [-1, 0, i32::MIN] {
        world.refused(&format!("count {count}"), 87, Batch { count: Some(count), ..Batch::of(&["a"]) }.bytes());
    }
    let none = Batch { count: Some(0), last_offset_delta: Some(-1), payload: Some(Vec::new()), ..Batch::of(&["a"]) };
    world.refused("count 0 and nothing in it", 87, none.bytes());
}

fn last_offset_delta(world: &mut World) {
    for delta in [0, 2, -1, i32::MAX, i32::MIN] {
        let batch = Batch { last_offset_delta: Some(delta), ..Batch::of(&["a", "b"]) };
        world.refused(&format!("delta {delta}"), 87, batch.bytes());
    }
}

fn garbage(world: &mut World) {
    for codec in CODECS {
        let empty = if codec == Codec::Zstd { 87 } else { -1 };
        for (payload, kafka) in [(b"this is nobody's compression".to_vec(), -1), (Vec::new(), empty)] {
            let batch = Batch { attributes: i16::from(codec.id()), payload: Some(payload), ..Batch::of(&["a"]) };
            let code = world.stricter(kafka, 2);
            world.refused(&format!("{codec:?}"), code, batch.bytes());
        }
    }
}

/// A record of 16 MiB of zeros, eight times what the settings of the test let a batch inflate to.
fn bombs(world: &mut World) {
    let value = Some(vec![0; 16 << 20]);
    let bomb = Batch::with(vec![Record { value, ..Record::default() }]);
    for codec in CODECS {
        let batch = bomb.clone().compressed(codec).bytes();
        if batch.len() > 1_000_000 {
            continue; // snappy and lz4 do not go below max.message.bytes at this size
        }
        let before = world.broker.resident_kib();
        world.refused_by_ours(&format!("{codec:?}"), 10, 1, batch);
        let grown = world.broker.resident_kib().saturating_sub(before);
        assert!(grown <= 9 * 1024, "{codec:?}: {grown} KiB");
    }
}

fn record_lengths(world: &mut World) {
    let good = Record::of(0, "value");
    let length = good.bytes().len() as i64 - 1;
    let overlong = [varint(length)[0] | 0x80, 0x80, 0x80, 0x80, 0x80, 0].to_vec();
    let lies = [
        ("negative", Record { length: Some(varint(-1)), ..good.clone() }),
        ("too short", Record { length: Some(varint(length - 1)), ..good.clone() }),
        ("past the end", Record { length: Some(varint(length + 1)), ..good.clone() }),
        ("far past the end", Record { length: Some(varint(i64::from(i32::MAX))), ..good.clone() }),
        ("overlong", Record { length: Some(overlong), ..good.clone() }),
        ("value −2", Record { raw_value: Some(varint(-2)), ..good.clone() }),
        ("value past the end", Record { raw_value: Some(varint(1000)), ..good }),
    ];
    for (why, record) in lies {
        let batch = Batch::with(vec![record]);
        let code = if why == "overlong" { world.stricter(-1, 87) } else { 87 };
        world.refused(why, code, batch.bytes());
        let compressed = batch.compressed(Codec::Gzip).bytes();
        match why {
            "too short" | "past the end" | "value −2" => world.refused_by_ours(why, 87, 1, compressed),
            _ => world.refused(why, 87, compressed),
        }
    }
}

fn record_headers(world: &mut World) {
    let headers = |raw: Vec<u8>| Batch::with(vec![Record { raw_headers: Some(raw), ..Record::of(0, "value") }]);
    let null_key = [varint(1), varint(-1), varint(-1)].concat();
    let huge = varint(i64::from(i32::MAX));
    for (why, raw) in [("−1", varint(-1)), ("2³¹−1", huge), ("a null key", null_key), ("−2³¹", varint(-1 << 31))]
    {
        let code = 87;
        world.refused(why, code, headers(raw.clone()).bytes());
        world.refused(why, code, headers(raw).compressed(Codec::Gzip).bytes());
    }
}

fn too_large(world: &mut World) {
    let value = "x".repeat(1_048_588);
    world.refused("1 MiB and a header", 10, Batch::of(&[&value]).bytes());
}

fn batch_length(world: &mut World) {
    let good = Batch::of(&["a value", "another"]);
    let length = good.bytes().len() as i32 - 12;
    for (lie, kafka, ours) in [
        (length - 1, 2, 2),
        (length + 1, 87, 87),
        (length + 1000, 87, 87),
        (0, 2, 2),
        (13, 2, 2),
        (-1, 2, 2),
        (i32::MIN, 2, 2),
        (i32::MAX, -1, 87),
    ] {
        let code = world.stricter(kafka, ours);
        world.refused(&format!("length {lie} for {length}"), code, Batch { length: Some(lie), ..good.clone() }.bytes());
    }
}

fn control_bit(world: &mut World) {
    world.refused("control", 87, Batch { attributes: 0x20, ..Batch::of(&["a"]) }.bytes());
}

fn no_sequence(world: &mut World) {
    let producer = world.producer();
    world.refused("sequence −1", 87, Batch::of(&["a"]).from(producer, -1).bytes());
    world.accepted("sequence 0", 1, Batch::of(&["a"]).from(producer, 0).bytes());
}

fn timestamps(world: &mut World) {
    let hour = 3_600_000;
    let at = |base_timestamp| Batch { base_timestamp, ..Batch::of(&["a"]) };
    let mut overflow = at(i64::MAX);
    overflow.records[0].timestamp_delta = 10;
    for (why, batch) in [
        ("two hours ahead", at(now_ms() + 2 * hour)),
        ("the last moment", at(i64::MAX)),
        ("the first moment", at(i64::MIN)),
        ("base + delta overflows", overflow),
    ] {
        let produced = world.produce(PRODUCE, Some(batch.bytes()));
        assert_eq!((produced.code, produced.base_offset), (32, -1), "{why}");
        assert_eq!(produced.record_errors, [0], "{why}");
    }
    world.accepted("−2", 1, at(-2).bytes());
    world.accepted("1970", 1, at(1).bytes());
    let lie = Batch { max_timestamp: Some(now_ms() + 1000 * hour), ..Batch::of(&["a"]) };
    world.accepted("a lying maximum is replaced", 1, lie.bytes());
}

fn acks(world: &mut World) {
    for acks in [5, -2, 2, i16::MAX] {
        let request = produce_request(acks, &world.topic, 0, Some(Batch::of(&["a"]).bytes()));
        let answer = world.connection.call(PRODUCE, &request);
        let partition = &answer.body().responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (21, -1), "acks {acks}");
    }
}

fn unknown_partitions(world: &mut World) {
    let topic = world.topic.clone();
    for (topic, partition) in [("no-such-topic-anywhere", 0), (&topic[..], 99), (&topic, -1), (&topic, i32::MAX)] {
        let produced = world.produce_to(PRODUCE, topic, partition, Some(Batch::of(&["a"]).bytes()));
        assert_eq!((produced.code, produced.base_offset), (3, -1), "{topic} {partition}");
    }
}

fn internal_topic(world: &mut World) {
    crate::groups::use_offsets(world);
    let request = produce_request(-1, "__consumer_offsets", 0, Some(Batch::of(&["a"]).bytes()));
    let answer = world.connection.call(PRODUCE, &request);
    assert_eq!(answer.body().responses[0].partition_responses[0].error_code, 17);
    if !world.broker.is_kafka() {
        // Kafka takes it, and breaks its own coordinator: not tried there.
        let answer = world.open().named("__admin_client").call(PRODUCE, &request);
        assert_eq!(answer.body().responses[0].partition_responses[0].error_code, 17);
    }
}

fn acks_none(world: &mut World) {
    let wrong = Batch { crc: Some(1), ..Batch::of(&["a"]) }.bytes();
    for (topic, partition, records) in [
        (world.topic.clone(), 0, wrong),
        ("no-such-topic-anywhere".to_owned(), 0, Batch::of(&["a"]).bytes()),
        (world.topic.clone(), 99, Batch::of(&["a"]).bytes()),
    ] {
        let mut connection = world.open();
        connection.send(PRODUCE, &produce_request(0, &topic, partition, Some(records)));
        connection.must_close(&topic);
    }
    let mut connection = world.open();
    connection.send(PRODUCE, &produce_request(0, &world.topic, 0, Some(Batch::of(&["a"]).bytes())));
    let answer = connection.call(0, &chronik_protocol::messages::ApiVersionsRequest::default());
    assert_eq!(answer.body().error_code, 0, "a good one is not answered, and the connection goes on");
    world.next += 1;
}

fn null_records(world: &mut World) {
    if world.broker.is_kafka() {
        return; // fails inside, and never answers
    }
    let produced = world.produce(PRODUCE, None);
    assert_eq!((produced.code, produced.base_offset), (87, -1));
}

fn bytes_behind(world: &mut World) {
    let good = Batch::of(&["a", "b"]).bytes();
    for (why, behind) in [("4 bytes", &good[..4]), ("half a batch", &good[..good.len() / 2])] {
        world.refused_by_ours(why, 87, 2, [&good, behind].concat());
    }
    world.refused("100 zero bytes", 2, [&good[..], &[0; 100]].concat());
}
