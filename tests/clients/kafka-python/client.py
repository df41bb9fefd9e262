"""kafka-python, versions 1.4.7 to 3.0.12: see scenarios.md for the contract."""

import logging
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cli
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaConnectionError


def create(args):
    admin = KafkaAdminClient(bootstrap_servers=args.bootstrap)
    admin.create_topics([NewTopic(args.topic, args.partitions, 1)])
    admin.close()


def produce(args):
    producer = KafkaProducer(bootstrap_servers=args.bootstrap, acks="all", linger_ms=5)
    futures = [
        producer.send(args.topic, value=cli.value_of(partition, sequence), partition=partition)
        for sequence in range(args.per_partition)
        for partition in range(args.partitions)
    ]
    producer.flush(60)
    last = {}
    for future in futures:
        acknowledged = future.get(60)
        last[acknowledged.partition] = max(acknowledged.offset, last.get(acknowledged.partition, -1))
    cli.produced(last, len(futures))
    producer.close()


class Listener(ConsumerRebalanceListener):
    """Tells the run about assignments."""

    def __init__(self, run):
        self.run = run

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.run.assigned([p.partition for p in assigned])


def consume(args):
    consumer = KafkaConsumer(
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=10000,
        heartbeat_interval_ms=500,
    )
    run = cli.Run(args)
    consumer.subscribe([args.topic], listener=Listener(run))
    # Version 3 joins before it knows the topic, and then joins again, now and then without an end: let it know the topic first.
    consumer.partitions_for_topic(args.topic)
    while not run.over():
        for records in poll(consumer).values():
            for record in records:
                run.record(record.partition, record.offset, record.value)
        if run.commit_asked():
            commit(consumer, run)
    commit(consumer, run)
    run.done({p: consumer.committed(TopicPartition(args.topic, p)) for p in range(args.partitions)})
    consumer.close(autocommit=False)


def poll(consumer):
    """Version 3 lets the application know that the broker is away, and goes on at the next call."""
    try:
        return consumer.poll(timeout_ms=250)
    except KafkaConnectionError as error:
        print(f"passing error: {error}", file=sys.stderr)
        return {}


def offset_and_metadata(offset):
    """Version 2.1 gave the class a third field, the leader epoch; −1 says that it is not known."""
    return OffsetAndMetadata(offset, "", *[-1] * (len(OffsetAndMetadata._fields) - 2))


def commit(consumer, run):
    offsets = {TopicPartition(run.args.topic, p): offset_and_metadata(o) for p, o in run.to_commit().items()}
    if offsets:
        consumer.commit(offsets)
    run.committed()


def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(name)s: %(message)s")
    args = cli.parse()
    if args.create:
        create(args)
    {"produce": produce, "consume": consume}[args.command](args)


main()
