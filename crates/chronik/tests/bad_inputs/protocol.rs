//! P: frames, headers and bodies that are no requests.

use chronik_protocol::ApiKey;
use chronik_protocol::generated::metadata_request::MetadataRequestTopic;
use chronik_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};
use chronik_protocol::wire::decode_exact;

use crate::Row;
use crate::world::World;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "P01", input: "a length of 2³¹−1 and no body", run: longest_frame },
    Row { id: "P02", input: "a length of socket.request.max.bytes+1", run: frame_above_the_limit },
    Row { id: "P04", input: "a length of −1", run: negative_length },
    Row { id: "P05", input: "a length of 0", run: empty_frame },
    Row { id: "P07", input: "HTTP", run: http },
    Row { id: "P08", input: "a TLS ClientHello", run: tls },
    Row { id: "P10", input: "API keys 999 and −1", run: unknown_keys },
    Row { id: "P11", input: "ApiVersions v99", run: api_versions_of_tomorrow },
    Row { id: "P13", input: "a header cut after 4 bytes", run: header_cut },
    Row { id: "P14", input: "a client id longer than the frame", run: client_id_beyond_the_frame },
    Row { id: "P15", input: "an array of 2³¹−1 elements in 14 bytes, every API and version", run: hostile_counts },
    Row { id: "P16", input: "compact lengths of 2³²−1, overlong varints", run: varints },
    Row { id: "P17", input: "lengths of −2, null where it is not allowed", run: negative_lengths },
    Row { id: "P25", input: "ApiVersions with an ill-formed client name", run: client_software },
    Row { id: "P27", input: "Metadata with neither name nor id, with both", run: metadata_names },
];

/// A header v1 (no client id) of this API and version.
fn header(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), b"\0\0\0\x01\xff\xff"].concat()
}

/// Header v2: v1 and no tags.
fn flexible_header(key: i16, version: i16) -> Vec<u8> {
    [header(key, version), vec![0]].concat()
}

fn closes(world: &World, why: &str, bytes: &[u8]) {
    let mut connection = world.open();
    connection.raw(bytes);
    connection.must_close(why);
}

fn frame_closes(world: &World, why: &str, frame: &[u8]) {
    let mut connection = world.open();
    connection.frame(frame);
    connection.must_close(why);
}

/// What Kafka reads as null may be answered or not; either is in order.
fn answers_or_closes(world: &World, frame: &[u8]) {
    let mut connection = world.open();
    connection.frame(frame);
    connection.answer();
}

fn answers(world: &World, why: &str, frame: &[u8]) {
    let mut connection = world.open();
    connection.frame(frame);
    assert!(connection.answer().is_some(), "{why}");
}

fn longest_frame(world: &mut World) {
    let before = world.broker.resident_kib();
    for _ in 0..100 {
        closes(world, "2³¹−1", &i32::MAX.to_be_bytes());
    }
    let grown = world.broker.resident_kib().saturating_sub(before);
    assert!(grown <= 100 * 64, "{grown} KiB for 100 connections");
}

fn frame_above_the_limit(world: &mut World) {
    closes(world, "100 MiB + 1", &(100 * 1024 * 1024 + 1i32).to_be_bytes());
}

fn negative_length(world: &mut World) {
    closes(world, "−1", &(-1i32).to_be_bytes());
    closes(world, "−2³¹", &i32::MIN.to_be_bytes());
}

fn empty_frame(world: &mut World) {
    closes(world, "0", &[0; 4]);
}

fn http(world: &mut World) {
    closes(world, "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    if !world.broker.is_kafka() {
        assert!(world.broker.log().contains("HTTP"), "the log names what came");
    }
}

fn tls(world: &mut World) {
    closes(world, "TLS", &[&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[7; 500]].concat());
    if !world.broker.is_kafka() {
        assert!(world.broker.log().contains("TLS"), "the log names what came");
    }
}

fn unknown_keys(world: &mut World) {
    for key in [999, -1, i16::MAX, i16::MIN] {
        frame_closes(world, "an unknown key", &header(key, 0));
        frame_closes(world, "an unknown key", &flexible_header(key, 3));
    }
}

fn api_versions_of_tomorrow(world: &mut World) {
    let mut connection = world.open();
    for version in [6, 99, i16::MAX, -1] {
        connection.frame(&[flexible_header(18, version), b"\x05name\x041.0\0".to_vec()].concat());
        let frame = connection.answer().unwrap();
        assert_eq!(frame[..4], [0, 0, 0, 1], "the request's correlation id");
        let body = decode_exact::<ApiVersionsResponse<'_>>(&frame[4..], 0).unwrap();
        assert_eq!(body.error_code, 35);
        let ranges: Vec<_> = body.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        assert_eq!(ranges, [(18, 0, 5)]);
    }
    let answer = connection.call(0, &ApiVersionsRequest::default());
    assert_eq!(answer.body().error_code, 0);
    assert!(answer.body().api_keys.len() > 20);
}

fn header_cut(world: &mut World) {
    frame_closes(world, "4 of 8 bytes", &header(18, 0)[..4]);
    frame_closes(world, "2 of 8 bytes", &header(18, 0)[..2]);
    frame_closes(world, "no client id", &header(18, 0)[..8]);
}

fn client_id_beyond_the_frame(world: &mut World) {
    frame_closes(world, "32,767 bytes", b"\0\x12\0\0\0\0\0\x01\x7f\xffname");
    answers_or_closes(world, b"\0\x12\0\0\0\0\0\x01\xff\xfe");
}

fn hostile_counts(world: &mut World) {
    let before = world.broker.resident_kib();
    let answer = world.connection.call(0, &ApiVersionsRequest::default());
    for api in answer.body().api_keys.clone() {
        let key = ApiKey::from_i16(api.api_key).unwrap();
        for version in api.min_version.max(key.info().min)..=api.max_version {
            let frame = match key.request_header_version(version) {
                2 => [flexible_header(api.api_key, version), b"\x80\x80\x80\x80\x08".to_vec()].concat(),
                _ => [header(api.api_key, version), i32::MAX.to_be_bytes().to_vec()].concat(),
            };
            // Bodies this short, and answers to what only looks like a count, are for the codec's tests to tell apart.
            answers_or_closes(world, &frame);
        }
    }
    let grown = world.broker.resident_kib().saturating_sub(before);
    assert!(grown <= 4096, "{grown} KiB");
    frame_closes(world, "DeleteTopics v1", &[header(20, 1), i32::MAX.to_be_bytes().to_vec()].concat());
    frame_closes(world, "DeleteGroups v0", &[header(42, 0), i32::MAX.to_be_bytes().to_vec()].concat());
    frame_closes(world, "Metadata v0", &[header(3, 0), i32::MAX.to_be_bytes().to_vec()].concat());
    frame_closes(world, "Metadata v12", &[flexible_header(3, 12), b"\x80\x80\x80\x80\x08".to_vec()].concat());
}

fn varints(world: &mut World) {
    let delete_groups = |count: &[u8]| [flexible_header(42, 2), count.to_vec(), vec![0]].concat();
    frame_closes(world, "2³²−1 where null is not allowed", &delete_groups(b"\xff\xff\xff\xff\x0f"));
    frame_closes(world, "6 bytes", &delete_groups(b"\x81\x80\x80\x80\x80\0"));
    frame_closes(world, "11 bytes", &delete_groups(b"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\0"));
    answers(world, "5 bytes for no element", &delete_groups(b"\x81\x80\x80\x80\0"));
    answers_or_closes(world, &[flexible_header(3, 12), b"\xff\xff\xff\xff\x0f\0\0\0".to_vec()].concat());
}

fn negative_lengths(world: &mut World) {
    for length in [-1i16, -2] {
        let find_coordinator = [header(10, 0), length.to_be_bytes().to_vec()].concat();
        frame_closes(world, "a string", &find_coordinator);
        let delete_groups = [header(42, 0), i32::from(length).to_be_bytes().to_vec()].concat();
        frame_closes(world, "an array", &delete_groups);
        // SyncGroup v0: group, generation, member, then one assignment: a member and its bytes.
        let bytes = i32::from(length).to_be_bytes();
        let body = [&b"\0\x01g\0\0\0\x01\0\x01m\0\0\0\x01\0\x01m"[..], &bytes].concat();
        frame_closes(world, "bytes", &[header(14, 0), body].concat());
    }
    frame_closes(world, "a compact string", &[flexible_header(42, 2), b"\x02\0\0".to_vec()].concat());
    answers_or_closes(world, &[header(3, 1), (-2i32).to_be_bytes().to_vec()].concat());
}

fn client_software(world: &mut World) {
    let mut connection = world.open();
    for (name, version) in [("", "1.0"), ("name", ""), ("-name", "1.0"), ("na me", "1.0"), ("name", "1/0")] {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: version.into(),
            ..Default::default()
        };
        assert_eq!(connection.call(3, &request).body().error_code, 42, "{name:?} {version:?}");
    }
    let request = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.4.0".into(),
        ..Default::default()
    };
    assert_eq!(connection.call(3, &request).body().error_code, 0);
}

fn metadata_names(world: &mut World) {
    let name = world.topic.clone();
    let stranger = chronik_protocol::Uuid::from_u128(0x7777);
    let neither = MetadataRequestTopic { name: None, ..Default::default() };
    let both = MetadataRequestTopic { name: Some(name.into()), topic_id: stranger };
    let mut code = |version, topic: &MetadataRequestTopic<'static>| {
        let request = MetadataRequest {
            topics: Some(vec![topic.clone()]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = world.connection.call(version, &request);
        answer.body().topics[0].error_code
    };
    let codes = [code(12, &neither), code(12, &both), code(11, &both), code(10, &both)];
    let first = world.stricter(-1, 42);
    assert_eq!(codes, [first, 100, 42, 42]);
}
