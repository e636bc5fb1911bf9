"""The judges of test_transactions.py are judged: against one redis-server, where every transaction is right, they
find nothing, and what is planted they find."""
import pytest

import races
from bank import Bank
from redis_server import RedisServer, is_missing
from storm import Storm, pairs_over
from waiting import until

pytestmark = pytest.mark.skipif(is_missing(), reason="redis-server is not installed")

ENOUGH = 100


@pytest.fixture(scope="module")
def server():
    made = RedisServer()
    yield made
    made.end()


@pytest.fixture
def bank(server):
    assert server.call("FLUSHALL") == "OK"
    made = Bank([server, server, server]).start()
    goes_on(made)
    yield made
    made.finish()


def goes_on(bank: Bank) -> None:
    transfers, reads = bank.transfers + ENOUGH, bank.reads + ENOUGH
    until("transfers and reads", lambda: bank.transfers >= transfers and bank.reads >= reads, 20)


def test_a_right_server_is_found_right(server, bank):
    goes_on(bank)
    bank.finish()
    counters = bank.audit(server)
    assert sum(counters.values()) == bank.transfers > 0 and bank.wrong == []
    assert sum(mover.conflicts for mover in bank.movers) > 0, "nobody was ever in the way of another"
    assert all(mover.unknown == 0 for mover in bank.movers)


def found(bank: Bank, words: str) -> bool:
    return until(f"{words!r} is found", lambda: any(words in text for text in bank.wrong), 10)


def test_money_that_appears_is_found(server, bank):
    server.call("INCRBY", bank.accounts[7], 1)
    assert found(bank, "the sum is")


def test_half_a_transfer_is_found(server, bank):
    server.call("DECRBY", bank.accounts[7], 5)
    goes_on(bank)
    server.call("INCRBY", bank.accounts[8], 5)
    assert found(bank, "the sum is")


def test_a_lost_transfer_is_found(server, bank):
    server.call("DECRBY", bank.movers[2].counter, 1)
    assert found(bank, "was lost")


def test_a_transfer_done_twice_is_found(server, bank):
    server.call("INCR", bank.movers[2].counter)
    assert found(bank, "done twice")


def test_a_difference_after_the_end_is_found(server, bank):
    bank.finish()
    server.call("DECR", bank.movers[1].counter)
    with pytest.raises(AssertionError):
        bank.audit(server)


def test_what_a_backup_holds_is_found_wrong(server, bank):
    """Too old, too new, of two instants, incomplete."""
    floors = bank.floors()
    values = server.call("MGET", *bank.accounts, *bank.told)
    most = bank.sent()
    goes_on(bank)
    bank.judge(values, floors, most)
    assert bank.wrong == []
    later = server.call("MGET", *bank.accounts, *bank.told)
    for wrong, words in ((later, "transfers"), (values[:len(bank.accounts) - 1] + later[len(bank.accounts) - 1:], ""),
                         (values[:-1] + [None], "a read was answered")):
        bank.wrong.clear()
        bank.judge(wrong, floors, most)
        assert any(words in text for text in bank.wrong), bank.wrong
    bank.wrong.clear()
    bank.judge(values, bank.floors(), most)
    assert any("after somebody had seen" in text for text in bank.wrong)


def test_connections_that_break_are_of_unknown_outcome(server, bank):
    """The server closes all of them, again and again."""
    for _ in range(10):
        goes_on(bank)
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    goes_on(bank)
    bank.finish()
    bank.audit(server)
    assert sum(mover.lost for mover in bank.movers) > 0
    assert sum(mover.unknown for mover in bank.movers) > 0


@pytest.mark.parametrize("race", races.RACES, ids=lambda race: race.name)
def test_races_of_a_right_server(server, race):
    races.run(race, [server, server, server])


def test_what_is_not_one_command_is_seen_in_parts(server):
    class Torn(races.MsetAndMget):
        @staticmethod
        def write(client, number):
            for key in races.KEYS:
                client.call("SET", key, number)

    with pytest.raises(AssertionError, match="seen: "):
        races.run(Torn, [server, server, server], looks=2000, writes=2000)


def test_a_storm_is_judged(server):
    assert server.call("FLUSHALL") == "OK"
    pairs = pairs_over(64, 8, "storm")
    storm = Storm(server, [pairs[:4], pairs[4:]])
    until("answers", lambda: len(storm.answers) > 500, 10)
    storm.finish()
    assert storm.errors == [] and storm.broken == []
    with server.client() as client:
        for pair in pairs:
            storm.judge_pair(pair, client.call("MGET", *pair))
        for spoilt in (("SET", pairs[0][0], 1), ("DEL", *pairs[0]), ("MSET", pairs[0][0], 10**6, pairs[0][1], 10**6)):
            client.call(*spoilt)
            with pytest.raises(AssertionError):
                storm.judge_pair(pairs[0], client.call("MGET", *pairs[0]))
