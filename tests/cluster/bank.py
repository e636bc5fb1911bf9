"""bank.py - clients that move money between accounts by transactions, and others that count it, while somebody
disturbs the cluster.

Each mover has a counter that every transfer of its own increments in the same transaction. So the counter tells
how many were done: what was acknowledged, plus some of those whose outcome is unknown (a lost connection, an
UNKNOWN error). Every read of a reader is of all accounts and all counters at one instant: the sum of the accounts
is what it was at the beginning, and no counter is below what anybody was told before the read began.

`doors` are the nodes, or anything else with a name and client(timeout). Readers and the first movers stay at their
door, so that every door has somebody who waits for nothing else; the other movers go on to the next one when
their connection breaks, and now and then without a reason."""
import collections
import random
import re
import threading
import time
from typing import Optional

import resp
from slots import keys_over

BALANCE = 1000
NOT_DONE = ("UNAVAILABLE", "EXECABORT", "BUSY")  # surely: nothing was executed
AGAIN_SECONDS = 0.02
TRANSFERS_PER_CONNECTION = 40
RESTLESS_ONE_IN = 8  # of the movers, if the others rest


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
                    connection = self.bank.doors[self.door % len(self.bank.doors)].client(self.bank.timeout)
                if self.work(connection) and turns % TRANSFERS_PER_CONNECTION:
                    continue
            except OSError:
                self.lost += 1
                self.bank.stopping.wait(AGAIN_SECONDS)
            self.door += 0 if self.stays else 1
            connection = connection.close() if connection else None
        if connection:
            connection.close()

    def work(self, connection: resp.Client) -> bool:
        """False: the connection is not to be used any more."""
        raise NotImplementedError

    def refusal(self, reply) -> bool:
        """Whether it is an error; one that nobody expects is noted."""
        if not isinstance(reply, resp.ErrorReply):
            return False
        self.refused += 1
        self.bank.count_refusal(reply)
        if not reply.startswith((*NOT_DONE, "UNKNOWN", *["SNAPSHOTGONE"] * self.bank.snapshots)):
            self.bank.note(f"an error nobody expects: {reply}")
        return True


class Mover(Client):
    def __init__(self, bank: "Bank", number: int, counter: str):
        super().__init__(bank, number, stays=number < len(bank.doors))
        self.counter = counter
        self.sent = 0
        self.acknowledged = 0
        self.conflicts = 0
        self.unknown = 0  # all of them
        self.known = 0    # what the counter holds at least
        self.open = 0     # transfers of unknown outcome that it does not hold yet, as far as we know

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
        commands = [("MULTI",), *commands, ("INCR", self.counter), ("EXEC",)]
        self.sent += 1
        try:
            replies = connection.pipeline(commands)
        except OSError:
            self._note_unknown()
            raise
        return self._judge(replies, watched)

    def _note_unknown(self) -> None:
        self.unknown += 1
        self.open += 1

    def _judge(self, replies, watched: bool) -> bool:
        multi, *queued, executed = replies
        if multi != "OK":
            self.bank.note(f"MULTI was answered {multi!r}")
            return False
        if isinstance(executed, resp.ErrorReply):
            self.refusal(executed)
            if not executed.startswith(NOT_DONE):
                self._note_unknown()
            return False
        if any(reply != "QUEUED" for reply in queued):
            self.bank.note(f"not everything was queued, but EXEC was answered {executed!r}: {queued}")
        elif executed is None:
            self.conflicts += 1
            if not watched:
                self.bank.note("EXEC was null, though nothing was watched")
        elif any(isinstance(reply, resp.ErrorReply) for reply in executed):
            self.bank.note(f"a part of a transaction failed: {executed}")
        else:
            self._acknowledge(executed[-1])
        return True

    def _acknowledge(self, value: int) -> None:
        self.acknowledged += 1
        self.done += 1
        least = self.known + 1
        if not least <= value <= least + self.open:
            self.bank.note(f"{self.counter} is {value}, not {least} to {least + self.open}: "
                           f"a transfer was {'lost' if value < least else 'done twice'}")
        self.open -= value - least
        self.known = value
        self.bank.saw(self.counter, value)
        self.bank.answered()


class Reader(Client):
    def work(self, connection: resp.Client) -> bool:
        floors = self.bank.floors()
        ways = [self._by_mget, self._by_multi, *[self._by_snapshot] * self.bank.snapshots]
        values = self.rng.choice(ways)(connection, [*self.bank.accounts, *floors])
        if self.refusal(values):
            return False
        self.done += 1
        self.bank.judge(values, floors)
        return True

    @staticmethod
    def _by_mget(connection, keys):
        return connection.call("MGET", *keys)

    @staticmethod
    def _by_multi(connection, keys):
        return connection.pipeline([("MULTI",), *(("GET", key) for key in keys), ("EXEC",)])[-1]

    def _by_snapshot(self, connection, keys):
        """Twice, at one instant."""
        opened = connection.call("HOLON.SNAPSHOT", "OPEN")
        if isinstance(opened, resp.ErrorReply):
            return opened
        values, again, closed = connection.pipeline([("MGET", *keys), ("MGET", *keys), ("HOLON.SNAPSHOT", "CLOSE")])
        for reply in (values, again, closed):
            if isinstance(reply, resp.ErrorReply):
                return reply
        if values != again:
            self.bank.note(f"a snapshot has changed: {values} {again}")
        return values


class Bank:
    def __init__(self, doors, name: str = "bank", accounts: int = 64, partitions: int = 64, movers: int = 6,
                 readers: int = 3, seed: int = 1, timeout: float = 15, pause: float = 0, snapshots: bool = False):
        """`pause`: seconds at most that most movers rest before each transfer; `snapshots`: a way of reading, too."""
        self.doors, self.seed, self.timeout = list(doors), seed, timeout
        self.accounts = keys_over(accounts, partitions, f"{name}:account:")
        self.total = accounts * BALANCE
        self.pause, self.snapshots = pause, snapshots
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.wrong: list = []
        self.refusals: collections.Counter = collections.Counter()  # text without its numbers -> how often
        self.longest_gap, self.last_answer = 0.0, time.monotonic()  # seconds in which nobody was acknowledged anything
        counters = keys_over(movers, partitions, f"{name}:moved:")
        self.told = {counter: 0 for counter in counters}  # what somebody has seen of them
        self.movers = [Mover(self, number, counter) for number, counter in enumerate(counters)]
        self.readers = [Reader(self, number, stays=True) for number in range(readers)]

    def start(self) -> "Bank":
        with self.doors[0].client(self.timeout) as client:
            replies = client.pipeline([*(("SET", account, BALANCE) for account in self.accounts),
                                       *(("SET", counter, 0) for counter in self.told)])
            assert set(replies) == {"OK"}, replies
        self.last_answer = time.monotonic()
        for client in [*self.movers, *self.readers]:
            client.thread.start()
        return self

    def finish(self, seconds: float = 40) -> "Bank":
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for client in [*self.movers, *self.readers]:
            client.thread.join(max(0.1, deadline - time.monotonic()))
            assert not client.thread.is_alive(), f"client {client.number} of the bank got no answer at all"
        return self

    # What the clients report.

    def note(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def count_refusal(self, reply: str) -> None:
        with self.lock:
            self.refusals[re.sub(r"\b[0-9a-f]{16}\b|\d+", "N", reply)] += 1

    def saw(self, counter: str, value: int) -> None:
        with self.lock:
            self.told[counter] = max(self.told[counter], value)

    def answered(self) -> None:
        with self.lock:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_answer)
            self.last_answer = now

    def floors(self) -> dict:
        with self.lock:
            return dict(self.told)

    def sent(self) -> dict:
        """As floors() is what the counters are at least, this is what they are at most."""
        return {mover.counter: mover.sent for mover in self.movers}

    def judge(self, values, floors: dict, most: Optional[dict] = None) -> None:
        """What one read of all accounts and counters showed; or a backup, until whose end no more than `most` were
        sent."""
        most = most or self.sent()
        if not isinstance(values, list) or len(values) != len(self.accounts) + len(floors) or not all(
                isinstance(value, str) for value in values):
            self.note(f"a read was answered {values!r}")
            return
        numbers = [int(value) for value in values]
        total = sum(numbers[:len(self.accounts)])
        if total != self.total:
            self.note(f"the sum is {total}, not {self.total}")
        for mover, value in zip(self.movers, numbers[len(self.accounts):]):
            if value < floors[mover.counter]:
                self.note(f"{mover.counter} is {value}, after somebody had seen {floors[mover.counter]}")
            if value > most[mover.counter]:
                self.note(f"{mover.counter} is {value}, of {most[mover.counter]} transfers")
            self.saw(mover.counter, value)

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
                f"{sum(c.lost for c in everybody)} connections lost, {self.reads} reads, "
                f"longest time without a transfer {self.longest_gap:.2f} s")

    def audit(self, via) -> dict:
        """In the end, through one node: what the counters are."""
        with via.client(self.timeout) as client:
            values = client.call("MGET", *self.accounts, *self.told)
        assert not isinstance(values, resp.ErrorReply), values
        self.judge(values, self.floors())
        counters = dict(zip(self.told, map(int, values[len(self.accounts):])))
        for mover in self.movers:
            value = counters[mover.counter]
            assert mover.known <= value <= mover.known + mover.open, (mover.counter, mover.known, value, mover.open)
            assert mover.acknowledged <= value <= mover.acknowledged + mover.unknown, (mover.counter, value)
        assert self.wrong == [], self.wrong[:5]
        return counters
