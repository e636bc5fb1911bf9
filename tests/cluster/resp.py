"""resp.py - a small RESP2 client that hides nothing: no retries, no reconnecting, pipelines as
bytes. A lost connection is ConnectionError, an error reply is a value."""
import socket


class ErrorReply(str):
    """The text of a reply that began with '-'."""


def encode(*arguments) -> bytes:
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(parts), body)


class Client:
    def __init__(self, port: int, timeout: float = 15, host: str = "127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def call(self, *arguments):
        self.send(encode(*arguments))
        return self.read()

    def pipeline(self, commands) -> list:
        self.send(b"".join(encode(*command) for command in commands))
        return [self.read() for _ in commands]

    def read_line(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        return line[:-2]

    def read(self):
        line = self.read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ErrorReply(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self.read_bulk(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise ValueError(f"a reply begins with {line!r}")

    def read_bulk(self, size: int):
        if size < 0:
            return None
        data = self.file.read(size + 2)
        if len(data) != size + 2:
            raise ConnectionError("the connection was closed")
        return data[:-2].decode("utf-8", "surrogateescape")
