'use strict'
// kafkajs: see scenarios.md for the contract.

const { setTimeout: wait } = require('node:timers/promises')
const { Kafka, logLevel } = require('kafkajs')
const { parse, say, Run } = require('./cli')

async function create(kafka, options) {
  const admin = kafka.admin()
  await admin.connect()
  const made = await admin.createTopics({
    topics: [{ topic: options.topic, numPartitions: options.partitions, replicationFactor: 1 }],
  })
  if (!made) throw new Error(`topic ${options.topic} exists`)
  if (!(await admin.listTopics()).includes(options.topic)) throw new Error('the topic that was created is not in the list of all topics')
  await admin.disconnect()
}

async function produce(kafka, options) {
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  const last = {}
  let count = 0
  // A request of 250 records to each partition: kafkajs makes one batch a partition of every send.
  for (let first = 0; first < options.perPartition; first += 250) {
    const messages = []
    for (let sequence = first; sequence < Math.min(first + 250, options.perPartition); sequence++) {
      for (let partition = 0; partition < options.partitions; partition++) {
        messages.push({ partition, value: `${partition}:${sequence}` })
      }
    }
    for (const answer of await producer.send({ topic: options.topic, acks: -1, messages })) {
      last[answer.partition] = Number(answer.baseOffset) + messages.length / options.partitions - 1
    }
    count += messages.length
  }
  say({ event: 'produced', count, last_offsets: last })
  await producer.disconnect()
}

async function consume(kafka, options) {
  const consumer = kafka.consumer({
    groupId: options.group,
    sessionTimeout: 10000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 500,
    allowAutoTopicCreation: false,
  })
  const run = new Run(options)
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => run.assigned(payload.memberAssignment[options.topic] ?? []))
  await consumer.connect()
  await consumer.subscribe({ topic: options.topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset }) => {
      for (const message of batch.messages) {
        if (run.full()) return
        run.record(batch.partition, Number(message.offset), message.value.toString())
        resolveOffset(message.offset)
      }
    },
  })
  while (!run.over()) {
    await wait(20)
    if (run.commitAsked) await commit(consumer, run)
  }
  await commit(consumer, run)
  run.done(await committed(kafka, options))
  await consumer.disconnect()
}

async function commit(consumer, run) {
  const offsets = run.toCommit()
  if (offsets.length > 0) await consumer.commitOffsets(offsets)
  run.committed()
}

async function committed(kafka, options) {
  const admin = kafka.admin()
  await admin.connect()
  const [topic] = await admin.fetchOffsets({ groupId: options.group, topics: [options.topic] })
  await admin.disconnect()
  return Object.fromEntries(
    topic.partitions.filter((p) => Number(p.offset) >= 0).map((p) => [p.partition, Number(p.offset)])
  )
}

async function main() {
  const options = parse()
  const kafka = new Kafka({ brokers: [options.bootstrap], logLevel: logLevel.WARN })
  if (options.create) await create(kafka, options)
  if (options.command === 'produce') await produce(kafka, options)
  else await consume(kafka, options)
  process.exit(0)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
