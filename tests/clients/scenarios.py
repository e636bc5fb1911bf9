"""scenarios.py - conversations that are held with two servers alike, reply by reply as bytes.

A scenario is text; each line is one write to one connection, and waits for its replies:

    MULTI                       connection a, one reply
    b: SET one 1                connection b, opened when it first speaks
    MULTI | GET one | EXEC      one write of three commands, three replies
    ~CLIENT REPLY OFF           a command after `~` gets no reply
    /set one 'a b'              a command after `/` is sent inline, as a person types it
    <*1\\r\\n:5\\r\\n>              bytes as they are, one reply
    until b: EXISTS one = :0    again and again until this is the reply: what is waited for is compared, not how often
"""
import re
import shlex
import socket

import resp
from waiting import until

CLOSED = b"<closed>"
NOTHING = b"<no reply>"
AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
BULKS = (b"$", b"=", b"!")


class Wire:
    """One connection, whose replies are bytes."""

    def __init__(self, port: int, timeout: float = 10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # the read says it

    def call(self, *words) -> bytes:
        self.send(resp.encode(*words))
        return self.reply()

    def reply(self) -> bytes:
        """Of one command, or why there is none."""
        try:
            return self._read()
        except ConnectionError:
            return CLOSED
        except OSError:  # the time is over, also that of those before
            return NOTHING

    def _read(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind in BULKS and int(rest) >= 0:
            body = self.file.read(int(rest) + 2)
            if len(body) != int(rest) + 2:
                raise ConnectionError("closed within a reply")
            return line + body
        if kind in AGGREGATES and int(rest) >= 0:
            parts = [self._read() for _ in range(int(rest) * AGGREGATES[kind])]
            return line + b"".join(parts)
        return line


def encode(command: str) -> tuple:
    """(bytes, whether there is a reply)"""
    silent = command.startswith("~")
    command = command[1:].strip() if silent else command
    if command.startswith("<"):
        return command[1:-1].encode().decode("unicode_escape").encode("latin-1"), not silent
    if command.startswith("/"):
        return command[1:].encode() + b"\r\n", not silent
    return resp.encode(*shlex.split(command)), not silent


class Conversation:
    """One scenario with one server."""

    def __init__(self, port: int, protocol: int = 2):
        self.port, self.protocol = port, protocol
        self.wires: dict = {}

    def wire(self, name: str) -> Wire:
        if name not in self.wires:
            self.wires[name] = Wire(self.port)
            if self.protocol != 2:
                assert self.wires[name].call("HELLO", self.protocol).startswith(b"%")
        return self.wires[name]

    def close(self) -> None:
        for wire in self.wires.values():
            wire.close()

    def say(self, line: str) -> list:
        """The replies to one line of a scenario."""
        waits = re.fullmatch(r"until (?:(\w): )?(.+) = (.+)", line)
        if waits:
            wire, wanted = self.wire(waits.group(1) or "a"), waits.group(3).encode() + b"\r\n"
            words = shlex.split(waits.group(2))
            until(f"{waits.group(2)} is {waits.group(3)}", lambda: wire.call(*words) == wanted, 10)
            return [wanted]
        named = re.match(r"(\w): ", line)
        wire = self.wire(named.group(1) if named else "a")
        commands = [encode(command.strip()) for command in line[named.end() if named else 0:].split(" | ")]
        wire.send(b"".join(data for data, _ in commands))
        return [wire.reply() for _, answered in commands if answered]


def lines_of(text: str) -> list:
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


def differences(text: str, theirs: int, ours: int, protocol: int = 2) -> list:
    """(number and text of the line, their replies, our replies) of each that is answered differently. Both begin empty."""
    talks = [Conversation(port, protocol) for port in (theirs, ours)]
    different = []
    try:
        for talk in talks:
            assert talk.wire("a").call("FLUSHALL") == b"+OK\r\n"
        for number, line in enumerate(lines_of(text), 1):
            expected, got = (talk.say(line) for talk in talks)
            assert NOTHING not in expected, f"the scenario waits for what redis-server does not say: {line}"
            if expected != got:
                different.append((f"{number}: {line}", expected, got))
            if NOTHING in got:
                break  # each further line would wait as long
    finally:
        for talk in talks:
            talk.close()
    return different


def shown(different: list) -> str:
    return "redis-server, then ours:\n" + "\n".join(
        f"{line}\n    {expected}\n    {got}" for line, expected, got in different)
