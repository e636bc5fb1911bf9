"""appends.py - whether transactions are strictly serializable, from what their clients saw.

Clients append tokens that nobody uses twice to strings, and read them, several keys in one transaction; so each
value shows the order of all writes to its key that were there before. After the end every key is read once more.
From that follow, between transactions (Adya 1999; Kingsbury and Alvaro, Elle, 2020):

    ww   one appended right behind the other
    wr   one read what the other appended last
    rw   one did not see yet what the other appended next
    rt   one was answered before the other was sent

They are strictly serializable if and only if these have no cycle, nothing was read in two orders, nothing that was
acknowledged is missing, nothing is there twice, and nothing of what was refused, or half of something, is there."""
import dataclasses
import itertools
import random
import threading
import time
from typing import Optional

import resp
from bank import AGAIN_SECONDS, NOT_DONE
from slots import keys_over

DONE, FAILED, UNKNOWN = "done", "failed", "unknown"
TRANSACTIONS_PER_ERA = 1500  # then other keys: values stay short


@dataclasses.dataclass
class Txn:
    """ops: ("append", key, token) and ("read", key, value), a value is a tuple of tokens. Without an answer
    `ret` is None, and only appends count."""
    ops: list
    call: float
    ret: Optional[float]
    status: str = DONE

    def appended(self, key: Optional[str] = None) -> list:
        return [(k, token) for kind, k, token in self.ops if kind == "append" and key in (None, k)]

    def reads(self) -> list:
        return [(key, value) for kind, key, value in self.ops if kind == "read"] if self.status == DONE else []


def check(history, final: dict) -> list:
    """Problems, none if the history is strictly serializable. final: key -> all tokens, read after the end."""
    problems: list = []
    writer = {token: txn for txn in history for _, token in txn.appended()}
    for key, value in final.items():
        if len(set(value)) != len(value):
            problems.append(f"{key} holds a token twice: {[t for t in value if value.count(t) > 1][:2]}")
        problems += [f"{key} holds {token}, which nobody appended" for token in value if token not in writer]
    there = {(key, token) for key, value in final.items() for token in value}
    for txn in history:
        held = [append in there for append in txn.appended()]
        if txn.status == DONE and not all(held):
            problems.append(f"lost: {txn}")
        elif txn.status == FAILED and any(held):
            problems.append(f"there, though it was refused: {txn}")
        elif any(held) and not all(held):
            problems.append(f"half of it is there: {txn}")
        problems += _reads_problems(txn, final)
    return problems or _cycle(history, final, writer, there)


def _reads_problems(txn, final) -> list:
    """Each read is a beginning of all, and ends with what the transaction itself had appended before."""
    problems, own = [], {}
    for kind, key, what in txn.ops if txn.status == DONE else ():
        if kind == "append":
            own.setdefault(key, []).append(what)
        elif what != final[key][:len(what)]:
            problems.append(f"another order: {txn} read {what} of {key}, which is {final[key]}")
        else:
            mine = own.get(key, [])
            others = {token for _, token in txn.appended(key)} - set(mine)
            if list(what[len(what) - len(mine):]) != mine or others & set(what):
                problems.append(f"not its own appends: {txn} read {what} of {key}")
    return problems


def _cycle(history, final, writer, there) -> list:
    applied = [txn for txn in history if txn.status == DONE or any(append in there for append in txn.appended())]
    after: dict = {id(txn): [] for txn in applied}  # node -> [(node, kind)]

    def edge(one, other, kind) -> None:
        if one is not other:
            after[id(one)].append((id(other), kind))

    for key, value in final.items():
        for left, right in zip(value, value[1:]):
            edge(writer[left], writer[right], f"ww {key}")
    for txn in applied:
        for key, value in txn.reads():
            if value:
                edge(writer[value[-1]], txn, f"wr {key}")
            if len(value) < len(final[key]):
                edge(txn, writer[final[key][len(value)]], f"rw {key}")
    _add_real_time(applied, after)
    nodes = _left_of_sorting(after)
    if not nodes:
        return []
    before: dict = {}
    for node in nodes:
        for other, kind in after[node]:
            before.setdefault(other, (node, kind))
    walk, node = [], next(iter(nodes))
    while node not in walk:
        walk.append(node)
        node = before[node][0]
    cycle = walk[walk.index(node):][::-1]
    named = {id(txn): txn for txn in applied}
    return ["a cycle:\n" + "\n".join(f"  {named[n]}  --{before[m][1]}-->" for n, m in zip(
        cycle, cycle[1:] + cycle[:1]) if n in named)]


def _add_real_time(applied, after) -> None:
    """Through one node for each answer, in their order: as many edges as transactions, not their square."""
    ends = sorted(txn.ret for txn in applied if txn.ret is not None)
    for number in range(len(ends)):
        after[("answer", number)] = [(("answer", number + 1), "rt")] if number + 1 < len(ends) else []
    place = {end: number for number, end in enumerate(ends)}  # the last one of equal ones
    begins = sorted(applied, key=lambda txn: txn.call)
    earlier = 0
    for txn in begins:
        while earlier < len(ends) and ends[earlier] < txn.call:
            earlier += 1
        if earlier:
            after[("answer", earlier - 1)].append((id(txn), "rt"))
        if txn.ret is not None:
            after[id(txn)].append((("answer", place[txn.ret]), "rt"))


def _left_of_sorting(after) -> set:
    """Nodes that are in a cycle or behind one; each has a predecessor among them."""
    waits = dict.fromkeys(after, 0)
    for other, _ in itertools.chain.from_iterable(after.values()):
        waits[other] += 1
    free = [node for node, count in waits.items() if count == 0]
    left = set(after)
    while free:
        node = free.pop()
        left.discard(node)
        for other, _ in after[node]:
            waits[other] -= 1
            if waits[other] == 0:
                free.append(other)
    return left


class Appenders:
    """Clients, of which each stays at its door. start(), disturb the cluster, finish(), judge(node)."""

    def __init__(self, doors, name: str = "log", clients: int = 6, keys: int = 12, partitions: int = 64, seed: int = 1,
                 timeout: float = 15):
        self.doors, self.name, self.timeout = list(doors), name, timeout
        self.stopping = threading.Event()
        self.history: list = []  # append() of a list is one step
        self.wrong: list = []
        self.layout = (keys, partitions)
        self.eras: list = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True, args=(number, random.Random(f"{seed} {number}")))
                        for number in range(clients)]

    def start(self) -> "Appenders":
        for thread in self.threads:
            thread.start()
        return self

    def finish(self, seconds: float = 40) -> "Appenders":
        self.stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client got no answer at all"
        return self

    @property
    def done(self) -> int:
        return len(self.history)

    def summary(self) -> str:
        count = {status: sum(txn.status == status for txn in self.history) for status in (DONE, FAILED, UNKNOWN)}
        return ", ".join(f"{number} {status}" for status, number in count.items())

    def judge(self, via) -> None:
        assert self.wrong == [], self.wrong[:3]
        final: dict = {}
        with via.client(self.timeout) as client:
            for keys in self.eras:
                values = client.call("MGET", *keys)
                assert isinstance(values, list), values
                final.update((key, tokens(value)) for key, value in zip(keys, values))
        problems = check(self.history, final)
        assert problems == [], "not strictly serializable: " + "\n".join(problems[:3])

    def _keys(self) -> list:
        with self.lock:
            if len(self.eras) <= len(self.history) // TRANSACTIONS_PER_ERA:
                self.eras.append(keys_over(*self.layout, f"{self.name}:{len(self.eras)}:"))
            return self.eras[-1]

    def _run(self, number: int, rng: random.Random) -> None:
        client, count = None, 0
        while not self.stopping.is_set():
            try:
                client = client or self.doors[number % len(self.doors)].client(self.timeout)
                count += 1
                if self._transaction(client, rng, f"{number}.{count}"):
                    continue
            except OSError:
                self.stopping.wait(AGAIN_SECONDS)
            client = client.close() if client else None
        if client:
            client.close()

    def _transaction(self, client, rng, name: str) -> bool:
        keys, chance, ops = self._keys(), rng.random(), []
        txn = Txn(ops, time.monotonic(), None, UNKNOWN)
        if chance < 0.15:  # one command of many keys
            ops += [("read", key, None) for key in rng.sample(keys, 4)]
            commands = [("MGET", *(key for _, key, _ in ops))]
        elif chance < 0.35:  # one command of one key, no transaction
            ops.append(("append", rng.choice(keys), name) if rng.random() < 0.5 else ("read", rng.choice(keys), None))
            commands = [command_of(ops[0])]
        else:
            if chance < 0.6 and not self._watch(client, rng.sample(keys, 2), ops):
                return False
            seen = len(ops)
            for part in range(rng.randrange(1, 5)):
                key = rng.choice(keys)
                ops.append(("append", key, f"{name}.{part}") if rng.random() < 0.5 else ("read", key, None))
            commands = [("MULTI",), *map(command_of, ops[seen:]), ("EXEC",)]
        try:
            replies = client.pipeline(commands)
        except OSError:
            self.history.append(txn)
            raise
        txn.ret = time.monotonic()
        good = self._answered(txn, replies, bare=len(commands) == 1)
        self.history.append(txn)
        return good

    @staticmethod
    def _watch(client, keys, ops) -> bool:
        """What is read while it is watched belongs to the transaction, if that is executed."""
        replies = client.pipeline([("WATCH", *keys), *(("GET", key) for key in keys)])
        ops += [("read", key, tokens(value)) for key, value in zip(keys, replies[1:])]
        return not any(isinstance(reply, resp.ErrorReply) for reply in replies)

    def _answered(self, txn, replies, bare: bool) -> bool:
        result = replies[-1]
        if isinstance(result, resp.ErrorReply):
            if not result.startswith((*NOT_DONE, "UNKNOWN")):
                self.wrong.append(f"an error nobody expects: {result}")
            txn.status = FAILED if result.startswith(NOT_DONE) else UNKNOWN
            txn.ret = txn.ret if txn.status == FAILED else None
            return False
        if not bare and (replies[0] != "OK" or any(reply != "QUEUED" for reply in replies[1:-1])):
            self.wrong.append(f"executed, but not all was queued: {replies}")
        if result is None and not bare:
            txn.status = FAILED
            return True
        results = result if isinstance(result, list) else [result]
        if any(isinstance(one, resp.ErrorReply) for one in results):
            self.wrong.append(f"a part of a transaction failed: {results}")
            return False
        first = len(txn.ops) - len(results)
        txn.ops[first:] = [(kind, key, tokens(value) if kind == "read" else argument)
                           for (kind, key, argument), value in zip(txn.ops[first:], results)]
        txn.status = DONE
        return True


def tokens(value) -> tuple:
    return tuple(value.split(" ")[:-1]) if isinstance(value, str) else ()


def command_of(op) -> tuple:
    return ("APPEND", op[1], f"{op[2]} ") if op[0] == "append" else ("GET", op[1])
