"""The command line, the output and the end of a run that every Python client program shares.

`scenarios.md` beside this folder is the contract: commands and options in, one JSON object a line out.
"""

import argparse
import hashlib
import json
import select
import sys
import time

RECORD_END = b"\x1e"
KEY_END = b"\x1f"


def parse():
    """The options of all commands; a client ignores what it has no use for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["produce", "produce-file", "consume"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--create", action="store_true", help="create the topic first")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--per-partition", type=int, default=0)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--file")
    parser.add_argument("--group")
    parser.add_argument("--expect", type=int)
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--idle-ms", type=int, default=1000)
    parser.add_argument("--deadline-ms", type=int, default=60000)
    parser.add_argument("--digest", action="store_true", help="print key and SHA-256 of the value in place of the value")
    return parser.parse_args()


def say(event, **fields):
    """One line of output. Records are buffered, everything else is flushed."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    if event != "record":
        sys.stdout.flush()


def value_of(partition, sequence):
    """What a produced record carries: its partition and its sequence number there."""
    return f"{partition}:{sequence}".encode()


def produced(last_offsets, count):
    """Ends a produce: how many were acknowledged, and the last offset of each partition."""
    say("produced", count=count, last_offsets={str(p): o for p, o in sorted(last_offsets.items())})


def file_records(path):
    """Yields (key, value) of a file in the form that `produce-file` takes."""
    with open(path, "rb") as file:
        for record in file.read().split(RECORD_END):
            if record:
                key, _, value = record.partition(KEY_END)
                yield key, value


class Run:
    """What one consumer run has read, what it may commit, and when it is over."""

    def __init__(self, args):
        self.args = args
        self.count = 0
        self.next_offsets = {}
        self.partitions = []
        self.reason = None
        self._dirty = False
        self._deadline = time.monotonic() + args.deadline_ms / 1000
        self._quiet_since = None
        self._commit_asked = False

    def assigned(self, partitions):
        """The member's whole assignment, each time that it changes."""
        self.partitions = sorted(partitions)
        self._quiet_since = time.monotonic()
        say("assigned", partitions=self.partitions)

    def record(self, partition, offset, value, key=None):
        """One record handed to the application. Returns False when the run wants no more."""
        if self.full():
            return False
        self.count += 1
        self.next_offsets[partition] = offset + 1
        self._dirty = True
        self._quiet_since = time.monotonic()
        if self.args.digest:
            digest = hashlib.sha256(value).hexdigest()
            say("record", partition=partition, offset=offset, key=key.decode(), value=digest)
        else:
            say("record", partition=partition, offset=offset, value=value.decode())
        return not self.full()

    def full(self):
        """Whether `--stop-after` is reached."""
        return self.args.stop_after is not None and self.count >= self.args.stop_after

    def to_commit(self):
        """Offsets to commit: of what was read and is still assigned. Empty when nothing is new."""
        if not self._dirty:
            return {}
        return {p: o for p, o in self.next_offsets.items() if p in self.partitions}

    def committed(self):
        """Says that `to_commit` is committed."""
        self._dirty = False
        if self._commit_asked:
            self._commit_asked = False
            say("committed")

    def commit_asked(self):
        """Whether the harness has asked for a commit. Also flushes the records read so far."""
        sys.stdout.flush()
        if self.args.expect is None and self.args.stop_after is None:
            while select.select([sys.stdin], [], [], 0)[0]:
                line = sys.stdin.readline()
                if line.strip() == "commit":
                    self._commit_asked = True
                elif not line:
                    self.reason = "stopped"
                    break
        return self._commit_asked

    def over(self):
        """Whether the run has ended, and why."""
        now = time.monotonic()
        if self.full():
            self.reason = "stop-after"
        elif self.args.expect is not None and self.count >= self.args.expect and self.partitions:
            if now - self._quiet_since >= self.args.idle_ms / 1000:
                self.reason = "idle"
        if self.reason is None and now > self._deadline:
            self.reason = "deadline"
        return self.reason is not None

    def done(self, committed):
        """The closing summary. `committed`: offset by partition as the broker tells it, where the client can ask."""
        if committed is not None:
            committed = {str(p): o for p, o in sorted(committed.items()) if o is not None and o >= 0}
        say("done", reason=self.reason, count=self.count, committed=committed)
