"""The checker of appends.py is held to histories that are known to be good or bad, to brute force, and to one
redis-server."""
import itertools
import random

import pytest

from appends import DONE, FAILED, UNKNOWN, Appenders, Txn, check
from redis_server import RedisServer, is_missing
from waiting import until

RANDOM_HISTORIES = 3000


def txn(call, ret, *ops, status=DONE) -> Txn:
    """ops: "x+1" appends, "x=1,2" read that."""
    made = []
    for op in ops:
        key, what = op[0], op[2:]
        made.append(("append", key, what) if op[1] == "+" else ("read", key, tuple(what.split(",")) if what else ()))
    return Txn(made, call, ret, status)


GOOD = {
    "one after the other": ([txn(0, 1, "x+1", "y+2"), txn(2, 3, "x=1", "y=2")], {"x": "1", "y": "2"}),
    "at the same time, either is first": ([txn(0, 5, "x+1"), txn(1, 4, "x=")], {"x": "1"}),
    "its own appends": ([txn(0, 1, "x=", "x+1", "x=1", "x+2", "x=1,2")], {"x": "1,2"}),
    "of unknown outcome, done late": ([txn(0, None, "x+1", status=UNKNOWN), txn(2, 3, "x="), txn(4, 5, "x=1")], {"x": "1"}),
    "of unknown outcome, never done": ([txn(0, None, "x+1", "y+2", status=UNKNOWN), txn(2, 3, "x=")], {"x": "", "y": ""}),
    "refused": ([txn(0, 1, "x+1", status=FAILED), txn(2, 3, "x=")], {"x": ""}),
}
BAD = {
    "lost": ([txn(0, 1, "x+1", "y+2")], {"x": "1", "y": ""}, "lost"),
    "twice": ([txn(0, 1, "x+1")], {"x": "1,1"}, "twice"),
    "half": ([txn(0, None, "x+1", "y+2", status=UNKNOWN)], {"x": "1", "y": ""}, "half"),
    "refused and done": ([txn(0, 1, "x+1", status=FAILED)], {"x": "1"}, "refused"),
    "stale": ([txn(0, 1, "x+1"), txn(2, 3, "x=")], {"x": "1"}, "cycle"),
    "back in time": ([txn(0, 9, "x+1"), txn(1, 2, "x=1"), txn(3, 4, "x=")], {"x": "1"}, "cycle"),
    "write skew": ([txn(0, 9, "x=", "y+1"), txn(0, 9, "y=", "x+2")], {"x": "2", "y": "1"}, "cycle"),
    "a torn read": ([txn(0, 9, "x+1", "y+2"), txn(0, 9, "x=1", "y=")], {"x": "1", "y": "2"}, "cycle"),
    "a long fork": ([txn(0, 9, "x+1"), txn(0, 9, "y+2"), txn(0, 9, "x=1", "y="), txn(0, 9, "x=", "y=2")],
                    {"x": "1", "y": "2"}, "cycle"),
    "two orders of two keys": ([txn(0, 9, "x+1", "y+2"), txn(0, 9, "x+3", "y+4")], {"x": "1,3", "y": "4,2"}, "cycle"),
    "two orders of one key": ([txn(0, 9, "x+1"), txn(0, 9, "x+2"), txn(0, 9, "x=1"), txn(0, 9, "x=2")], {"x": "1,2"},
                              "another order"),
    "in the middle of a transaction": ([txn(0, 9, "x+1", "x+2"), txn(0, 9, "x=1")], {"x": "1,2"}, "cycle"),
    "not its own": ([txn(0, 9, "x+1", "x=")], {"x": "1"}, "own"),
    "a lost update under WATCH": ([txn(0, 9, "x=", "x+1"), txn(0, 9, "x=", "x+2")], {"x": "1,2"}, "cycle"),
}


def values(final) -> dict:
    return {key: tuple(value.split(",")) if value else () for key, value in final.items()}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name):
    history, final = GOOD[name]
    assert check(history, values(final)) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name):
    history, final, why = BAD[name]
    problems = check(history, values(final))
    assert problems and why in problems[0], problems


def explained(history, final) -> bool:
    """Brute force: some order that respects real time explains every read and the end."""
    for order in itertools.permutations(history):
        if any(late.ret < early.call for early, late in itertools.combinations(order, 2)):
            continue
        state: dict = {key: () for key in final}
        good = True
        for one in order:
            for kind, key, what in one.ops:
                if kind == "append":
                    state[key] += (what,)
                else:
                    good = good and state[key] == what
        if good and state == final:
            return True
    return False


def test_the_checker_agrees_with_brute_force():
    rng, good = random.Random(1), 0
    for _ in range(RANDOM_HISTORIES):
        history, state = [], {"x": (), "y": ()}
        for number in range(rng.choice((3, 4))):  # done in this order, but not seen quite so
            ops = []
            for part in range(rng.randrange(1, 4)):
                key = rng.choice("xy")
                if rng.random() < 0.5:
                    ops.append(("append", key, f"{number}.{part}"))
                    state[key] += (f"{number}.{part}",)
                else:
                    cut = len(state[key]) if rng.random() < 0.9 else rng.randrange(len(state[key]) + 1)
                    ops.append(("read", key, state[key][:cut]))
            call = number + rng.uniform(-1.5, 1.5)
            history.append(Txn(ops, call, call + rng.uniform(0.1, 3)))
        wanted = explained(history, state)
        good += wanted
        assert (check(history, state) == []) == wanted, (history, state)
    assert RANDOM_HISTORIES * 0.2 < good < RANDOM_HISTORIES * 0.9, good


@pytest.mark.skipif(is_missing(), reason="redis-server is not installed")
def test_a_right_server_is_found_right_and_a_wrong_one_is_not():
    server = RedisServer()
    try:
        run = Appenders([server]).start()
        until("transactions", lambda: run.done > 3500, 30)
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until("more of them", lambda: run.done > 4000, 30)
        run.finish()
        run.judge(server)
        print(run.summary())
        assert {one.status for one in run.history} == {DONE, FAILED, UNKNOWN} and len(run.eras) > 2
        key = next(key for key in run.eras[0])
        value = server.call("GET", key)
        for spoilt in (value[:value.rindex(" ", 0, -1) + 1], value + value.split(" ")[0] + " ", value + "new "):
            server.call("SET", key, spoilt)
            with pytest.raises(AssertionError, match="not strictly serializable"):
                run.judge(server)
    finally:
        server.end()
