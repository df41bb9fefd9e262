"""Topics, settings and cluster APIs in every version, with good requests and bad ones: python3 topics.py PORT PORT.

Left out is what Kafka itself leaves open (the order of topics in an answer: requests name one), its texts for unknown topics, the
settings in answers of CreateTopics (Kafka sets one for the whole cluster), and what is answered better on purpose: a topic created by Metadata
can be used at once.
"""

import struct
import time

from wire import Layout, compare, i16, i32

METADATA, CREATE, DELETE, DESCRIBE_CONFIGS, ALTER, GROW, ALTER_ONE, CLUSTER, PAGES = 3, 19, 20, 32, 33, 37, 44, 60, 75
FLEXIBLE_FROM = {
    METADATA: 9, CREATE: 5, DELETE: 4, DESCRIBE_CONFIGS: 4, ALTER: 2, GROW: 2, ALTER_ONE: 1, CLUSTER: 0, PAGES: 0,
}
NO_ID = b"\0" * 16
TOPIC, BROKER = b"\2", b"\4"


def flag(on):
    return b"\1" if on else b"\0"


def layout(key, version):
    return Layout(version >= FLEXIBLE_FROM[key])


class Topics:
    def __init__(self, recorder):
        self.to = recorder
        self.name = "t-" + recorder.run
        self.node = i32(1)
        cluster = recorder.connection.call(METADATA, 2, i32(0), flexible=False)
        at = 8 + 2 + struct.unpack(">h", cluster[8:10])[0] + 4 + 2
        length = struct.unpack(">h", cluster[at:at + 2])[0]
        recorder.replace.append((cluster[at + 2:at + 2 + length], b"<cluster>"))

    def ask(self, name, key, version, body):
        flexible = version >= FLEXIBLE_FROM[key]
        return self.to.ask(f"{name} (API {key} v{version})", key, version, body, flexible=flexible)

    def create(self, name, version, topic, count=1, factor=1, at=(), configs=(), timeout=5000, rehearse=False, quiet=False):
        out = layout(CREATE, version)
        places = [i32(index) + out.array([i32(node) for node in nodes]) + out.tags for index, nodes in at]
        pairs = [out.string(key) + out.string(value) + out.tags for key, value in configs]
        one = out.string(topic) + i32(count) + i16(factor) + out.array(places) + out.array(pairs) + out.tags
        body = out.array([one]) + i32(timeout) + flag(rehearse) + out.tags
        if quiet:
            return self.to.connection.call(CREATE, version, body, flexible=version >= 5)
        return self.ask(name, CREATE, version, body)

    def make(self, topic, count=1):
        """Creates a topic and gives its id a name in the answers."""
        answer = self.create("", 7, topic, count, quiet=True)
        start = answer.index(topic.encode()) + len(topic)
        self.to.replace.append((answer[start:start + 16], b"<id of " + topic.replace(self.to.run, "run").encode() + b">"))
        self.wait(topic, 0)

    def wait(self, topic, error):
        """Kafka's brokers hear of a change a little after it is acknowledged."""
        out = layout(METADATA, 5)
        deadline = time.time() + 10
        while time.time() < deadline:
            answer = self.to.connection.call(METADATA, 5, out.array([out.string(topic)]) + flag(False), flexible=False)
            at = answer.index(topic.encode()) - 4
            if answer[at:at + 2] == i16(error):
                return
            time.sleep(0.02)

    def delete(self, name, version, topic, timeout=5000, identity=NO_ID):
        out = layout(DELETE, version)
        topics = [out.string(topic) + identity + out.tags] if version >= 6 else [out.string(topic)]
        self.ask(name, DELETE, version, out.array(topics) + i32(timeout) + out.tags)

    def grow(self, name, version, topic, count, at=None, timeout=5000):
        out = layout(GROW, version)
        places = None if at is None else [out.array([i32(node) for node in nodes]) + out.tags for nodes in at]
        one = out.string(topic) + i32(count) + out.array(places) + out.tags
        self.ask(name, GROW, version, out.array([one]) + i32(timeout) + flag(False) + out.tags)

    def alter(self, name, version, kind, resource, configs):
        out = layout(ALTER, version)
        pairs = [out.string(key) + out.string(value) + out.tags for key, value in configs]
        one = kind + out.string(resource) + out.array(pairs) + out.tags
        self.ask(name, ALTER, version, out.array([one]) + flag(False) + out.tags)

    def change(self, name, version, kind, resource, configs):
        out = layout(ALTER_ONE, version)
        changes = [out.string(key) + bytes([how]) + out.string(value) + out.tags for key, how, value in configs]
        one = kind + out.string(resource) + out.array(changes) + out.tags
        self.ask(name, ALTER_ONE, version, out.array([one]) + flag(False) + out.tags)

    def configs(self, name, version, kind, resource, key):
        out = layout(DESCRIBE_CONFIGS, version)
        one = kind + out.string(resource) + out.array([out.string(key)]) + out.tags
        documented = flag(False) if version >= 3 else b""
        self.ask(name, DESCRIBE_CONFIGS, version, out.array([one]) + flag(True) + documented + out.tags)

    def metadata(self, name, version, topic, identity=NO_ID):
        out = layout(METADATA, version)
        one = (identity if version >= 10 else b"") + out.string(topic) + out.tags
        body = out.array([one]) + (flag(False) if version >= 4 else b"")
        body += flag(True) if 8 <= version <= 10 else b""
        body += flag(True) if version >= 8 else b""
        self.ask(name, METADATA, version, body + out.tags)

    def creations(self):
        for version in range(2, 5):
            topic = f"{self.name}-{version}"
            self.create("create", version, topic, 3)
            self.create("create: placed", version, topic + "-placed", -1, -1, [(0, [1]), (1, [1])])
        for version in range(2, 8):
            topic = f"{self.name}-{version}-not"
            for bad in ["", ".", "..", "a/b", "a b", "x" * 250]:
                self.create(f"create: name {bad!r:.20}", version, bad)
            for name, more in {
                "no partitions": {"count": 0}, "factor 0": {"factor": 0}, "too many": {"count": 10001},
                "placed and counted": {"at": [(0, [1])]}, "placed on a stranger": {"count": -1, "factor": -1, "at": [(0, [9])]},
                "placed twice": {"count": -1, "factor": -1, "at": [(0, [1]), (0, [1])]},
                "placed with a gap": {"count": -1, "factor": -1, "at": [(0, [1]), (2, [1])]},
                "placed nowhere": {"count": -1, "factor": -1, "at": [(0, [])]}, "no time": {"timeout": 0},
                "less than no time": {"timeout": -1}, "both counts": {"count": 0, "factor": 0},
                "unknown setting": {"configs": [("bogus", "1")]}, "null setting": {"configs": [("retention.ms", None)]},
                "bad number": {"configs": [("retention.ms", "abc")]}, "below range": {"configs": [("retention.ms", "-2")]},
                "bad word": {"configs": [("cleanup.policy", "shred")]}, "tiered": {"configs": [("remote.storage.enable", "true")]},
                "setting before count": {"count": 0, "configs": [("bogus", "1")]},
            }.items():
                self.create(f"create: {name}", version, topic, rehearse=True, **more)
            self.create("create: is there", version, f"{self.name}-2")

    def growth(self):
        for version in range(4):
            topic = f"{self.name}-grows-{version}"
            self.make(topic)
            self.grow("grow", version, topic, 3)
            self.grow("grow: placed", version, topic, 4, [[1]])
            for name, count, at, timeout in [
                ("fewer", 2, None, 5000), ("the same", 4, None, 5000), ("negative", -1, None, 5000), ("too many", 20000, None, 5000),
                ("placed too few", 6, [[1]], 5000), ("placed on a stranger", 5, [[7]], 5000), ("no time", 5, None, 0),
            ]:
                self.grow(f"grow: {name}", version, topic, count, at, timeout)
            self.grow("grow: missing", version, self.name + "-none", 2)

    def settings(self):
        topic = self.name + "-set"
        self.make(topic)
        for version in range(3):
            self.alter("alter", version, TOPIC, topic, [("segment.ms", f" 09{version} "), ("preallocate", "TRUE")])
            self.alter("alter: bad", version, TOPIC, topic, [("segment.ms", "0")])
            self.alter("alter: unknown", version, TOPIC, topic, [("bogus", "0")])
            self.alter("alter: null", version, TOPIC, topic, [("segment.ms", None)])
            self.alter("alter: twice", version, TOPIC, topic, [("segment.ms", "1"), ("segment.ms", "2")])
            self.alter("alter: missing", version, TOPIC, self.name + "-none", [])
            self.alter("alter: another broker", version, BROKER, "7", [])
            self.alter("alter: no broker", version, BROKER, "x", [])
            self.alter("alter: no kind", version, b"\x63", "x", [])
            time.sleep(0.3)
            for described in range(1, 5):
                for key in ["segment.ms", "preallocate", "cleanup.policy", "retention.ms", "bogus"]:
                    self.configs(f"settings: {key}", described, TOPIC, topic, key)
        for version in range(2):
            for how, value in [(2, "compact"), (2, "compact"), (3, "delete"), (3, "compact"), (0, "delete"), (1, None)]:
                self.change(f"change: {how}", version, TOPIC, topic, [("cleanup.policy", how, value)])
                time.sleep(0.3)
                self.configs(f"settings after {how}", 4, TOPIC, topic, "cleanup.policy")
            self.change("change: no list", version, TOPIC, topic, [("retention.ms", 2, "1")])
            self.change("change: unknown", version, TOPIC, topic, [("bogus", 0, "1")])
            self.change("change: unknown goes", version, TOPIC, topic, [("bogus", 1, None)])
            self.change("change: null", version, TOPIC, topic, [("retention.ms", 0, None)])
            self.change("change: fixed", version, BROKER, "1", [("num.partitions", 0, "3")])
            self.change("change: bad", version, BROKER, "1", [("message.max.bytes", 0, "x")])
        for described in range(1, 5):
            for key in ["log.retention.ms", "log.retention.hours", "message.max.bytes", "log.cleaner.min.cleanable.ratio", "ssl.key.password"]:
                self.configs(f"settings of the broker: {key}", described, BROKER, "1", key)
            self.configs("settings of another broker", described, BROKER, "7", "node.id")

    def deletions(self):
        for version in range(1, 7):
            topic = f"{self.name}-gone-{version}"
            self.make(topic)
            self.delete("delete: no time", version, topic, 0)
            self.delete("delete", version, topic)
            self.wait(topic, 3)
            self.metadata("deleted", 5, topic)
            if version < 5:
                self.delete("delete: missing", version, topic)
            self.make(topic, 2)
            self.metadata("again", 5, topic)
        self.delete("delete: neither name nor id", 6, None)
        self.delete("delete: name and id", 6, self.name, identity=b"\5" * 16)

    def cluster(self):
        topic = self.name + "-seen"
        self.make(topic, 3)
        for version in range(14):
            self.metadata("metadata", version, topic)
            if version >= 4:
                self.metadata("metadata: missing", version, self.name + "-none")
            self.metadata("metadata: bad name", version, "a/b")
            if version >= 10:
                self.metadata("metadata: unknown id", version, None, b"\5" * 16)
                self.metadata("metadata: name and id", version, topic, b"\5" * 16)
        for version in range(3):
            for kind in [b"\1", b"\2", b"\7"] if version else [b""]:
                fenced = flag(True) if version >= 2 else b""
                self.ask(f"cluster {kind}", CLUSTER, version, flag(True) + kind + fenced + b"\0")
        out = Layout(True)
        for limit, cursor in [(2000, None), (2, None), (0, None), (1, (topic, 1)), (1, (topic, 3)), (1, (topic, -1)), (9, ("zzz", 0))]:
            begin = b"\xff" if cursor is None else b"\1" + out.string(cursor[0]) + i32(cursor[1]) + out.tags
            body = out.array([out.string(topic) + out.tags]) + i32(limit) + begin + out.tags
            self.ask(f"pages: {limit} from {cursor and cursor[1]}", PAGES, 0, body)


def script(recorder):
    topics = Topics(recorder)
    topics.creations()
    topics.growth()
    topics.settings()
    topics.deletions()
    topics.cluster()


compare(script)
