"""races.py - one client writes, others look at the same time through other nodes: what is one command, or one
transaction, is seen whole or not at all. Each race is a class; `write` is called with rising numbers, `look`
returns what was seen, and `whole` says whether that may be."""
import threading
import time

import resp
from slots import keys_over

KEYS = keys_over(6, 256, "race:")


def multi(client: resp.Client, *commands):
    reply = client.pipeline([("MULTI",), *commands, ("EXEC",)])[-1]
    assert isinstance(reply, list), reply
    return reply


class Race:
    name = ""
    begin = ("MSET", *(word for key in KEYS for word in (key, 0)))

    @staticmethod
    def write(client, number) -> None:
        raise NotImplementedError

    @staticmethod
    def look(client):
        return client.call("MGET", *KEYS)

    @staticmethod
    def whole(seen) -> bool:
        return len(set(seen)) == 1 and seen[0] is not None


def mset(number) -> tuple:
    return ("MSET", *(word for key in KEYS for word in (key, number)))


class MsetAndMget(Race):
    name = "MSET, MGET"

    @staticmethod
    def write(client, number):
        assert client.call(*mset(number)) == "OK"


class MultiAndMget(MsetAndMget):
    name = "MULTI SET, MGET"

    @staticmethod
    def write(client, number):
        multi(client, *(("SET", key, number) for key in KEYS))


class MsetAndMulti(MsetAndMget):
    name = "MSET, MULTI GET"

    @staticmethod
    def look(client):
        return multi(client, *(("GET", key) for key in KEYS))


class Increments(MultiAndMget):
    name = "MULTI INCR, MULTI GET from the other end"

    @staticmethod
    def write(client, number):
        assert len(set(multi(client, *(("INCR", key) for key in KEYS)))) == 1

    @staticmethod
    def look(client):
        return multi(client, *(("GET", key) for key in reversed(KEYS)))


class Hashes(Race):
    name = "MULTI HSET, MULTI HGETALL"
    begin = ("PING",)

    @staticmethod
    def write(client, number):
        multi(client, *(("HSET", key, "f", number, f"f{number % 7}", number) for key in KEYS))

    @staticmethod
    def look(client):
        return [tuple(fields) for fields in multi(client, *(("HGETALL", key) for key in KEYS))]

    @staticmethod
    def whole(seen):
        return len(set(seen)) == 1


class Renames(Race):
    name = "RENAME to and fro, EXISTS"
    begin = ("SET", KEYS[0], "v")

    @staticmethod
    def write(client, number):
        there = (KEYS[0], KEYS[1]) if number % 2 else (KEYS[1], KEYS[0])
        assert client.call("RENAME", *there) == "OK"

    @staticmethod
    def look(client):
        return client.call("EXISTS", KEYS[0], KEYS[1])

    @staticmethod
    def whole(seen):
        return seen == 1


class RenamesOfHashes(Renames):
    name = "RENAME of a hash, MULTI HGETALL"
    begin = ("HSET", KEYS[0], "a", 1, "b", 2)

    @staticmethod
    def look(client):
        return multi(client, ("HGETALL", KEYS[0]), ("HGETALL", KEYS[1]))

    @staticmethod
    def whole(seen):
        return sorted(seen) == [[], ["a", "1", "b", "2"]]


class Deletes(Race):
    name = "MSETNX and DEL, EXISTS"
    begin = ("PING",)

    @staticmethod
    def write(client, number):
        if number % 2:
            assert client.call("MSETNX", *mset(number)[1:]) == 1
        else:
            assert client.call("DEL" if number % 4 else "UNLINK", *KEYS) == len(KEYS)

    @staticmethod
    def look(client):
        return client.call("EXISTS", *KEYS)

    @staticmethod
    def whole(seen):
        return seen in (0, len(KEYS))


class Copies(Race):
    name = "MULTI INCR and COPY, MGET"

    @staticmethod
    def write(client, number):
        assert multi(client, ("INCR", KEYS[0]), *(("COPY", KEYS[0], key, "REPLACE") for key in KEYS[1:]))[1:] == [1] * 5


class Swaps(Race):
    name = "SWAPDB, MGET"
    begin = ("MULTI",), mset("zero"), ("SELECT", 1), mset("one"), ("SELECT", 0), ("EXEC",)

    @staticmethod
    def write(client, number):
        assert client.call("SWAPDB", number % 2, 1 - number % 2) == "OK"


class Flushes(Race):
    name = "MSET and FLUSHALL, MGET"

    @staticmethod
    def write(client, number):
        assert client.call(*(mset(number) if number % 2 else ("FLUSHALL",))) == "OK"

    @staticmethod
    def whole(seen):
        return len(set(seen)) == 1


class FlushesInside(Race):
    name = "MULTI FLUSHALL and MSET, MGET"

    @staticmethod
    def write(client, number):
        multi(client, ("FLUSHALL",), mset(number))


RACES = [MsetAndMget, MultiAndMget, MsetAndMulti, Increments, Hashes, Renames, RenamesOfHashes, Deletes, Copies, Swaps,
         Flushes, FlushesInside]


def run(race, doors, looks: int = 60, writes: int = 30, seconds: float = 20) -> None:
    """Until so many writes and, by each of the other doors, so many looks were done."""
    problems: list = []
    count = {"writes": 0, "looks": [0] * (len(doors) - 1)}
    deadline = time.monotonic() + seconds

    def enough() -> bool:
        return bool(problems) or time.monotonic() > deadline or (
            count["writes"] >= writes and min(count["looks"]) >= looks)

    def write():
        with doors[0].client() as client:
            while not enough():
                race.write(client, count["writes"] + 1)
                count["writes"] += 1

    def look(number):
        with doors[1 + number].client() as client:
            while not enough():
                seen = race.look(client)
                if not race.whole(seen):
                    problems.append(f"seen: {seen!r}")
                count["looks"][number] += 1

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except (OSError, AssertionError, TypeError, ValueError) as problem:
            problems.append(repr(problem))

    with doors[0].client() as client:
        for command in ("FLUSHALL",), *(race.begin if isinstance(race.begin[0], tuple) else (race.begin,)):
            reply = client.call(*command)
            assert not isinstance(reply, resp.ErrorReply), (command, reply)
    threads = [threading.Thread(target=guarded, args=(write,), daemon=True)]
    threads += [threading.Thread(target=guarded, args=(look, n), daemon=True) for n in range(len(doors) - 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 20)
        assert not thread.is_alive(), "a client got no answer at all"
    assert problems == [], f"{race.name}: {problems[:3]}"
    assert count["writes"] >= writes and min(count["looks"]) >= looks, f"{race.name}: only {count} in {seconds} s"
