"""kcat, the Debian package: see scenarios.md for the contract.

kcat has no command that creates topics and none that shows committed offsets. It commits what it has printed when it leaves the group.
"""

import os
import re
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import cli

SETTINGS = ["-X", "session.timeout.ms=10000", "-X", "heartbeat.interval.ms=500", "-X", "auto.offset.reset=earliest"]
HEAD = re.compile(rb"(\d+) (\d+) (-?\d+) (-?\d+)\n")
ASSIGNED = re.compile(r"rebalanced.*assigned: (.*)$")


def check_listed(args):
    """All topics, not just ours: librdkafka asks for them in a form of its own."""
    listed = subprocess.run(["kcat", "-L", "-b", args.bootstrap], stdout=subprocess.PIPE, check=True).stdout.decode()
    if f'"{args.topic}" with {args.partitions} partitions' not in listed:
        sys.exit(f"the topic is not in the list of all topics:\n{listed}")


def produce(args):
    check_listed(args)
    for partition in range(args.partitions):
        values = b"\n".join(cli.value_of(partition, s) for s in range(args.per_partition))
        command = ["kcat", "-P", "-b", args.bootstrap, "-t", args.topic, "-p", str(partition), "-X", "acks=all"]
        subprocess.run(command, input=values + b"\n", check=True)
    cli.produced({}, args.partitions * args.per_partition)


def produce_file(args):
    with open(args.file, "rb") as file:
        count = sum(1 for _ in cli.file_records(args.file))
        command = ["kcat", "-P", "-b", args.bootstrap, "-t", args.topic, "-z", args.codec, "-X", "acks=all"]
        command += ["-X", "queue.buffering.max.messages=1000000"]
        delimiters = ["-D", cli.RECORD_END.decode(), "-K", cli.KEY_END.decode()]
        subprocess.run([*command, *delimiters], stdin=file, check=True)
    cli.produced({}, count)


class Kcat:
    """A kcat that is member of a group: its records, its assignments, its end."""

    def __init__(self, args, run):
        command = ["kcat", "-b", args.bootstrap, *SETTINGS, "-u", "-E", "-f", "%p %o %K %S\n%k%s"]
        if args.stop_after is not None:
            command += ["-c", str(args.stop_after)]
        self.run = run
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [*command, "-G", args.group, args.topic], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.readers = [threading.Thread(target=self.read_records), threading.Thread(target=self.read_talk)]
        for reader in self.readers:
            reader.start()

    def read_records(self):
        out = self.process.stdout
        while head := out.readline():
            partition, offset, key_bytes, value_bytes = map(int, HEAD.fullmatch(head).groups())
            key, value = out.read(max(key_bytes, 0)), out.read(max(value_bytes, 0))
            with self.lock:
                self.run.record(partition, offset, value, key)

    def read_talk(self):
        for line in self.process.stderr:
            line = line.decode().rstrip()
            if found := ASSIGNED.search(line):
                with self.lock:
                    self.run.assigned([int(p) for p in re.findall(r"\[(\d+)\]", found[1])])
            else:
                print(line, file=sys.stderr)

    def end(self):
        """An interrupted kcat leaves the group, which commits what it printed; output up to there is read to its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        for reader in self.readers:
            reader.join()
        if self.process.wait(30) != 0:
            sys.exit(f"kcat ended with {self.process.returncode}")


def consume(args):
    run = cli.Run(args)
    kcat = Kcat(args, run)
    while True:
        with kcat.lock:
            if run.over():
                break
            if run.commit_asked():
                run.committed()
        if kcat.process.poll() is not None and args.stop_after is None:
            sys.exit(f"kcat ended early with {kcat.process.returncode}")
        threading.Event().wait(0.05)
    kcat.end()
    run.done(None)


def main():
    args = cli.parse()
    if args.create:
        sys.exit("kcat cannot create topics")
    {"produce": produce, "produce-file": produce_file, "consume": consume}[args.command](args)


main()
