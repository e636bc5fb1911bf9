"""The judges of test_transactions.py are judged: against one redis-server, where every transaction is right, they
find nothing, and what is planted they find."""
import signal
import time

import pytest

import races
import resp
from bank import Bank
from redis_server import RedisServer, is_missing
from storm import Storm, pairs_over
from waiting import observe, until

pytestmark = pytest.mark.skipif(is_missing(), reason="redis-server is not installed")

ENOUGH = 100


@pytest.fixture(scope="module")
def server():
    made = RedisServer()
    yield made
    made.end()


class SpoiltClient(resp.Client):
    """Loses connections before EXEC is sent, if its door says so, and knows snapshots, which are what is there now."""

    def __init__(self, door: "SpoiltDoor", *where):
        super().__init__(*where)
        self.door = door

    def call(self, *arguments):
        return "0123456789abcdef" if arguments == ("HOLON.SNAPSHOT", "OPEN") else super().call(*arguments)

    def pipeline(self, commands) -> list:
        if self.door.loses and commands[-1] == ("EXEC",):
            raise ConnectionError("lost, and nothing was sent")
        if commands[-1] != ("HOLON.SNAPSHOT", "CLOSE"):
            return super().pipeline(commands)
        if self.door.snapshots_go:
            return [resp.ErrorReply("SNAPSHOTGONE planted")] * len(commands)
        return [super(SpoiltClient, self).call(*commands[0])] * (len(commands) - 1) + ["OK"]


class SpoiltDoor:
    name = "spoilt"

    def __init__(self, server):
        self.server = server
        self.loses, self.snapshots_go = False, False

    def client(self, timeout: float) -> SpoiltClient:
        return SpoiltClient(self, self.server.redis, timeout)


def made_bank(door, **more):
    made = Bank([door, door, door], **more).start()
    goes_on(made)
    yield made
    made.finish()


@pytest.fixture
def bank(server):
    assert server.call("FLUSHALL") == "OK"
    yield from made_bank(server)


@pytest.fixture
def door(server):
    return SpoiltDoor(server)


@pytest.fixture
def spoilt(server, door):
    """A bank, through `door`."""
    assert server.call("FLUSHALL") == "OK"
    yield from made_bank(door, snapshots=True)


@pytest.fixture
def impatient(server):
    assert server.call("FLUSHALL") == "OK"
    yield from made_bank(server, timeout=0.5)


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
    server.call("DECRBY", bank.movers[2].counter.key, 1)
    assert found(bank, "was lost")


def test_a_transfer_done_twice_is_found(server, bank):
    server.call("INCR", bank.movers[2].counter.key)
    assert found(bank, "done twice")


def lose_transfers(bank: Bank, door: SpoiltDoor) -> None:
    """Every mover has some of unknown outcome, none of which was done."""
    door.loses = True
    until("all have lost some", lambda: all(mover.unknown >= 2 for mover in bank.movers), 20)
    door.loses = False
    goes_on(bank)
    assert bank.wrong == []


def test_a_transfer_done_twice_after_an_unknown_one_is_found(server, spoilt, door):
    lose_transfers(spoilt, door)
    server.call("INCR", spoilt.movers[2].counter.key)
    assert found(spoilt, "done twice")


def test_what_was_lost_was_done_once_or_not(server, spoilt, door):
    lose_transfers(spoilt, door)
    spoilt.finish()
    assert sum(spoilt.audit(server).values()) == spoilt.transfers
    first = next(counter for counter in spoilt.counters.values() if counter.known > 0)
    assert first not in [mover.counter for mover in spoilt.movers]
    server.call("INCR", first.key)  # the server did it, and the answer was lost
    assert spoilt.audit(server)[first.key] == first.known + 1
    server.call("INCR", first.key)
    with pytest.raises(AssertionError, match="transfers"):
        spoilt.audit(server)


def test_a_snapshot_that_goes_is_found_once_all_is_healed(spoilt, door):
    door.snapshots_go = True
    until("snapshots go", lambda: spoilt.refusals["SNAPSHOTGONE planted"] >= 5, 20)
    assert spoilt.wrong == [] and set(spoilt.reads_by_kind) == {"MGET", "MULTI", "snapshot"}
    spoilt.say_healed()
    assert found(spoilt, "is gone, though all was healed")


def lost(bank: Bank) -> int:
    return sum(client.lost for client in [*bank.movers, *bank.readers])


def test_who_is_not_answered_is_found_once_all_is_healed(server, impatient):
    server.process.send_signal(signal.SIGSTOP)
    try:
        before = lost(impatient)
        until("some give up", lambda: lost(impatient) > before + 5, 20)
        assert impatient.wrong == []
        healed = impatient.say_healed()
        assert found(impatient, "was not answered within")
        assert time.monotonic() >= healed + impatient.timeout
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_who_waits_is_given_all_the_time_from_the_healing_on(server, impatient):
    """Also if it began to wait before; and connections that break are no violation."""
    def nothing_is_wrong():
        assert impatient.wrong == []

    impatient.timeout = 3
    server.process.send_signal(signal.SIGSTOP)
    try:
        observe(2, nothing_is_wrong)
        impatient.say_healed()
        observe(2, nothing_is_wrong)
    finally:
        server.process.send_signal(signal.SIGCONT)
    goes_on(impatient)
    server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    goes_on(impatient)
    nothing_is_wrong()
    assert lost(impatient) > 0


def test_a_difference_after_the_end_is_found(server, bank):
    bank.finish()
    server.call("DECR", bank.movers[1].counter.key)
    with pytest.raises(AssertionError):
        bank.audit(server)


def test_what_a_backup_holds_is_found_wrong(server, bank):
    """Too old, too new, of two instants, incomplete."""
    floors = bank.floors()
    keys = [*bank.accounts, *floors]
    values = server.call("MGET", *keys)
    most = bank.most()
    goes_on(bank)
    bank.judge(values, floors, most)
    assert bank.wrong == []
    later = server.call("MGET", *keys)
    for wrong, words in ((later, "transfers"), (values[:len(bank.accounts) - 1] + later[len(bank.accounts) - 1:], ""),
                         ([None] + values[1:], "a read was answered"),
                         (values[:-1] + [None], "after somebody had seen")):
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
