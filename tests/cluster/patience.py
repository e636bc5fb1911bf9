"""patience.py - a connection (resp.Client) that waits for a reply as long as somebody says, not for a time that is
fixed when it begins to."""
import io
import select
import socket
import time
from typing import Callable

import resp

LOOK_MS = 100


class Patient(io.RawIOBase):
    """`is_over(began)`: whether who has waited since then, of time.monotonic(), waits no longer: TimeoutError."""

    def __init__(self, source: socket.socket, is_over: Callable[[float], bool]):
        self.source, self.is_over = source, is_over
        self.poll = select.poll()
        self.poll.register(source, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        began = time.monotonic()
        while not self.poll.poll(LOOK_MS):
            if self.is_over(began):
                raise TimeoutError("no answer")
        return self.source.recv_into(buffer)


def made_patient(connection: resp.Client, is_over: Callable[[float], bool]) -> resp.Client:
    connection.file.close()
    connection.file = io.BufferedReader(Patient(connection.socket, is_over))
    return connection
