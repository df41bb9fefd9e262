"""Raw Kafka requests: what a script of the protocol needs to write, and nothing that hides a byte of the answer."""

import re
import socket
import struct
import sys
import uuid


def i16(n):
    return struct.pack(">h", n)


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def uvarint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


class Layout:
    """Strings, bytes and arrays in the old encoding or in the flexible one."""

    def __init__(self, flexible):
        self.flexible = flexible
        self.tags = b"\0" if flexible else b""

    def string(self, text):
        if text is None:
            return b"\0" if self.flexible else i16(-1)
        text = text.encode()
        return (uvarint(len(text) + 1) if self.flexible else i16(len(text))) + text

    def bytes(self, data):
        return (uvarint(len(data) + 1) if self.flexible else i32(len(data))) + data

    def array(self, items):
        if items is None:
            return b"\0" if self.flexible else i32(-1)
        count = uvarint(len(items) + 1) if self.flexible else i32(len(items))
        return count + b"".join(items)


class Connection:
    """One connection to a broker on this machine."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.correlation = 0
        self.flexible = False

    def send(self, key, version, body, flexible, client="cli"):
        self.correlation += 1
        self.flexible = flexible
        header = struct.pack(">hhi", key, version, self.correlation) + i16(len(client)) + client.encode()
        frame = header + (b"\0" if flexible else b"") + body
        self.socket.sendall(i32(len(frame)) + frame)

    def receive(self):
        """The body of the next answer; None when the broker has closed the connection."""
        length = self.exactly(4)
        if length is None:
            return None
        frame = self.exactly(struct.unpack(">i", length)[0])
        return frame and frame[5 if self.flexible else 4:]

    def call(self, *request, **more):
        self.send(*request, **more)
        return self.receive()

    def exactly(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            if not part:
                return None
            data += part
        return data


UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Recorder:
    """Runs a script against one broker and writes its answers down, with names for what is random."""

    def __init__(self, port):
        self.port = port
        self.run = uuid.uuid4().hex[:8]
        self.answers = []
        self.names = {}
        self.replace = [(self.run.encode(), b"<run>"), (b"127.0.0.1" + i32(port), b"<here>")]
        self.connection = Connection(port)

    def another(self):
        return Connection(self.port)

    def ask(self, name, *request, **more):
        answer = self.connection.call(*request, **more)
        if answer is None:
            self.connection = Connection(self.port)
        return self.note(name, answer)

    def note(self, name, answer):
        text = answer if answer is not None else b"<closed>"
        for what, instead in self.replace:
            text = text.replace(what, instead)
        text = UUID.sub(lambda found: b"<%d>" % self.names.setdefault(found.group(), len(self.names)), text)
        self.answers.append((name, text))
        return answer


def compare(script):
    """Runs the script against the two ports of the command line; answers must be the same, byte for byte."""
    runs = []
    for port in sys.argv[1:3]:
        recorder = Recorder(int(port))
        script(recorder)
        runs.append(recorder.answers)
    ours, theirs = runs
    different = [(a, b) for a, b in zip(ours, theirs) if a != b]
    for (name, a), (other, b) in different[:20]:
        print(f"{name}\n  first  {a}\n  second {b}" + ("" if name == other else f"\n  ({other})"))
    if len(ours) != len(theirs):
        print(f"{len(ours)} answers and {len(theirs)}")
    print(f"{len(ours)} answers compared, {len(different)} differ")
    sys.exit(1 if different or len(ours) != len(theirs) else 0)
