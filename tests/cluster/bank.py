"""bank.py - clients that move money between accounts by transactions, and others that count it, while somebody
disturbs the cluster.

Each mover has a counter that every transfer of its own increments in the same transaction, so it tells how many were
done. After a transfer of unknown outcome (a lost connection, an UNKNOWN error) the mover goes on with a fresh key: so
the n-th that is acknowledged on a key is answered n exactly, and in the end the key holds n, or one more if its last
one is unknown; nothing that was done twice hides behind what was never done. Every read of a reader is of all accounts
and of the keys that are in use, at one instant: the sum of the accounts is what it was at the beginning, and no counter
is below what anybody was told before the read began, or above what was sent.

Once the test says that all is healed (say_healed()), every request is answered within `timeout`, and no snapshot goes
away under who opened it.

`doors` are the nodes, or anything else with a name and client(timeout). Readers and the first movers stay at their
door, so that every door has somebody who waits for nothing else; the other movers go on to the next one when
their connection breaks, and now and then without a reason."""
import collections
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import Optional

import resp
from patience import made_patient
from slots import keys_over

BALANCE = 1000
NOT_DONE = ("UNAVAILABLE", "EXECABORT", "BUSY")  # surely: nothing was executed
AGAIN_SECONDS = 0.02
TRANSFERS_PER_CONNECTION = 40
RESTLESS_ONE_IN = 8  # of the movers, if the others rest
KEYS_AT_ONCE = 256  # when nobody writes any more


@dataclass
class Counter:
    """A key that one mover increments, until the outcome of a transfer is unknown: the last one on this key."""
    key: str
    known: int = 0  # acknowledged
    seen: int = 0   # by anybody: it holds as many at least
    most: int = 0   # `known`, and one more while a transfer is under way, or if the last one is unknown


class Client:
    """A thread with one connection at a time. `work` does one thing with it; OSError breaks the connection."""

    def __init__(self, bank: "Bank", number: int, stays: bool):
        self.bank, self.number, self.stays = bank, number, stays
        self.rng = random.Random(f"{bank.seed} {number}")
        self.door = number
        self.done = 0
        self.lost = 0      # connections
        self.refused = 0   # answers that say that nothing was done
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        connection: Optional[resp.Client] = None
        turns = 0
        while not self.bank.stopping.is_set():
            turns += 1
            try:
                if connection is None:
                    connection = self.bank.connect(self.door)
                if self.work(connection) and turns % TRANSFERS_PER_CONNECTION:
                    continue
            except OSError as error:
                self.lost += 1
                if isinstance(error, TimeoutError):
                    self.bank.judge_timeout(self)
                self.bank.stopping.wait(AGAIN_SECONDS)
            except Exception as error:  # what no server may answer
                self.bank.note(f"client {self.number} cannot go on: {error!r}")
                self.bank.stopping.wait(AGAIN_SECONDS)
            self.door += 0 if self.stays else 1
            connection = connection.close() if connection else None
        if connection:
            connection.close()

    def work(self, connection: resp.Client) -> bool:
        """False: the connection is not to be used any more."""
        raise NotImplementedError

    def refusal(self, reply, *expected: str) -> bool:
        """Whether it is an error; one that nobody expects is noted."""
        if not isinstance(reply, resp.ErrorReply):
            return False
        self.refused += 1
        self.bank.count_refusal(reply)
        if not reply.startswith((*NOT_DONE, "UNKNOWN", *expected)):
            self.bank.note(f"an error nobody expects: {reply}")
        return True


class Mover(Client):
    def __init__(self, bank: "Bank", number: int, name: str):
        super().__init__(bank, number, stays=number < len(bank.doors))
        self.name = name
        self.acknowledged = 0
        self.conflicts = 0
        self.unknown = 0
        self.counter = bank.new_counter(self.name, 0)

    def work(self, connection: resp.Client) -> bool:
        if self.bank.pause and self.number % RESTLESS_ONE_IN:
            self.bank.stopping.wait(self.rng.uniform(0, self.bank.pause))
        source, target = self.rng.sample(self.bank.accounts, 2)
        amount = self.rng.randrange(1, 20)
        how = self.rng.choice((self._by_watch, self._by_watch_and_mset, self._blindly))
        return how(connection, source, target, amount)

    def _blindly(self, connection, source, target, amount) -> bool:
        return self._execute(connection, [("DECRBY", source, amount), ("INCRBY", target, amount)], watched=False)

    def _by_watch(self, connection, source, target, amount) -> bool:
        balances = self._look(connection, source, target)
        return bool(balances) and self._execute(connection, [
            ("SET", source, balances[0] - amount), ("SET", target, balances[1] + amount)], watched=True)

    def _by_watch_and_mset(self, connection, source, target, amount) -> bool:
        balances = self._look(connection, source, target)
        return bool(balances) and self._execute(connection, [
            ("MSET", source, balances[0] - amount, target, balances[1] + amount)], watched=True)

    def _look(self, connection, source, target):
        watched = connection.call("WATCH", source, target)
        if self.refusal(watched):
            return None
        replies = connection.pipeline([("GET", source), ("GET", target)])
        if any(self.refusal(reply) for reply in replies):
            return None
        if None in replies:
            self.bank.note(f"an account is gone: {source} {target} {replies}")
            return None
        return [int(reply) for reply in replies]

    def _execute(self, connection, commands, watched: bool) -> bool:
        commands = [("MULTI",), *commands, ("INCR", self.counter.key), ("EXEC",)]
        self.counter.most = self.counter.known + 1
        try:
            replies = connection.pipeline(commands)
        except OSError:
            self._note_unknown()
            raise
        return self._judge(replies, watched)

    def _note_unknown(self) -> None:
        self.unknown += 1
        self.counter = self.bank.new_counter(self.name, self.unknown)

    def _note_not_done(self) -> None:
        self.counter.most = self.counter.known

    def _judge(self, replies, watched: bool) -> bool:
        multi, *queued, executed = replies
        if multi != "OK":
            self.bank.note(f"MULTI was answered {multi!r}")
            self._note_unknown()
            return False
        if isinstance(executed, resp.ErrorReply):
            self.refusal(executed)
            if executed.startswith(NOT_DONE):
                self._note_not_done()
            else:
                self._note_unknown()
            return False
        if any(reply != "QUEUED" for reply in queued):
            self.bank.note(f"not everything was queued, but EXEC was answered {executed!r}: {queued}")
            self._note_unknown()
        elif executed is None:
            self.conflicts += 1
            self._note_not_done()
            if not watched:
                self.bank.note("EXEC was null, though nothing was watched")
        elif any(isinstance(reply, resp.ErrorReply) for reply in executed):
            self.bank.note(f"a part of a transaction failed: {executed}")
            self._note_unknown()
        else:
            self._acknowledge(executed[-1])
        return True

    def _acknowledge(self, value: int) -> None:
        self.acknowledged += 1
        self.done += 1
        wanted = self.counter.known + 1
        if value != wanted:
            self.bank.note(f"{self.counter.key} is {value}, not {wanted}: "
                           f"a transfer was {'lost' if value < wanted else 'done twice'}")
        self.counter.known = self.counter.most = value
        self.bank.saw(self.counter, value)
        self.bank.answered()


class Reader(Client):
    def work(self, connection: resp.Client) -> bool:
        floors = self.bank.floors()
        kind = self.rng.choice(self.bank.kinds)
        values = self.WAYS[kind](self, connection, [*self.bank.accounts, *floors])
        if self.refusal(values, *["SNAPSHOTGONE"] * (kind == "snapshot")):
            return False
        self.done += 1
        self.bank.count_read(kind)
        self.bank.judge(values, floors)
        return True

    def _by_mget(self, connection, keys):
        return connection.call("MGET", *keys)

    def _by_multi(self, connection, keys):
        return connection.pipeline([("MULTI",), *(("GET", key) for key in keys), ("EXEC",)])[-1]

    def _by_snapshot(self, connection, keys):
        """Twice, at one instant. Its lifetime, minutes, is longer than anybody here waits."""
        was_healed = self.bank.healed is not None
        opened = connection.call("HOLON.SNAPSHOT", "OPEN")
        if isinstance(opened, resp.ErrorReply):
            return opened
        values, again, closed = connection.pipeline([("MGET", *keys), ("MGET", *keys), ("HOLON.SNAPSHOT", "CLOSE")])
        for reply in (values, again, closed):
            if isinstance(reply, resp.ErrorReply):
                if was_healed and reply.startswith("SNAPSHOTGONE"):
                    self.bank.note(f"snapshot {opened} is gone, though all was healed when it was opened: {reply}")
                return reply
        if values != again:
            self.bank.note(f"a snapshot has changed: {values} {again}")
        return values

    WAYS = {"MGET": _by_mget, "MULTI": _by_multi, "snapshot": _by_snapshot}


class Bank:
    def __init__(self, doors, name: str = "bank", accounts: int = 64, partitions: int = 64, movers: int = 6,
                 readers: int = 3, seed: int = 1, timeout: float = 15, pause: float = 0, snapshots: bool = False):
        """`pause`: seconds at most that most movers rest before each transfer; `snapshots`: a way of reading, too."""
        self.doors, self.seed, self.timeout = list(doors), seed, timeout
        self.accounts = keys_over(accounts, partitions, f"{name}:account:")
        self.total = accounts * BALANCE
        self.pause = pause
        self.kinds = [kind for kind in Reader.WAYS if snapshots or kind != "snapshot"]  # of reads
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.wrong: list = []
        self.refusals: collections.Counter = collections.Counter()  # text without its numbers -> how often
        self.longest_gap, self.last_answer = 0.0, time.monotonic()  # seconds in which nobody was acknowledged anything
        self.reads_by_kind: collections.Counter = collections.Counter()
        self.healed: Optional[float] = None  # when
        self.counters: dict = {}  # key -> Counter, all that there ever were
        names = keys_over(movers, partitions, f"{name}:moved:")
        self.movers = [Mover(self, number, name) for number, name in enumerate(names)]
        self.readers = [Reader(self, number, stays=True) for number in range(readers)]

    def start(self) -> "Bank":
        with self.doors[0].client(self.timeout) as client:
            replies = client.pipeline([("SET", account, BALANCE) for account in self.accounts])
            assert set(replies) == {"OK"}, replies
        self.last_answer = time.monotonic()
        for client in [*self.movers, *self.readers]:
            client.thread.start()
        return self

    def say_healed(self) -> float:
        """Nobody is disturbed any more. Returns when that was."""
        self.healed = time.monotonic()
        return self.healed

    def finish(self, seconds: float = 40) -> "Bank":
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for client in [*self.movers, *self.readers]:
            client.thread.join(max(0.1, deadline - time.monotonic()))
            assert not client.thread.is_alive(), f"client {client.number} of the bank got no answer at all"
        return self

    # What the clients use.

    def connect(self, door: int) -> resp.Client:
        return made_patient(self.doors[door % len(self.doors)].client(self.timeout), self._is_late)

    def _is_late(self, began: float) -> bool:
        """`timeout` after it began, or after all was healed, if that was later."""
        return time.monotonic() >= max(began, self.healed or began) + self.timeout

    def new_counter(self, name: str, generation: int) -> Counter:
        """In the slot of `name`."""
        counter = Counter(f"{{{name}}}.{generation}")
        with self.lock:
            self.counters[counter.key] = counter
        return counter

    # What they report.

    def judge_timeout(self, client: Client) -> None:
        """Who gives up now has waited for `timeout` at least: all the while in a cluster that was healed?"""
        healed = self.healed
        if healed is not None and time.monotonic() >= healed + self.timeout:
            self.note(f"client {client.number} was not answered within {self.timeout} s, though all was healed "
                      f"{time.monotonic() - healed:.1f} s ago")

    def note(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def count_refusal(self, reply: str) -> None:
        with self.lock:
            self.refusals[re.sub(r"\b[0-9a-f]{16}\b|\d+", "N", reply)] += 1

    def count_read(self, kind: str) -> None:
        with self.lock:
            self.reads_by_kind[kind] += 1

    def saw(self, counter: Counter, value: int) -> None:
        with self.lock:
            counter.seen = max(counter.seen, value)

    def answered(self) -> None:
        with self.lock:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_answer)
            self.last_answer = now

    def floors(self, retired: bool = False) -> dict:
        """What the counters that are in use, or all, are at least."""
        with self.lock:
            counters = self.counters.values() if retired else [mover.counter for mover in self.movers]
            return {counter.key: counter.seen for counter in counters}

    def most(self) -> dict:
        """What all counters are at most."""
        with self.lock:
            return {counter.key: counter.most for counter in self.counters.values()}

    def judge(self, values, floors: dict, most: Optional[dict] = None) -> None:
        """What one read of all accounts and of the counters in `floors` showed, None is a key that is not there; or
        a backup, at whose end they were no more than `most`."""
        most = most or self.most()
        if not isinstance(values, list) or len(values) != len(self.accounts) + len(floors) or not all(
                isinstance(value, str) for value in values[:len(self.accounts)]):
            self.note(f"a read was answered {values!r}")
            return
        numbers = [int(value or 0) for value in values]  # no key yet: no transfer
        total = sum(numbers[:len(self.accounts)])
        if total != self.total:
            self.note(f"the sum is {total}, not {self.total}")
        for (key, floor), value in zip(floors.items(), numbers[len(self.accounts):]):
            if value < floor:
                self.note(f"{key} is {value}, after somebody had seen {floor}")
            if value > most[key]:
                self.note(f"{key} is {value}, of {most[key]} transfers")
            self.saw(self.counters[key], value)

    # What a test asks.

    @property
    def transfers(self) -> int:
        return sum(mover.acknowledged for mover in self.movers)

    @property
    def reads(self) -> int:
        return sum(reader.done for reader in self.readers)

    def summary(self) -> str:
        everybody = [*self.movers, *self.readers]
        return (f"{self.transfers} transfers, {sum(m.conflicts for m in self.movers)} conflicts, "
                f"{sum(m.unknown for m in self.movers)} of unknown outcome, {sum(c.refused for c in everybody)} refused, "
                f"{sum(c.lost for c in everybody)} connections lost, {self.reads} reads "
                f"({', '.join(f'{self.reads_by_kind[kind]} by {kind}' for kind in self.kinds)}), "
                f"longest time without a transfer {self.longest_gap:.2f} s")

    def look(self, via, counters) -> list:
        """All accounts and these counters, through one node, some at a time: nobody writes any more."""
        keys, values = [*self.accounts, *counters], []
        with via.client(self.timeout) as client:
            for first in range(0, len(keys), KEYS_AT_ONCE):
                part = client.call("MGET", *keys[first:first + KEYS_AT_ONCE])
                assert isinstance(part, list), part
                values += part
        return values

    def audit(self, via) -> dict:
        """In the end, through one node: what the counters are, also those that are in use no longer."""
        floors = self.floors(retired=True)
        values = self.look(via, floors)
        self.judge(values, floors)
        assert self.wrong == [], self.wrong[:5]
        return dict(zip(floors, (int(value or 0) for value in values[len(self.accounts):])))
