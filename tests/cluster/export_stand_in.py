"""export_stand_in.py - what looks like a cluster to `holon backup` and `holon restore`, and is a dictionary: it has
the commands of docs/reference/cuts.md and those that a restore says. So the client can be tried with answers that a
real cluster gives seldom: BUSY in the middle, lost connections, partitions of any number, a snapshot that is gone."""
import copy
import functools
import os
import random
import socket
import socketserver
import threading
import time
import zlib

from slots import crc16

SLOTS = 16384
STRING, STRING_MORE, HASH, HASH_MORE, SAME, LOCK = range(1, 7)


@functools.lru_cache(maxsize=None)
def slot_of(key: bytes) -> int:
    return crc16(key) % SLOTS


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


EFFECTS_MAX, PUT_EFFECTS, FIELD_EFFECTS = 283 << 10, 48, 42  # call.h, hash_value.c
ROW_FIELDS_MAX, ROW_BYTES_MAX = 128, 4 << 10


class Value:
    def __init__(self, body, expiry: int, version: int, large: bool = False):
        self.body, self.expiry, self.version = body, expiry, version  # body: bytes or dict
        self.large = large  # a hash with a row for each field

    def row_size(self) -> int:
        return sum(len(name) + len(text) + 10 for name, text in self.body.items())

    def effects(self) -> int:
        """What is written again of a hash when one of its fields is."""
        return 0 if self.large else self.row_size() + len(self.body) * FIELD_EFFECTS


class Store:
    def __init__(self, partitions: int = 4, cluster: str = "c0ffee"):
        self.partitions, self.cluster = partitions, cluster
        self.keys: dict = {}  # (database, key) -> Value
        self.locks: dict = {}  # (database, name) -> token
        self.versions = [1] * partitions
        self.floors: dict = {}
        self.snapshots: dict = {}
        self.mutex = threading.RLock()
        self.rng = random.Random(7)
        self.refuse_one_in = 0  # answers that say: not now
        self.cut_one_in = 0     # connections that end instead of an answer
        self.opener_says = 0    # so many commands after it opened a snapshot, its connection ends; 0: it does not
        self.export_pause = 0.0
        self.writes = 0
        self.stop_after = 0  # writes: then nothing is answered any more
        self.old = False     # knows neither locks nor snapshots

    def bounds(self, partition: int) -> tuple:
        return (partition * SLOTS // self.partitions, (partition + 1) * SLOTS // self.partitions - 1)

    def partition(self, slot: int) -> int:
        return next(p for p in range(self.partitions) if slot <= self.bounds(p)[1])

    def touch(self, key: bytes) -> int:
        partition = self.partition(slot_of(key))
        self.versions[partition] += 1
        return self.versions[partition]

    def set(self, database: int, key: bytes, body, expiry: int = 0) -> None:
        with self.mutex:
            self.keys[database, key] = Value(body, expiry, self.touch(key))

    def delete(self, database: int, key: bytes) -> int:
        with self.mutex:
            self.touch(key)
            return int(self.keys.pop((database, key), None) is not None)

    def content(self) -> dict:
        """As a client sees it: expired keys are not there."""
        now = int(time.time() * 1000)
        with self.mutex:
            return {where: (value.body, value.expiry) for where, value in self.keys.items()
                    if not value.expiry or value.expiry >= now}

    # --- exports

    def open(self) -> str:
        with self.mutex:
            name = os.urandom(8).hex()
            self.snapshots[name] = (copy.deepcopy(self.keys), dict(self.locks), list(self.versions),
                                    int(time.time() * 1000))
            return name

    def export(self, name: str, slot: int, cursor: bytes, since: int, size: int) -> list:
        keys, locks, versions, taken_ms = self.snapshots[name]
        partition = self.partition(slot)
        first, last = self.bounds(partition)
        place, offset = (int(part) for part in cursor.split(b":")) if cursor else (0, 0)
        # Keys are in one order whatever is in them.
        wanted = sorted((slot_of(k), d, zlib.crc32(k), k) for d, k in keys if first <= slot_of(k) <= last
                        and not 0 < keys[d, k].expiry < taken_ms)
        records = bytearray()
        while place < len(wanted) and len(records) < size:
            _, database, _, key = wanted[place]
            value = keys[database, key]
            offset = self.add(records, database, key, value, offset, since, size)
            place += offset == 0
        over = place == len(wanted)
        if over:
            for (database, lock), token in sorted(locks.items()):
                if first <= slot_of(lock) <= last:
                    records += bytes([LOCK, database]) + sized(lock) + token.to_bytes(8, "little")
        return [b"" if over else b"%d:%d" % (place, offset), versions[partition], first, last, bytes(records)]

    @staticmethod
    def add(records: bytearray, database: int, key: bytes, value: Value, offset: int, since: int, size: int) -> int:
        """The rest of it that fits; where to go on, 0: it is whole."""
        if since and value.version <= since:
            records += bytes([SAME, database]) + sized(key)
            return 0
        room = max(1, size - len(records))
        string = isinstance(value.body, bytes)
        whole = value.body if string else sorted(value.body.items())
        kind = (STRING if string else HASH) + (offset > 0)
        if string:
            piece = whole[offset:offset + room]
        else:
            piece, used = [], 0
            while offset + len(piece) < len(whole) and used < room:
                piece.append(whole[offset + len(piece)])
                used += sum(map(len, piece[-1])) + 4
        records += bytes([kind, database]) + sized(key)
        if offset == 0:
            records += value.expiry.to_bytes(8, "little") + varint(len(whole))
        if string:
            records += sized(piece)
        else:
            records += varint(len(piece)) + b"".join(sized(name) + sized(text) for name, text in piece)
        offset += len(piece)
        return 0 if offset == len(whole) else offset


class Wrong(Exception):
    """An error reply."""


class Connection(socketserver.StreamRequestHandler):
    store: Store

    def setup(self) -> None:
        super().setup()
        self.database, self.snapshot, self.opened, self.said_since = 0, None, None, 0

    def finish(self) -> None:
        if self.opened:
            self.store.snapshots.pop(self.opened, None)

    def read_command(self) -> list:
        head = self.rfile.readline()
        if not head.startswith(b"*"):
            return []
        arguments = []
        for _ in range(int(head[1:])):
            size = int(self.rfile.readline()[1:])
            arguments.append(self.rfile.read(size + 2)[:-2])
        return arguments

    def handle(self) -> None:
        store = self.store
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while arguments := self.read_command():
                # A write may have been done all the same.
                cut = store.cut_one_in and not self.opened and store.rng.randrange(store.cut_one_in) == 0
                reply = self.reply(arguments)
                self.said_since += self.opened is not None
                if cut or 0 < store.opener_says < self.said_since:
                    return
                self.wfile.write(reply)
                self.wfile.flush()
        except (OSError, ValueError):
            return

    def reply(self, arguments: list) -> bytes:
        store = self.store
        name = arguments[0].upper().decode()
        if store.refuse_one_in and not self.opened and store.rng.randrange(store.refuse_one_in) == 0:
            return b"-BUSY a limit was reached\r\n"
        try:
            function = getattr(self, "do_" + name.replace(".", "_").lower(), None)
            if function is None or store.old and name.startswith("HOLON"):
                raise Wrong(f"ERR unknown command '{name}'")
            if name in ("SET", "DEL", "HSET", "PEXPIREAT"):
                store.writes += 1
                if store.stop_after and store.writes > store.stop_after:
                    threading.Event().wait()  # the test ends the client
            return self.encode(function(*arguments[1:]))
        except Wrong as error:
            return f"-{error}\r\n".encode()

    def encode(self, value) -> bytes:
        if isinstance(value, str):
            return f"+{value}\r\n".encode()
        if isinstance(value, int):
            return b":%d\r\n" % value
        if isinstance(value, bytes):
            return b"$%d\r\n%s\r\n" % (len(value), value)
        return b"*%d\r\n" % len(value) + b"".join(self.encode(part) for part in value)

    def do_ping(self):
        return "PONG"

    def do_info(self, _section=b""):
        return b"# Server\r\nredis_version:7.0\r\nholon_cluster_id:%s\r\n" % self.store.cluster.encode()

    def do_select(self, database):
        self.database = int(database)
        return "OK"

    def do_dbsize(self):
        return sum(1 for database, _ in self.store.content() if database == self.database)

    def do_set(self, key, value, *options):
        assert not options or options[0] == b"PXAT"
        self.store.set(self.database, key, value, int(options[1]) if options else 0)
        return "OK"

    def do_del(self, key):
        return self.store.delete(self.database, key)

    def do_hset(self, key, *pairs):
        with self.store.mutex:
            value = self.store.keys.get((self.database, key))
            effects = len(key) + PUT_EFFECTS + sum(map(len, pairs)) + len(pairs) // 2 * FIELD_EFFECTS
            if effects + (value.effects() if value else 0) > EFFECTS_MAX:
                raise Wrong("ERR keys and values of one write exceed what can be stored at once; nothing was changed")
            body = dict(value.body) if value else {}
            body.update(zip(pairs[::2], pairs[1::2]))
            self.store.set(self.database, key, body, value.expiry if value else 0)
            now = self.store.keys[self.database, key]
            now.large = value is not None and value.large or len(body) > ROW_FIELDS_MAX or now.row_size() > ROW_BYTES_MAX
        return len(pairs) // 2

    def do_pexpireat(self, key, expiry):
        with self.store.mutex:
            value = self.store.keys[self.database, key]
            self.store.set(self.database, key, value.body, int(expiry))
            self.store.keys[self.database, key].large = value.large
        return 1

    def do_holon_tokenfloor(self, slot, value):
        if int(value) > 1 << 62:
            raise Wrong("ERR a floor of tokens is an integer from 0 to 2^62")
        self.store.floors[int(slot)] = int(value)
        return "OK"

    def do_holon_snapshot(self, what, *options):
        what = what.upper()
        if what == b"OPEN":
            self.snapshot = self.opened = self.store.open()
            return self.snapshot.encode()
        if what == b"USE":
            if options[0].decode() not in self.store.snapshots:
                raise Wrong("ERR there is no such snapshot")
            self.snapshot = options[0].decode()
            return "OK"
        if what == b"CLOSE":
            if self.opened:
                self.store.snapshots.pop(self.opened, None)
            self.snapshot = self.opened = None
            return "OK"
        return [b"id", self.snapshot.encode(), b"time", self.store.snapshots[self.snapshot][3], b"partitions",
                self.store.partitions, b"opener", int(self.opened is not None)]

    def do_holon_export(self, slot, cursor, *options):
        given = dict(zip((o.upper() for o in options[::2]), (int(o) for o in options[1::2])))
        if self.snapshot is None:
            raise Wrong("ERR HOLON.EXPORT reads at a cut")
        time.sleep(self.store.export_pause)
        if self.snapshot not in self.store.snapshots:
            raise Wrong("ERR the snapshot was closed")
        return self.store.export(self.snapshot, int(slot), cursor, given.get(b"SINCE", 0),
                                 given.get(b"BYTES", 256 << 10))


class Server:
    """Listens until it is ended; its address for --node."""

    def __init__(self, store: Store):
        self.store = store

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, block_on_close = True, True, False
            request_queue_size = 64

        self.listener = Listener(("127.0.0.1", 0), type("Bound", (Connection,), {"store": store}))
        self.node = "127.0.0.1:%d" % self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self.listener.shutdown()
        self.listener.server_close()
