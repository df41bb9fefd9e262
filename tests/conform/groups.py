"""Every group API in every version, with good requests and bad ones: python3 groups.py PORT PORT.

What Kafka itself leaves open is left out: the order of members, groups and partitions in an answer, and texts.
"""

import re
import time

from wire import Layout, compare, i16, i32, i64

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN, HEARTBEAT, LEAVE, SYNC = 8, 9, 10, 11, 12, 13, 14
DESCRIBE, LIST, CREATE_TOPICS, DELETE, OFFSET_DELETE = 15, 16, 19, 42, 47

FLEXIBLE_FROM = {
    OFFSET_COMMIT: 8, OFFSET_FETCH: 6, FIND_COORDINATOR: 3, JOIN: 6, HEARTBEAT: 4, LEAVE: 4, SYNC: 4, DESCRIBE: 5,
    LIST: 3, CREATE_TOPICS: 5, DELETE: 2, OFFSET_DELETE: 99,
}
MISSING_ID = b"\7" * 16


def layout(key, version):
    return Layout(version >= FLEXIBLE_FROM[key])


def member_ids(answer):
    return [found.decode() for found in re.findall(rb"[a-z]+-[0-9a-f-]{36}", answer)]


class Groups:
    def __init__(self, recorder):
        self.to = recorder
        self.group = "g-" + recorder.run
        self.topic = "t-" + recorder.run
        self.missing = "missing-" + recorder.run
        self.subscription = b"\0\0\0\0\0\1" + Layout(False).string(self.topic) + i32(-1)
        self.topic_id = MISSING_ID

    def ask(self, name, key, version, body):
        flexible = version >= FLEXIBLE_FROM[key]
        return self.to.ask(f"{name} (API {key} v{version})", key, version, body, flexible=flexible)

    def create_topic(self):
        out = layout(CREATE_TOPICS, 7)
        topic = out.string(self.topic) + i32(3) + i16(1) + out.array([]) + out.array([]) + out.tags
        body = out.array([topic]) + i32(5000) + b"\0" + out.tags
        answer = self.to.connection.call(CREATE_TOPICS, 7, body, flexible=True)
        start = answer.index(self.topic.encode()) + len(self.topic)
        self.topic_id = answer[start:start + 16]
        self.to.replace.append((self.topic_id, b"<topic id>"))
        time.sleep(0.7)

    def wait_for_coordinators(self):
        """A broker that has just started makes its offsets topic first, and then loads it."""
        deadline = time.time() + 30
        while time.time() < deadline:
            found = self.to.connection.call(FIND_COORDINATOR, 1, self.find(1, 0), flexible=False)
            anywhere = [self.fetch(7, f"{self.group}-{n}", None) for n in range(100)]
            fetched = [self.to.connection.call(OFFSET_FETCH, 7, one, flexible=True) for one in anywhere]
            if found[4:6] == b"\0\0" and all(answer[5:7] == b"\0\0" for answer in fetched):
                return
            time.sleep(0.1)

    # Requests.

    def find(self, version, key_type):
        out = layout(FIND_COORDINATOR, version)
        if version >= 4:
            return bytes([key_type]) + out.array([out.string(self.group), out.string("")]) + out.tags
        return out.string(self.group) + (bytes([key_type]) if version >= 1 else b"") + out.tags

    def commit(self, version, group, generation, member, topics, instance=None, retention=-1):
        out = layout(OFFSET_COMMIT, version)

        def partition(index, offset, metadata="m"):
            epoch = i32(2) if version >= 6 else b""
            return i32(index) + i64(offset) + epoch + out.string(metadata) + out.tags

        def topic(name, partitions):
            named = (self.topic_id if name == self.topic else MISSING_ID) if version >= 10 else out.string(name)
            return named + out.array([partition(*one) for one in partitions]) + out.tags

        body = out.string(group) + i32(generation) + out.string(member)
        if version >= 7:
            body += out.string(instance)
        if 2 <= version <= 4:
            body += i64(retention)
        return body + out.array([topic(*one) for one in topics]) + out.tags

    def fetch(self, version, group, topics):
        out = layout(OFFSET_FETCH, version)

        def topic(name, partitions):
            named = (self.topic_id if name == self.topic else MISSING_ID) if version >= 10 else out.string(name)
            return named + out.array([i32(one) for one in partitions]) + out.tags

        topics = None if topics is None else [topic(*one) for one in topics]
        stable = b"\0" if version >= 7 else b""
        if version < 8:
            return out.string(group) + out.array(topics) + stable + out.tags

        def one_group(name):
            member = out.string(None) + i32(-1) if version >= 9 else b""
            return out.string(name) + member + out.array(topics) + out.tags

        return out.array([one_group(group), one_group(group + "-none")]) + stable + out.tags

    def join(self, version, group, member="", session=10_000, instance=None, kind="consumer", protocols=None):
        out = layout(JOIN, version)
        protocols = [("range", self.subscription)] if protocols is None else protocols
        body = out.string(group) + i32(session) + (i32(20_000) if version >= 1 else b"") + out.string(member)
        if version >= 5:
            body += out.string(instance)
        body += out.string(kind)
        body += out.array([out.string(name) + out.bytes(data) + out.tags for name, data in protocols])
        return body + (out.string("why") if version >= 8 else b"") + out.tags

    def sync(self, version, group, generation, member, assignments=(), instance=None, kind="consumer", protocol="range"):
        out = layout(SYNC, version)
        body = out.string(group) + i32(generation) + out.string(member)
        if version >= 3:
            body += out.string(instance)
        if version >= 5:
            body += out.string(kind) + out.string(protocol)
        return body + out.array([out.string(to) + out.bytes(data) + out.tags for to, data in assignments]) + out.tags

    def heartbeat(self, version, group, generation, member, instance=None):
        out = layout(HEARTBEAT, version)
        named = out.string(instance) if version >= 3 else b""
        return out.string(group) + i32(generation) + out.string(member) + named + out.tags

    def leave(self, version, group, members):
        out = layout(LEAVE, version)
        if version < 3:
            return out.string(group) + out.string(members[0][0])
        reason = out.string("why") if version >= 5 else b""
        return out.string(group) + out.array(
            [out.string(member) + out.string(instance) + reason + out.tags for member, instance in members]
        ) + out.tags

    def describe(self, name, group):
        for version in range(7):
            out = layout(DESCRIBE, version)
            for operations in (b"", b"\0", b"\1"):
                if bool(operations) == (version >= 3):
                    self.ask(name, DESCRIBE, version, out.array([out.string(group)]) + operations + out.tags)

    def delete(self, name, version, group):
        out = layout(DELETE, version)
        self.ask(name, DELETE, version, out.array([out.string(group)]) + out.tags)

    def delete_offsets(self, name, group, topics):
        out = layout(OFFSET_DELETE, 0)
        topics = [out.string(topic) + out.array([i32(one) for one in partitions]) for topic, partitions in topics]
        self.ask(name, OFFSET_DELETE, 0, out.string(group) + out.array(topics))

    # Scenes.

    def coordinators(self):
        for version in range(7):
            self.ask("find a group's coordinator", FIND_COORDINATOR, version, self.find(version, 0))

    def commits(self):
        mine, other = self.topic, self.missing
        for version in range(2, 11):
            group = f"{self.group}-c{version}"

            def commit(name, *request, **more):
                self.ask(f"commit: {name}", OFFSET_COMMIT, version, self.commit(version, *request, **more))

            commit("a partition twice", group, -1, "", [(mine, [(0, 5), (1, 7), (0, 9)])])
            commit("a partition that is not there", group, -1, "", [(mine, [(9, 5), (1, 8)])])
            commit("partition -1", group, -1, "", [(mine, [(-1, 5)])])
            commit("a topic that is not there", group, -1, "", [(other, [(0, 5)])])
            commit("one that is there, too, and a negative offset", group, -1, "", [(other, [(0, 5)]), (mine, [(2, -5)])])
            commit("nothing", group, -1, "", [])
            commit("a generation of a group that is not there", group + "x", 3, "", [(mine, [(0, 5)])])
            commit("a generation of an empty group", group, 3, "", [(mine, [(0, 5)])])
            commit("a member without generation", group, -1, "who", [(mine, [(0, 5)])])
            commit("no group id", "", -1, "", [(mine, [(0, 5)])])
            commit("no group id, a generation", "", 3, "", [(mine, [(0, 5)])])
            long = [(0, 5, "x" * 4096), (1, 6, "x" * 4097), (2, 7, None)]
            commit("long metadata", group, -1, "", [(mine, long)])
            commit("long metadata in other letters", group, -1, "", [(mine, [(0, 5, "ü" * 4096), (1, 6, "😀" * 2048)])])
            commit("too long by a pair", group, -1, "", [(mine, [(1, 6, "😀" * 2049)])])
            commit("for a while", group, -1, "", [(mine, [(0, 5)])], retention=1_000_000)

    def fetches(self):
        mine, other = self.topic, self.missing
        for version in range(1, 11):
            group = f"{self.group}-c{max(version, 2)}"

            def fetch(name, *request):
                self.ask(f"fetch: {name}", OFFSET_FETCH, version, self.fetch(version, *request))

            fetch("in any order, and twice", group, [(mine, [2, 0, 1, 9, 0]), (other, [0, 1])])
            fetch("no topics", group, [])
            fetch("no partitions", group, [(mine, [])])
            fetch("a group that is not there", group + "x", [(mine, [0, 1])])
            fetch("no group id", "", [(mine, [7])])
            if version >= 2:
                fetch("everything of a group that is not there", group + "x", None)

    def life(self, version):
        """A group from its first member to its end, with JoinGroup in this version and the others as they come."""
        group = f"{self.group}-j{version}"
        sync_version, heartbeat_version, leave_version = min(version, 5), min(version, 4), min(version, 5)

        def join(name, *request, **more):
            return self.ask(f"join: {name}", JOIN, version, self.join(version, *request, **more))

        def sync(name, *request, **more):
            return self.ask(f"sync: {name}", SYNC, sync_version, self.sync(sync_version, *request, **more))

        def heartbeat(name, *request):
            self.ask(f"heartbeat: {name}", HEARTBEAT, heartbeat_version, self.heartbeat(heartbeat_version, *request))

        def leave(name, group, members):
            self.ask(f"leave: {name}", LEAVE, leave_version, self.leave(leave_version, group, members))

        def commit(name, generation, member):
            request = self.commit(8, group, generation, member, [(self.topic, [(0, 5)])])
            self.ask(f"commit: {name}", OFFSET_COMMIT, 8, request)

        join("no group id", "")
        join("session too short", group, session=1)
        join("session too long", group, session=1_800_001)
        join("unknown member", group, member="who")
        join("no protocols", group, protocols=[])
        join("no type", group, kind="")
        me = member_ids(join("first", group))[0]
        if version >= 4:
            join("with the id", group, member=me)
        join("again", group, member=me)
        sync("wrong generation", group, 7, me)
        sync("unknown member", group, 1, "who")
        sync("unknown group", group + "x", 1, "who")
        sync("no group id", "", 1, "who")
        if sync_version >= 5:
            sync("wrong protocol", group, 1, me, protocol="other")
            sync("wrong type", group, 1, me, kind="other")
            sync("no protocol", group, 1, me, kind=None, protocol=None)
        commit("before the sync", 1, me)
        self.describe("describe: completing", group)
        sync("assign", group, 1, me, [(me, b"AB")])
        sync("again", group, 1, me, [(me, b"CD")])
        self.describe("describe: stable", group)
        for where in [(group, 1, me), (group, 2, me), (group, 1, "who"), (group + "x", 1, me), ("", 1, me)]:
            heartbeat("right and wrong", *where)
        for who in [(1, me), (2, me), (-1, ""), (1, "who"), (-1, me)]:
            commit("right and wrong", *who)
        join("another protocol", group, protocols=[("other", b"")])
        join("another type", group, kind="connect")
        self.delete("delete: stable", 1, group)
        self.delete_offsets("delete offsets: subscribed", group, [(self.topic, [0, 1])])
        other = self.second_member(version, group, me, heartbeat, sync, commit)
        self.goodbye(version, group, me, other, join, heartbeat, leave)

    def second_member(self, version, group, me, heartbeat, sync, commit):
        flexible, sync_version = version >= FLEXIBLE_FROM[JOIN], min(version, 5)
        line = self.to.another()
        if version >= 4:
            answer = self.to.note("second: its id", line.call(JOIN, version, self.join(version, group), flexible=flexible))
            line.send(JOIN, version, self.join(version, group, member=member_ids(answer)[0]), flexible=flexible)
        else:
            line.send(JOIN, version, self.join(version, group), flexible=flexible)
        time.sleep(0.15)
        heartbeat("while others join", group, 1, me)
        sync("while others join", group, 1, me, [(me, b"CD")])
        commit("while others join", 1, me)
        leads = self.to.connection.call(JOIN, version, self.join(version, group, member=me), flexible=flexible)
        follows = line.receive()
        other = next(one for one in member_ids(follows) if one != me)
        self.to.note("second: follows", follows)
        self.to.note("second: the leader sees both", b"%d bytes, %s" % (len(leads), leads[:14]))
        line.send(SYNC, sync_version, self.sync(sync_version, group, 2, other), flexible=sync_version >= 4)
        time.sleep(0.1)
        sync("assign to both", group, 2, me, [(me, b"L"), (other, b"F")])
        self.to.note("second: assigned", line.receive())
        again = self.join(version, group, member=other)
        self.ask("second: the same again", JOIN, version, again)
        return other

    def goodbye(self, version, group, me, other, join, heartbeat, leave):
        leave("one of them, and others", group, [(other, None), ("who", None), ("who", "i"), ("", "i"), ("", None)])
        heartbeat("after somebody left", group, 2, me)
        for name, where in [("the last", group), ("again", group), ("no such group", group + "x"), ("no id", "")]:
            leave(name, where, [(me, None)])
        self.describe("describe: empty", group)
        self.delete_offsets("delete offsets", group, [(self.topic, [0, 1])])
        self.delete_offsets("delete offsets: no such topic", group, [(self.missing, [0])])
        heartbeat("empty", group, 2, me)
        join("with an old id", group, member=me)
        self.delete("delete", min(version, 3), group)
        self.delete("delete again", min(version, 3), group)

    def statics(self, version):
        group = f"{self.group}-s{version}"

        def join(name, *request, **more):
            return self.ask(f"static: {name}", JOIN, version, self.join(version, group, *request, **more))

        def sync(name, *request):
            self.ask(f"static sync: {name}", SYNC, 5, self.sync(5, group, *request))

        def heartbeat(name, *request):
            self.ask(f"static heartbeat: {name}", HEARTBEAT, 4, self.heartbeat(4, group, *request))

        old = member_ids(join("first", instance="i"))[0]
        sync("assign", 1, old, [(old, b"AA")], "i")
        new = next(one for one in member_ids(join("restart", instance="i")) if one != old)
        sync("restarted", 1, new, [], "i")
        sync("fenced", 1, old, [], "i")
        sync("the old id without a name", 1, old)
        heartbeat("fenced", 1, old, "i")
        heartbeat("another's name", 1, new, "j")
        heartbeat("no name", 1, new)
        join("fenced", member=old, instance="i")
        join("unknown id", member="who", instance="i")
        join("unknown name", member="who", instance="j")
        commit = self.commit(8, group, 1, old, [(self.topic, [(0, 5)])], instance="i")
        self.ask("static commit: fenced", OFFSET_COMMIT, 8, commit)
        self.describe("static describe", group)
        both = [("range", self.subscription), ("sticky", self.subscription)]
        for name, leaving in [("fenced", (old, "i")), ("by name", ("", "i")), ("again", ("", "i"))]:
            self.ask(f"static leave: {name}", LEAVE, 5, self.leave(5, group, [leaving]))
            if name == "fenced":
                join("more protocols", instance="i", protocols=both)

    def others(self):
        group = self.group + "-connect"
        answer = self.ask("connect: join", JOIN, 2, self.join(2, group, kind="connect", protocols=[("v1", b"zz")]))
        me = member_ids(answer)[0]
        self.ask("connect: sync", SYNC, 2, self.sync(2, group, 1, me, [(me, b"q")]))
        self.delete_offsets("connect: delete offsets", group, [(self.topic, [0])])
        self.describe("connect: describe", group)
        self.lists(group)
        missing = self.group + "-none"
        self.describe("describe: no such group", missing)
        self.delete("delete: no such group", 2, missing)
        self.delete_offsets("delete offsets: no such group", missing, [(self.topic, [0])])
        self.delete_offsets("delete offsets: no such group, no such topic", missing, [(self.missing, [0])])
        self.delete_offsets("delete offsets: no group id", "", [(self.topic, [0])])

    def lists(self, group):
        """Of a list only our group's entry: others may be there, in any order."""
        for version in range(6):
            out = layout(LIST, version)
            states = out.array([out.string("stable")]) if version >= 4 else b""
            types = out.array([]) if version >= 5 else b""
            answer = self.to.connection.call(LIST, version, states + types + out.tags, flexible=version >= 3)
            entry = answer[answer.index(group.encode()):]
            length = len(group) + len(out.string("connect"))
            length += len(out.string("Stable")) if version >= 4 else 0
            length += len(out.string("classic")) if version >= 5 else 0
            self.to.note(f"list v{version}", entry[:length])
        out = layout(LIST, 5)
        for name, states, types in [("Dead", ["Dead"], []), ("share", [], ["share"]), ("nonsense", [], ["nonsense"])]:
            body = out.array([out.string(one) for one in states]) + out.array([out.string(one) for one in types])
            self.ask(f"list: {name}", LIST, 5, body + out.tags)


def script(recorder):
    groups = Groups(recorder)
    groups.create_topic()
    groups.wait_for_coordinators()
    groups.coordinators()
    groups.commits()
    groups.fetches()
    for version in range(10):
        groups.life(version)
    for version in range(5, 10):
        groups.statics(version)
    groups.others()


compare(script)
