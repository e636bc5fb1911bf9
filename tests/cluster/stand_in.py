"""stand_in.py - what looks like a cluster to test_transactions.py, and is one redis-server behind doors: processes
that forward, and can be killed, paused and started again. It tries the tests, whose faults are then real but for
what is behind the doors: HOLON_TXN_AGAINST=redis.

As a program it is such a door: stand_in.py PORT ADMIN-PORT TARGET-PORT"""
import asyncio
import pathlib
import sys

from cluster import Cluster, Node
from redis_server import RedisServer
from slots import SLOTS

ANSWERS = {"/health": "ok", "/status": '{"problems": []}', "/metrics": "holon_txn_unsettled 0\n"}


class Door(Node):
    def __init__(self, name: str, directory: pathlib.Path, target: int):
        super().__init__(name, directory, [])
        self.target = target

    def command(self, *more: str) -> list:
        return [sys.executable, __file__, str(self.redis), str(self.admin), str(self.target)]


class NoNetwork:
    """Nothing is between the doors."""

    def isolate(self, *_) -> None:
        pass

    def cut(self, *_) -> None:
        pass

    def heal(self) -> None:
        pass

    def close(self) -> None:
        pass


class StandIn(Cluster):
    def __init__(self, directory: pathlib.Path, count: int = 3):
        self.server = RedisServer()
        self.nodes = [Door(f"d{number + 1}", directory, self.server.redis) for number in range(count)]
        self.network = NoNetwork()

    def end(self) -> None:
        super().end()
        self.server.end()

    def leaders(self, via) -> list:
        count = len(self.nodes)
        return [(number * SLOTS // count, (number + 1) * SLOTS // count - 1, node)
                for number, node in enumerate(self.nodes)]

    def key_led_by(self, node, via, prefix: str) -> str:
        return f"{prefix}0"


async def pump(source, target) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def forward(target_port: int, reader, writer) -> None:
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target_port)
    await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))


async def answer(reader, writer) -> None:
    line = await reader.readline()
    while (await reader.readline()).strip():
        pass
    writer.write(f"HTTP/1.0 200 OK\r\n\r\n{ANSWERS[line.decode().split()[1]]}".encode())
    await writer.drain()
    writer.close()


async def serve(port: int, admin_port: int, target_port: int) -> None:
    await asyncio.start_server(lambda *ends: forward(target_port, *ends), "127.0.0.1", port)
    await asyncio.start_server(answer, "127.0.0.1", admin_port)
    print("holon: ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
