"""proxy.py - a forwarding proxy before each node's peer port, so that tests can cut the network
between two nodes. A cut holds bytes back and loses none, as TCP does: when it heals, what was
under way arrives. To whom a connection belongs is looked up in /proc, by its socket."""
import os
import socket
import threading
import time
from typing import Callable, Optional


def process_of_port(port: int, pids: dict) -> Optional[str]:
    """The name in pids (name -> pid) whose process has the socket bound to 127.0.0.1:port."""
    inode = None
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1] == f"0100007F:{port:04X}":
                inode = fields[9]
    if inode in (None, "0"):
        return None
    for name, pid in pids.items():
        directory = f"/proc/{pid}/fd"
        try:
            for fd in os.listdir(directory):
                if os.readlink(f"{directory}/{fd}") == f"socket:[{inode}]":
                    return name
        except OSError:
            continue
    return None


class Network:
    """All proxies of one cluster, and which pairs are cut."""

    def __init__(self, pids: Callable[[], dict]):
        self.pids = pids
        self.changed = threading.Condition()
        self.cuts: set = set()
        self.delays: dict = {}
        self.listeners: list = []
        self.closed = False

    def add(self, name: str, listen_port: int, target_port: int) -> None:
        listener = socket.create_server(("127.0.0.1", listen_port))
        self.listeners.append(listener)
        self._thread(self._accept, listener, name, target_port)

    def cut(self, a: str, b: str) -> None:
        with self.changed:
            self.cuts.add(frozenset((a, b)))

    def delay(self, a: str, b: str, seconds: float) -> None:
        """So long each way, as between two places."""
        self.delays[frozenset((a, b))] = seconds

    def isolate(self, name: str, others) -> None:
        for other in others:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        with self.changed:
            self.cuts.clear()
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for listener in self.listeners:
            listener.close()

    @staticmethod
    def _thread(function, *arguments) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _accept(self, listener, name: str, target_port: int) -> None:
        while not self.closed:
            try:
                client, address = listener.accept()
            except OSError:
                return
            self._thread(self._connect, client, address[1], name, target_port)

    def _connect(self, client, client_port: int, name: str, target_port: int) -> None:
        source = process_of_port(client_port, self.pids())
        pair = frozenset((source, name))
        self._wait_open(pair)
        try:
            server = socket.create_connection(("127.0.0.1", target_port), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread(self._pump, client, server, pair)
        self._pump(server, client, pair)

    def _wait_open(self, pair) -> None:
        if pair in self.cuts:
            with self.changed:
                self.changed.wait_for(lambda: self.closed or pair not in self.cuts)

    def _pump(self, source, target, pair) -> None:
        try:
            while True:
                data = source.recv(65536)
                self._wait_open(pair)
                time.sleep(self.delays.get(pair, 0))
                if not data or self.closed:
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
