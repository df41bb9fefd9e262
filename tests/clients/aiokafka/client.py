"""aiokafka: see scenarios.md for the contract."""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cli
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def create(args):
    admin = AIOKafkaAdminClient(bootstrap_servers=args.bootstrap)
    await admin.start()
    answer = await admin.create_topics([NewTopic(args.topic, args.partitions, 1)])
    listed = await admin.list_topics()
    await admin.close()
    if args.topic not in listed:
        sys.exit("the topic that was created is not in the list of all topics")
    for name, code, message in answer.topic_errors:
        if code != 0:
            sys.exit(f"topic {name} was not created: {code} {message}")


async def produce(args):
    producer = AIOKafkaProducer(
        bootstrap_servers=args.bootstrap, acks="all", enable_idempotence=True, linger_ms=5, request_timeout_ms=30000
    )
    await producer.start()
    futures = []
    for sequence in range(args.per_partition):
        for partition in range(args.partitions):
            value = cli.value_of(partition, sequence)
            futures.append(await producer.send(args.topic, value, partition=partition))
    last = {}
    for acknowledged in await asyncio.gather(*futures):
        last[acknowledged.partition] = max(acknowledged.offset, last.get(acknowledged.partition, -1))
    cli.produced(last, len(futures))
    await producer.stop()


class Listener(ConsumerRebalanceListener):
    """Tells the run about assignments."""

    def __init__(self, run):
        self.run = run

    async def on_partitions_revoked(self, revoked):
        pass

    async def on_partitions_assigned(self, assigned):
        self.run.assigned([p.partition for p in assigned])


async def consume(args):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=10000,
        heartbeat_interval_ms=500,
    )
    run = cli.Run(args)
    consumer.subscribe([args.topic], listener=Listener(run))
    await consumer.start()
    while not run.over():
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                run.record(record.partition, record.offset, record.value)
        if run.commit_asked():
            await commit(consumer, run)
    await commit(consumer, run)
    run.done({p: await consumer.committed(TopicPartition(args.topic, p)) for p in range(args.partitions)})
    await consumer.stop()


async def commit(consumer, run):
    offsets = {TopicPartition(run.args.topic, p): o for p, o in run.to_commit().items()}
    if offsets:
        await consumer.commit(offsets)
    run.committed()


async def main():
    args = cli.parse()
    if args.create:
        await create(args)
    await {"produce": produce, "consume": consume}[args.command](args)


asyncio.run(main())
