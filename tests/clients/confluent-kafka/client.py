"""confluent-kafka (librdkafka): see scenarios.md for the contract."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cli
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def create(args):
    admin = AdminClient({"bootstrap.servers": args.bootstrap})
    for future in admin.create_topics([NewTopic(args.topic, args.partitions, 1)]).values():
        future.result(30)
    if args.topic not in admin.list_topics(timeout=30).topics:
        sys.exit("the topic that was created is not in the list of all topics")


def producer(args):
    settings = {"bootstrap.servers": args.bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5}
    if args.codec != "none":
        settings["compression.type"] = args.codec
    return Producer(settings)


class Acknowledged:
    """Counts deliveries; a failed one ends the program."""

    def __init__(self):
        self.count = 0
        self.last = {}

    def __call__(self, error, message):
        if error is not None:
            sys.exit(f"delivery failed: {error}")
        self.count += 1
        self.last[message.partition()] = max(message.offset(), self.last.get(message.partition(), -1))


def send(client, acknowledged, **record):
    while True:
        try:
            return client.produce(on_delivery=acknowledged, **record)
        except BufferError:
            client.poll(0.1)


def finish(client, acknowledged):
    if client.flush(60) != 0:
        sys.exit("records were left undelivered")
    cli.produced(acknowledged.last, acknowledged.count)


def produce(args):
    client, acknowledged = producer(args), Acknowledged()
    for sequence in range(args.per_partition):
        for partition in range(args.partitions):
            send(client, acknowledged, topic=args.topic, partition=partition, value=cli.value_of(partition, sequence))
        client.poll(0)
    finish(client, acknowledged)


def produce_file(args):
    client, acknowledged = producer(args), Acknowledged()
    for key, value in cli.file_records(args.file):
        send(client, acknowledged, topic=args.topic, key=key, value=value)
        client.poll(0)
    finish(client, acknowledged)


def consume(args):
    consumer = Consumer({
        "bootstrap.servers": args.bootstrap,
        "group.id": args.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 10000,
        "heartbeat.interval.ms": 500,
    })
    run = cli.Run(args)
    consumer.subscribe([args.topic], on_assign=lambda _, given: run.assigned([p.partition for p in given]))
    while not run.over():
        for message in consumer.consume(500, 0.1):
            error = message.error()
            if error is None:
                run.record(message.partition(), message.offset(), message.value(), message.key())
            elif error.fatal() or not (error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)):
                sys.exit(f"consumer error: {error}")
            else:
                print(f"passing error: {error}", file=sys.stderr)
        if run.commit_asked():
            commit(consumer, run)
    commit(consumer, run)
    asked = [TopicPartition(args.topic, p) for p in range(args.partitions)]
    run.done({p.partition: p.offset for p in consumer.committed(asked, timeout=30)})
    consumer.close()


def commit(consumer, run):
    offsets = [TopicPartition(run.args.topic, p, o) for p, o in run.to_commit().items()]
    if offsets:
        for result in consumer.commit(offsets=offsets, asynchronous=False):
            if result.error is not None:
                sys.exit(f"commit failed: {result.error}")
    run.committed()


def main():
    args = cli.parse()
    if args.create:
        create(args)
    {"produce": produce, "produce-file": produce_file, "consume": consume}[args.command](args)


main()
