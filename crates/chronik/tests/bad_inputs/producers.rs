//! X: idempotent producers that repeat, skip and come back from the dead.

use chronik_protocol::messages::InitProducerIdRequest;

use crate::Row;
use crate::batches::Batch;
use crate::world::{PRODUCE, World};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "X01", input: "the last batch again", run: last_again },
    Row { id: "X02", input: "any of the last five again, and the one before", run: last_five_again },
    Row { id: "X04", input: "a lower epoch", run: zombie },
    Row { id: "X05", input: "a new epoch that does not begin at 0", run: new_epoch_in_the_middle },
    Row { id: "X07", input: "a producer that the partition does not know, at sequence 5", run: unknown_producer },
    Row { id: "X08", input: "kill -9, and the last batch again", run: killed_and_again },
    Row { id: "X09", input: "kill -9, and each of the last five again", run: five_after_a_kill },
    Row { id: "X19", input: "InitProducerId with half of an identity", run: half_an_identity },
];

fn batch(producer: (i64, i16), sequence: i32) -> Vec<u8> {
    Batch::of(&["one", "two"]).from(producer, sequence).bytes()
}

/// The same bytes must get the code and offset of the first time, and not be there twice.
fn again(world: &mut World, records: Vec<u8>, offset: i64) {
    let produced = world.produce(PRODUCE, Some(records));
    assert_eq!((produced.code, produced.base_offset), (0, offset));
}

/// Six batches; each with the offset that it got.
fn six(world: &mut World, producer: (i64, i16)) -> Vec<(Vec<u8>, i64)> {
    let batches = (0..6).map(|n| {
        let (records, offset) = (batch(producer, n * 2), world.next);
        world.accepted("in order", 2, records.clone());
        (records, offset)
    });
    batches.collect()
}

fn last_again(world: &mut World) {
    let producer = world.producer();
    let (records, offset) = (batch(producer, 0), world.next);
    world.accepted("first", 2, records.clone());
    again(world, records.clone(), offset);
    world.good();
    again(world, records, offset);
    world.accepted("the next one", 2, batch(producer, 2));
    world.refused("a gap", 45, batch(producer, 6));
}

fn last_five_again(world: &mut World) {
    let producer = world.producer();
    let batches = six(world, producer);
    for (records, offset) in &batches[1..] {
        again(world, records.clone(), *offset);
    }
    world.refused("the sixth", 45, batches[0].0.clone());
}

fn zombie(world: &mut World) {
    let (id, epoch) = world.producer();
    world.accepted("the epoch", 2, batch((id, epoch + 5), 0));
    world.refused("an earlier one", 47, batch((id, epoch + 4), 0));
    world.refused("an earlier one, going on", 47, batch((id, epoch + 4), 2));
    world.accepted("the epoch goes on", 2, batch((id, epoch + 5), 2));
}

fn new_epoch_in_the_middle(world: &mut World) {
    let (id, epoch) = world.producer();
    world.accepted("the epoch", 2, batch((id, epoch), 0));
    world.refused("the next, at 2", 45, batch((id, epoch + 1), 2));
    world.accepted("the next, at 0", 2, batch((id, epoch + 1), 0));
}

fn unknown_producer(world: &mut World) {
    let producer = world.producer();
    world.accepted("at 5", 2, batch(producer, 5));
    world.refused("a gap", 45, batch(producer, 8));
    world.accepted("at 7", 2, batch(producer, 7));
}

fn killed_and_again(world: &mut World) {
    if world.broker.is_kafka() {
        return; // not ours to kill
    }
    let producer = world.producer();
    let (records, offset) = (batch(producer, 0), world.next);
    world.accepted("before", 2, records.clone());
    world.broker.kill_and_restart();
    world.reconnect();
    again(world, records, offset);
    world.accepted("after", 2, batch(producer, 2));
}

fn five_after_a_kill(world: &mut World) {
    if world.broker.is_kafka() {
        return; // knows only the last one after a kill
    }
    let producer = world.producer();
    let batches = six(world, producer);
    for _ in 0..2 {
        world.broker.kill_and_restart();
        world.reconnect();
        for (records, offset) in &batches[1..] {
            again(world, records.clone(), *offset);
        }
    }
    world.refused("the sixth", 45, batches[0].0.clone());
    world.accepted("the next", 2, batch(producer, 12));
}

fn half_an_identity(world: &mut World) {
    let (id, epoch) = world.producer();
    for (producer_id, producer_epoch) in [(id, -1), (-1, epoch)] {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id,
            producer_epoch,
        };
        assert_eq!(world.connection.call(4, &request).body().error_code, 42, "{producer_id} {producer_epoch}");
    }
}
