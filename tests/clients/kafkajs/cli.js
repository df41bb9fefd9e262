'use strict'
// The command line, the output and the end of a run: see scenarios.md for the contract.

const { parseArgs } = require('node:util')

const number = (text, otherwise) => (text === undefined ? otherwise : Number(text))

function parse() {
  const text = { type: 'string' }
  const options = {
    bootstrap: text, topic: text, group: text, partitions: text, 'per-partition': text, expect: text,
    'stop-after': text, 'idle-ms': text, 'deadline-ms': text, create: { type: 'boolean' },
  }
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  return {
    command: positionals[0],
    bootstrap: values.bootstrap,
    topic: values.topic,
    group: values.group,
    create: values.create === true,
    partitions: number(values.partitions, 3),
    perPartition: number(values['per-partition'], 0),
    expect: number(values.expect),
    stopAfter: number(values['stop-after']),
    idleMs: number(values['idle-ms'], 1000),
    deadlineMs: number(values['deadline-ms'], 60000),
  }
}

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

/** What one consumer run has read, what it may commit, and when it is over. */
class Run {
  constructor(options) {
    this.options = options
    this.count = 0
    this.next = new Map()
    this.partitions = []
    this.dirty = false
    this.commitAsked = false
    this.reason = undefined
    this.quietSince = undefined
    this.deadline = Date.now() + options.deadlineMs
    if (options.expect === undefined && options.stopAfter === undefined) this.listen()
  }

  /** The harness says when to commit and, by ending the input, when to stop. */
  listen() {
    process.stdin.on('data', (data) => { this.commitAsked ||= data.toString().includes('commit') })
    process.stdin.on('end', () => { this.reason = 'stopped' })
  }

  assigned(partitions) {
    this.partitions = [...partitions].sort()
    this.quietSince = Date.now()
    say({ event: 'assigned', partitions: this.partitions })
  }

  full() {
    return this.count === this.options.stopAfter
  }

  record(partition, offset, value) {
    if (this.full()) return
    this.count += 1
    this.next.set(partition, offset + 1)
    this.dirty = true
    this.quietSince = Date.now()
    say({ event: 'record', partition, offset, value })
  }

  /** What was read and is still assigned; empty when nothing is new. */
  toCommit() {
    if (!this.dirty) return []
    return [...this.next]
      .filter(([partition]) => this.partitions.includes(partition))
      .map(([partition, offset]) => ({ topic: this.options.topic, partition, offset: String(offset) }))
  }

  committed() {
    this.dirty = false
    if (this.commitAsked) {
      this.commitAsked = false
      say({ event: 'committed' })
    }
  }

  over() {
    const { expect, idleMs } = this.options
    const now = Date.now()
    if (this.full()) this.reason = 'stop-after'
    else if (expect !== undefined && this.count >= expect && this.partitions.length > 0 && now - this.quietSince >= idleMs) {
      this.reason = 'idle'
    }
    if (this.reason === undefined && now > this.deadline) this.reason = 'deadline'
    return this.reason !== undefined
  }

  done(committed) {
    say({ event: 'done', reason: this.reason, count: this.count, committed })
  }
}

module.exports = { parse, say, Run }
