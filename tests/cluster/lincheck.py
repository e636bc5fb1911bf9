#!/usr/bin/python3
"""lincheck.py - decides whether a recorded history is linearizable, key by key.

A history is linearizable if its operations can be put in one order that respects real time
(an operation that returned before another was called comes first) and that a single register
per key explains (Herlihy and Wing 1990). Keys are independent objects, so each is checked by
itself (locality, same paper). An operation whose outcome is unknown, because the connection
was lost, may take effect at any time after its call, or never.

Method: just-in-time linearization (Lowe, Testing for linearizability, 2017, on top of Wing and
Gong 1993). Walk calls and returns in order of time and keep all configurations that explain
what has returned so far: a value of the register, and the set of operations that are not
returned yet but have taken effect. A return keeps the configurations in which the operation has
taken effect, after letting others take effect before it as needed. When none is left, the
operation that returned is the first one that cannot be explained.

    lincheck.py HISTORY.jsonl     one JSON object per line, as history.py writes them
Exit 0: linearizable. 1: not; the first operation that cannot be explained is printed."""
import collections
import dataclasses
import json
import sys
from typing import Iterable, NamedTuple, Optional

CONFIGURATIONS_MAX = 200_000


class Undecided(Exception):
    """Too many configurations: the history has too many unknown outcomes on one key."""


@dataclasses.dataclass
class Operation:
    """get: result is the value or None; set: argument; del: result 0 or 1; incr: result."""
    client: int
    key: str
    kind: str
    argument: Optional[str]
    result: object
    call: int             # ns, of a clock that all clients share
    ret: Optional[int]    # None: the outcome is unknown

    @property
    def unknown(self) -> bool:
        return self.ret is None

    def describe(self) -> str:
        argument = "" if self.argument is None else f" {self.argument}"
        outcome = "unknown" if self.unknown else repr(self.result)
        return f"client {self.client}: {self.kind} {self.key}{argument} -> {outcome}"


class Configuration(NamedTuple):
    value: Optional[str]
    effective: int  # bit set over operations called and not returned


class Verdict(NamedTuple):
    good: bool
    key: Optional[str] = None
    operation: Optional[Operation] = None  # the first that cannot be explained
    values: tuple = ()                     # that the key might have had just before it


def take_effect(value: Optional[str], operation: Operation):
    """(possible, next value). Unknown outcomes accept whatever the result would be."""
    known = not operation.unknown
    if operation.kind == "get":
        return not known or operation.result == value, value
    if operation.kind == "set":
        return True, operation.argument
    if operation.kind == "del":
        return not known or operation.result == (value is not None), None
    if operation.kind == "incr":
        try:
            number = int(value or 0) + 1
        except ValueError:
            return False, value
        return not known or operation.result == number, str(number)
    raise ValueError(f"unknown kind {operation.kind}")


def without_the_silent(operations: list) -> list:
    """Leaves out what says nothing: unknown reads, and unknown writes that nobody saw on a key
    where only reads would have seen them."""
    only_registers = all(o.kind in ("get", "set") for o in operations)
    seen = {o.result for o in operations if o.kind == "get" and not o.unknown}
    return [o for o in operations if not (
        o.unknown and (o.kind == "get" or
                       only_registers and o.kind == "set" and o.argument not in seen))]


def events_of(operations: list) -> list:
    """(time, returns, index), calls before returns of the same time: those overlap."""
    events = [(o.call, 0, i) for i, o in enumerate(operations)]
    events += [(o.ret, 1, i) for i, o in enumerate(operations) if not o.unknown]
    return sorted(events)


def absorb_reads(configuration: Configuration, pending: dict) -> Configuration:
    """A pending read that fits takes effect now: that changes nothing and is never worse."""
    value, effective = configuration
    for index, operation in pending.items():
        if operation.kind == "get" and operation.result == value:
            effective |= 1 << index
    return Configuration(value, effective)


def linearize_until(target: int, start: set, pending: dict) -> set:
    """The configurations reached by letting pending operations take effect until `target` has."""
    reached, seen, stack = set(), set(), list(start)
    while stack:
        configuration = absorb_reads(stack.pop(), pending)
        if configuration in seen:
            continue
        seen.add(configuration)
        if len(seen) > CONFIGURATIONS_MAX:
            raise Undecided
        if configuration.effective >> target & 1:
            reached.add(configuration)
            continue
        for index, operation in pending.items():
            if configuration.effective >> index & 1 or operation.kind == "get":
                continue
            possible, value = take_effect(configuration.value, operation)
            if possible:
                stack.append(Configuration(value, configuration.effective | 1 << index))
    return reached


def compact(configurations: set, done: int) -> set:
    """Forgets the bit of an operation that has returned."""
    return {Configuration(c.value, c.effective & ~(1 << done)) for c in configurations}


def check_key(key: str, operations: list) -> Verdict:
    operations = without_the_silent(operations)
    configurations = {Configuration(None, 0)}
    pending: dict = {}
    for _, returns, index in events_of(operations):
        if not returns:
            pending[index] = operations[index]
            continue
        reached = linearize_until(index, configurations, pending)
        if not reached:
            values = tuple(sorted({str(c.value) for c in configurations}))
            return Verdict(False, key, operations[index], values)
        del pending[index]
        configurations = compact(reached, index)
    return Verdict(True)


def check(operations: Iterable[Operation]) -> Verdict:
    """The verdict on the first key that is not linearizable, or a good one."""
    keys = collections.defaultdict(list)
    for operation in operations:
        keys[operation.key].append(operation)
    for key, of_key in sorted(keys.items()):
        verdict = check_key(key, of_key)
        if not verdict.good:
            return verdict
    return Verdict(True)


def load(path: str) -> list:
    with open(path, encoding="utf-8") as lines:
        return [Operation(**json.loads(line)) for line in lines if line.strip()]


def main() -> int:
    for path in sys.argv[1:]:
        operations = load(path)
        verdict = check(operations)
        if not verdict.good:
            print(f"{path}: NOT linearizable: {verdict.operation.describe()}; "
                  f"the key could only be one of {verdict.values}")
            return 1
        print(f"{path}: linearizable, {len(operations)} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
