"""The judge is judged first: histories known to be good and bad, and a brute-force comparison."""
import itertools
import random

from lincheck import Operation, check, take_effect


def op(kind, call, ret, argument=None, result=None, key="k", client=0):
    return Operation(client, key, kind, argument, result, call, ret)


def test_empty_and_sequential_histories_are_good():
    assert check([]).good
    assert check([op("get", 0, 1), op("set", 2, 3, "a", "OK"), op("get", 4, 5, result="a"),
                  op("del", 6, 7, result=1), op("del", 8, 9, result=0), op("get", 10, 11),
                  op("incr", 12, 13, result=1), op("incr", 14, 15, result=2),
                  op("get", 16, 17, result="2")]).good


def test_a_lost_write_is_found():
    verdict = check([op("set", 0, 1, "a", "OK"), op("get", 2, 3)])
    assert not verdict.good
    assert verdict.operation.kind == "get"
    assert verdict.values == ("a",)


def test_a_stale_read_is_found():
    assert not check([op("set", 0, 1, "a", "OK"), op("set", 2, 3, "b", "OK"),
                      op("get", 4, 5, result="a")]).good


def test_a_read_that_goes_back_is_found():
    """Both reads overlap the write, but the second began after the first had returned."""
    write = op("set", 2, 20, "b", "OK")
    assert not check([op("set", 0, 1, "a", "OK"), write, op("get", 3, 4, result="b"),
                      op("get", 5, 6, result="a")]).good
    assert check([op("set", 0, 1, "a", "OK"), write, op("get", 3, 4, result="a"),
                  op("get", 5, 6, result="b")]).good


def test_a_value_never_written_is_found():
    assert not check([op("set", 0, 1, "a", "OK"), op("get", 2, 3, result="c")]).good


def test_a_doubled_increment_is_found():
    assert not check([op("incr", 0, 1, result=1), op("incr", 2, 3, result=3)]).good
    assert not check([op("incr", 0, 10, result=1), op("incr", 1, 9, result=1)]).good
    assert not check([op("incr", 0, 1, result=1), op("incr", 2, 3, result=2),
                      op("get", 4, 5, result="3")]).good


def test_an_unknown_write_may_take_effect_late_or_never():
    unknown = op("set", 0, None, "a")
    assert check([unknown, op("get", 10, 11), op("get", 12, 13, result="a")]).good
    assert check([unknown, op("get", 10, 11)]).good
    assert not check([unknown, op("get", 1, 2, result="a"), op("get", 3, 4)]).good
    assert check([op("incr", 0, None), op("incr", 1, 2, result=2)]).good
    assert not check([op("incr", 0, None), op("incr", 1, 2, result=1),
                      op("incr", 3, 4, result=4)]).good


def test_an_unknown_write_is_seen_by_a_delete():
    unknown = op("set", 0, None, "a")
    assert check([unknown, op("del", 1, 2, result=1)]).good
    assert not check([op("del", 1, 2, result=1), op("set", 3, 4, "a", "OK")]).good


def test_keys_are_apart():
    verdict = check([op("set", 0, 1, "a", "OK", key="x"), op("get", 2, 3, key="y"),
                     op("get", 4, 5, key="x")])
    assert not verdict.good
    assert verdict.key == "x"


def brute_force(operations) -> bool:
    """Every order of every choice of the unknown ones: for a handful of operations."""
    known = [o for o in operations if not o.unknown]
    unknown = [o for o in operations if o.unknown]
    for size in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, size):
            if any(explains(order) for order in itertools.permutations(known + list(chosen))):
                return True
    return False


def explains(order) -> bool:
    value = None
    for i, operation in enumerate(order):
        if any(later.ret is not None and later.ret < operation.call for later in order[i + 1:]):
            return False
        possible, value = take_effect(value, operation)
        if not possible:
            return False
    return True


def random_history(rng):
    operations = []
    for client in range(rng.randint(3, 6)):
        kind = rng.choice(["get", "set", "del", "incr"])
        call = rng.randint(0, 12)
        ret = None if rng.random() < 0.2 else call + rng.randint(1, 8)
        argument = rng.choice("12") if kind == "set" else None
        result = {"get": rng.choice([None, "1", "2"]), "set": "OK", "del": rng.randint(0, 1),
                  "incr": rng.randint(1, 3)}[kind]
        operations.append(op(kind, call, ret, argument, result, client=client))
    return operations


def test_it_agrees_with_brute_force():
    rng = random.Random(7)
    verdicts = {True: 0, False: 0}
    for _ in range(1500):
        history = random_history(rng)
        expected = brute_force(history)
        verdicts[expected] += 1
        assert check(history).good == expected, [o.describe() for o in history]
    assert min(verdicts.values()) > 150, "the random histories decide nothing"


def test_a_long_concurrent_history_is_quick():
    """Eight clients on one key against a real register: 4000 operations with many overlaps."""
    rng = random.Random(3)
    value, time, operations = None, 0, []
    for number in range(4000):
        time += 1
        client = number % 8
        call, ret = time * 10 - rng.randint(1, 30), time * 10 + rng.randint(1, 30)
        if rng.random() < 0.5:
            operations.append(op("get", call, ret, result=value, client=client))
        else:
            value = str(number)
            operations.append(op("set", call, ret, value, "OK", client=client))
    assert check(operations).good
    reads = [o for o in operations if o.kind == "get"]
    reads[len(reads) // 2].result = "0"
    assert not check(operations).good
