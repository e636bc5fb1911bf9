"""Locks over three real nodes: whoever lost one writes no more under it, those who wait get it in their order and at
once, and neither dead clients nor dead nodes break that."""
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import resp
from waiting import observe, until

HERE = pathlib.Path(__file__).resolve().parent
ATTEMPT_SECONDS = 0.4  # that a waiter's node may be unheard of, and more
TICKET_SECONDS = 3  # after which a waiter that does not ask is gone
NOTIFIED_MEDIAN = 0.05  # of a shared machine; without notification it would be an attempt's 250 ms / 2


def info(client, name) -> dict:
    reply = client.call("HOLON.LOCKINFO", name)
    assert isinstance(reply, list), reply
    return dict(zip(reply[::2], reply[1::2]))


def wait_for_waiters(client, name, count) -> None:
    until(f"{count} wait for {name}", lambda: info(client, name)["waiters"] == count, 10)


class Waiter:
    """A client in a thread of its own that waits for a lock, and notes when it got it."""

    def __init__(self, node, name, ttl=10000, wait=0, command=None):
        self.client = node.client(timeout=60)
        self.command = command or ("HOLON.LOCK", name, ttl, "WAIT", wait)
        self.reply, self.at = None, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.reply = self.client.call(*self.command)
        except (OSError, ConnectionError, ValueError) as error:
            self.reply = error
        self.at = time.monotonic()

    def answer(self, seconds: float = 20):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"{self.command} is not answered within {seconds} s"
        return self.reply


def lost(reply) -> bool:
    return "LOCKLOST" in reply


class Holder:
    """lock_holder.py, as a process."""

    def __init__(self, node, name, ttl):
        self.process = subprocess.Popen([sys.executable, str(HERE / "lock_holder.py"), str(node.redis), name, str(ttl)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE,
                                        env={**os.environ, "PYTHONPATH": str(HERE)})
        self.token = int(self.process.stdout.readline())

    def ask(self, how, value):
        self.process.stdin.write(f"{how} {value}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def holder():
    made = []

    def make(*arguments):
        made.append(Holder(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.end()


# --- 1: a paused holder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["single", "multi"])
def test_a_stopped_holder_does_not_write_late(three, holder, how):
    first = holder(three[0], "jobs", 1000)
    first.ask(how, "first")
    assert "LOCKLOST" not in first.answer()
    first.process.send_signal(signal.SIGSTOP)
    first.ask(how, "late")  # it lies in the pipe: what it does when it goes on
    second = holder_of(three[1], "jobs")
    assert second.token > first.token
    with three[1].client() as client:
        assert client.call("HOLON.GUARD", "jobs", second.token) == "OK"
        assert client.call("SET", "account", "second") == "OK"
        first.process.send_signal(signal.SIGCONT)
        assert lost(first.answer())
        assert client.call("GET", "account") == "second"
        assert client.call("HOLON.UNLOCK", "jobs", second.token) == 1
        # And what a lock is worth that is only asked: the same client, the same moment, no guard.
        first.ask("bare", "late")
        assert first.answer() == "'OK'"
        assert client.call("GET", "account") == "late"


class Taken:
    def __init__(self, token):
        self.token = token


def holder_of(node, name, ttl=10000) -> Taken:
    with node.client() as client:
        token = client.call("HOLON.LOCK", name, ttl, "WAIT", 5000)
    assert isinstance(token, int), token
    return Taken(token)


def test_a_guard_over_partitions_holds_all_of_a_transaction_back(three):
    with three[0].client() as client:
        token = client.call("HOLON.LOCK", "far", 10000)
        keys = [f"k{i}" for i in range(20)]
        client.call("HOLON.GUARD", "far", token)
        assert client.call("MSET", *[part for key in keys for part in (key, "1")]) == "OK"
        assert client.call("HOLON.UNLOCK", "far", token) == 1
        for command in (["MSET"] + [part for key in keys for part in (key, "2")], ["DEL"] + keys, ["MGET"] + keys,
                        ["RENAME", "k0", "k1"], ["GET", "k3"], ["INCR", "k4"], ["FLUSHALL"]):
            client.call("HOLON.GUARD", "far", token)
            assert lost(client.call(*command)), command
        assert client.call("MGET", *keys) == ["1"] * 20  # and the guard was used up


# --- 2: fairness -----------------------------------------------------------------------------------------------------


def test_waiters_are_served_in_their_order(three):
    with three[0].client() as client:
        token = client.call("HOLON.LOCK", "queue", 20000)
        waiters = []
        for i in range(12):
            waiters.append(Waiter(three[i % 3], "queue"))
            wait_for_waiters(client, "queue", i + 1)
        assert client.call("HOLON.LOCK", "queue", 1000) is None
        assert client.call("HOLON.UNLOCK", "queue", token) == 1
        tokens = [token]
        for waiter in waiters:
            tokens.append(waiter.answer())
            later = [w for w in waiters if w.at is not None]
            assert len(later) == len(tokens) - 1, "somebody was served before its turn"
            assert client.call("HOLON.LOCK", "queue", 1000) is None  # nobody overtakes
            assert client.call("HOLON.UNLOCK", "queue", tokens[-1]) == 1
        assert tokens == sorted(set(tokens))
        assert info(client, "queue") == {"permits": 0, "holders": [], "waiters": 0}


def test_a_semaphore_has_so_many_holders(three):
    with three[0].client() as client:
        tokens = [client.call("HOLON.SEMAPHORE", "pool", 3, 20000) for _ in range(3)]
        assert client.call("HOLON.SEMAPHORE", "pool", 3, 20000) is None
        assert "3 permits" in client.call("HOLON.SEMAPHORE", "pool", 4, 20000)
        waiters = []
        for i in range(4):
            waiters.append(Waiter(three[i % 3], "pool", command=("HOLON.SEMAPHORE", "pool", 3, 20000, "WAIT", 0)))
            wait_for_waiters(client, "pool", i + 1)
        for i, waiter in enumerate(waiters):
            assert client.call("HOLON.UNLOCK", "pool", tokens[i]) == 1
            tokens.append(waiter.answer())
            assert len(info(client, "pool")["holders"]) == 3
        assert tokens == sorted(set(tokens))


# --- 3: notification -------------------------------------------------------------------------------------------------


def test_who_waits_is_told_at_once(three):
    """Of a lock that is given back, and of one whose time is over."""
    late = []
    with three[0].client() as client:
        for i in range(21):
            token = client.call("HOLON.LOCK", "bell", 20000)
            waiter = Waiter(three[i % 3], "bell")
            wait_for_waiters(client, "bell", 1)
            observe(0.013 * (i % 7), lambda: None, 0.001)  # at any time of an attempt
            began = time.monotonic()
            assert client.call("HOLON.UNLOCK", "bell", token) == 1
            client.call("HOLON.UNLOCK", "bell", waiter.answer())
            late.append(waiter.at - began)
        assert sorted(late)[len(late) // 2] < NOTIFIED_MEDIAN, late
        late = []
        for i in range(9):
            began = time.monotonic()
            client.call("HOLON.LOCK", "bell", 700)
            waiter = Waiter(three[i % 3], "bell")
            client.call("HOLON.UNLOCK", "bell", waiter.answer())
            assert waiter.at - began >= 0.69
            late.append(waiter.at - began - 0.7)
        assert sorted(late)[len(late) // 2] < NOTIFIED_MEDIAN, late


def test_waiting_ends_when_it_was_said_to(three):
    with three[0].client() as client:
        client.call("HOLON.LOCK", "busy", 20000)
        began = time.monotonic()
        assert client.call("HOLON.LOCK", "busy", 1000, "WAIT", 400) is None
        assert 0.4 <= time.monotonic() - began < 2
        assert info(client, "busy")["waiters"] == 0


# --- 4: nodes die ----------------------------------------------------------------------------------------------------


class Contender(threading.Thread):
    """Takes a lock again and again, and writes the token that it holds under it; notes what was accepted."""

    def __init__(self, nodes, name, stop):
        super().__init__(daemon=True)
        self.nodes, self.name, self.stop = nodes, name, stop
        self.accepted, self.wrong, self.served = [], [], 0

    def run(self):
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                with self.nodes[turn % len(self.nodes)].client(timeout=20) as client:
                    while not self.stop.is_set():
                        self.once(client)
            except (OSError, ValueError):
                self.stop.wait(0.05)

    def once(self, client):
        token = client.call("HOLON.LOCK", self.name, 2000, "WAIT", 3000)
        if not isinstance(token, int):
            return
        self.served += 1
        client.call("HOLON.GUARD", self.name, token)
        client.call("MULTI")
        client.call("GETSET", "last:" + self.name, token)
        client.call("INCR", "count:" + self.name)
        reply = client.call("EXEC")
        if isinstance(reply, list):
            self.accepted.append(token)
            if reply[0] is not None and int(reply[0]) >= token:
                self.wrong.append((int(reply[0]), token))
        client.call("HOLON.UNLOCK", self.name, token)


def test_nodes_die_and_one_at_a_time_writes_on(three):
    stop = threading.Event()
    contenders = [Contender(list(three), "site", stop) for _ in range(6)]
    for contender in contenders:
        contender.start()
    until("all were served", lambda: all(c.served > 0 for c in contenders), 20)
    for _ in range(3):
        leader = until("the lock has a leader", lambda: three.leader_of("site", via=three[0])
                       or three.leader_of("site", via=three[1]), 20)
        leader.kill()
        before = sum(c.served for c in contenders)
        until("it goes on without its leader", lambda b=before: sum(c.served for c in contenders) > b + 5, 20)
        leader.start().wait_ready()
        three.wait_healthy(30)
        before = [c.served for c in contenders]
        until("all are served again", lambda b=before: all(c.served > n for c, n in zip(contenders, b)), 30)
    stop.set()
    for contender in contenders:
        contender.join(30)
        assert not contender.is_alive()
        assert contender.wrong == []
    accepted = [token for contender in contenders for token in contender.accepted]
    assert len(set(accepted)) == len(accepted)
    with three[0].client() as client:
        assert int(client.call("GET", "count:site")) >= len(accepted)
        assert int(client.call("GET", "last:site")) >= max(accepted)


def test_waiters_outlive_the_leader(three):
    via, leader = until("a leader", lambda: next(((n, three.leader_of("stay", via=n)) for n in three
                                                  if three.leader_of("stay", via=n) not in (None, n)), None), 20)
    with via.client(timeout=60) as client:
        token = client.call("HOLON.LOCK", "stay", 60000)
        waiters = []
        for i in range(3):
            waiters.append(Waiter(via, "stay", 60000))
            wait_for_waiters(client, "stay", i + 1)
        leader.kill()
        until("there is another leader", lambda: client.call("HOLON.RENEW", "stay", token, 60000) == 1, 20)
        def all_wait():
            assert info(client, "stay")["waiters"] == 3

        observe(TICKET_SECONDS + 0.5, all_wait)  # whoever does not ask again is forgotten by then
        for waiter in waiters:
            assert client.call("HOLON.UNLOCK", "stay", token) == 1
            reply = waiter.answer()
            assert isinstance(reply, int) and reply > token
            token = reply
        assert client.call("HOLON.UNLOCK", "stay", token) == 1


# --- 5: clients die --------------------------------------------------------------------------------------------------


def test_a_dead_holder_holds_for_its_time(three):
    holder = three[0].client()
    token = holder.call("HOLON.LOCK", "short", 1500)
    began = time.monotonic()
    holder.close()
    with three[1].client() as client:
        assert client.call("HOLON.LOCK", "short", 1000) is None
        assert client.call("HOLON.LOCK", "short", 1000, "WAIT", 0) > token
        assert 1.3 < time.monotonic() - began < 4


def test_a_dead_waiter_is_passed_over(three):
    with three[0].client() as client:
        token = client.call("HOLON.LOCK", "gap", 20000)
        dead = Waiter(three[1], "gap")
        wait_for_waiters(client, "gap", 1)
        alive = Waiter(three[2], "gap")
        wait_for_waiters(client, "gap", 2)
        dead.client.socket.shutdown(2)
        wait_for_waiters(client, "gap", 1)  # its node saw it go
        began = time.monotonic()
        assert client.call("HOLON.UNLOCK", "gap", token) == 1
        assert isinstance(alive.answer(), int)
        assert alive.at - began < 1


def test_the_waiters_of_a_dead_node_are_passed_over(three):
    leader = until("a leader", lambda: three.leader_of("gone", via=three[0]), 20)
    other, third = three.others(leader)
    with other.client(timeout=60) as client:
        token = client.call("HOLON.LOCK", "gone", 60000)
        Waiter(third, "gone")
        wait_for_waiters(client, "gone", 1)
        alive = Waiter(other, "gone")
        wait_for_waiters(client, "gone", 2)
        third.kill()
        # What the dead node had asked last still lies at the leader, and might get the lock for its whole time.
        observe(ATTEMPT_SECONDS, lambda: None)
        began = time.monotonic()
        assert client.call("HOLON.UNLOCK", "gone", token) == 1
        assert isinstance(alive.answer(20), int)
        assert alive.at - began < TICKET_SECONDS + 2


def test_what_was_forgotten_leaves_nothing_behind(three):
    """Rows of locks whose time is over go away by themselves, and none of them is a key."""
    with three[0].client() as client:
        for i in range(50):
            client.call("HOLON.LOCK", f"left:{i}", 300)
        assert client.call("DBSIZE") == 0
        assert client.call("KEYS", "*") == []
        token = client.call("HOLON.LOCK", "kept", 20000)
        assert client.call("FLUSHALL") == "OK"
        assert client.call("SWAPDB", 0, 1) == "OK"
        assert client.call("HOLON.RENEW", "kept", token, 20000) == 1
