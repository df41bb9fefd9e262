//! Final bytes of batches, and what each code of an answer means.

use super::*;
use crate::producer::delivery::Outcome;
use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::generated::produce_response::{BatchIndexAndErrorMessage, TopicProduceResponse};
use tokio::time::Instant;

fn outgoing(sequence: Option<i32>) -> Outgoing {
    let mut builder = BatchBuilder::new();
    builder.push(1, Some(b"k"), Some(b"v"), &[]);
    let batch = Batch {
        id: 0,
        id_span: 1,
        content: Content::Building(builder),
        count: 1,
        outcome: Outcome::new(0),
        reserved: 0,
        opened: Instant::now(),
        sequence,
        ambiguous: false,
        last_error: None,
    };
    Outgoing { queue: 0, topic: "t".into(), topic_id: Uuid::ZERO, partition: 3, batch }
}

fn answer(code: ErrorCode, records: &[i32]) -> ProduceResponse<'static> {
    let record_errors = records.iter().map(|index| BatchIndexAndErrorMessage {
        batch_index: *index,
        batch_index_error_message: Some(format!("record {index}").into()),
    });
    let partition = PartitionProduceResponse {
        index: 3,
        error_code: code.code(),
        base_offset: 77,
        record_errors: record_errors.collect(),
        ..Default::default()
    };
    let topic = TopicProduceResponse { name: "t".into(), partition_responses: vec![partition], ..Default::default() };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

fn verdict_of(code: ErrorCode, sequence: Option<i32>) -> Verdict {
    verdicts(&[outgoing(sequence)], Some(&answer(code, &[]))).remove(0)
}

#[test]
fn a_batch_keeps_its_bytes_until_its_numbers_change() {
    let mut outgoing = outgoing(Some(4));
    let first = finished(&mut outgoing.batch, Some((9, 0))).unwrap();
    let again = finished(&mut outgoing.batch, Some((9, 0))).unwrap();
    assert_eq!(first.as_ptr(), again.as_ptr());
    outgoing.batch.sequence = Some(0);
    let renumbered = finished(&mut outgoing.batch, Some((9, 1))).unwrap();
    let view = BatchView::parse(&renumbered).unwrap();
    view.check_crc().unwrap();
    assert_eq!((view.header.producer_id, view.header.producer_epoch, view.header.base_sequence), (9, 1, 0));
    assert_eq!(view.payload(), BatchView::parse(&first).unwrap().payload());
    assert_eq!(BatchView::parse(&first).unwrap().header.base_sequence, 4, "the old bytes are as they were");
}

#[test]
fn codes_mean_what_they_mean_to_javas_producer() {
    use ErrorCode::*;
    for code in [None, DuplicateSequenceNumber] {
        assert!(matches!(
            verdict_of(code, Some(0)),
            Verdict::Appended { base_offset: 77, log_append_time: Option::None }
        ));
    }
    for code in [OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch] {
        assert!(matches!(verdict_of(code, Some(0)), Verdict::OutOfSequence { .. }), "{code}");
    }
    assert!(matches!(verdict_of(OutOfOrderSequenceNumber, Option::None), Verdict::Refused { .. }));
    for (code, maybe, stale) in [
        (NotLeaderOrFollower, false, true),
        (UnknownTopicOrPartition, false, true),
        (KafkaStorageError, false, true),
        (RequestTimedOut, true, true),
        (NotEnoughReplicasAfterAppend, true, true),
        (NotEnoughReplicas, false, false),
    ] {
        let verdict = verdict_of(code, Some(0));
        let Verdict::Again { maybe_appended, stale_metadata, .. } = verdict else { panic!("{code}: {verdict:?}") };
        assert_eq!((maybe_appended, stale_metadata), (maybe, stale), "{code}");
    }
    for code in [MessageTooLarge, InvalidRecord, InvalidTimestamp, TopicAuthorizationFailed, ProducerFenced] {
        assert!(matches!(verdict_of(code, Some(0)), Verdict::Refused { .. }), "{code}");
    }
}

#[test]
fn records_to_blame_have_their_own_message() {
    let verdict = verdicts(&[outgoing(None)], Some(&answer(ErrorCode::InvalidRecord, &[0, 2]))).remove(0);
    let Verdict::Refused { error, record_errors } = verdict else { panic!("{verdict:?}") };
    assert!(error.to_string().contains("one or more invalid records"));
    let texts: Vec<(i32, bool)> = record_errors
        .iter()
        .map(|(index, error)| (*index, error.to_string().ends_with(&format!("record {index}"))))
        .collect();
    assert_eq!(texts, [(0, true), (2, true)]);
}

#[test]
fn an_answer_by_topic_id_is_found_and_a_missing_one_is_an_error() {
    let id = Uuid::from_bytes([5; 16]);
    let mut by_id = answer(ErrorCode::None, &[]);
    by_id.responses[0].name = "".into();
    by_id.responses[0].topic_id = id;
    let with_id = Outgoing { topic_id: id, ..outgoing(None) };
    assert!(matches!(verdicts(&[with_id], Some(&by_id)).remove(0), Verdict::Appended { .. }));
    assert!(matches!(verdicts(&[outgoing(None)], Some(&by_id)).remove(0), Verdict::Refused { .. }));
    assert!(matches!(verdicts(&[outgoing(None)], None).remove(0), Verdict::Appended { base_offset: -1, .. }));
}
