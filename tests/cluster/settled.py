"""settled.py - whether transactions have left anything behind: rows in partitions, locks that others wait for."""
import re
import time

from operate import run_holon
from waiting import until

SETTLED_SECONDS = 30
AT_ONCE_SECONDS = 5  # beside another test


def unsettled(node) -> int:
    """Transactions that this node knows of and that are not over."""
    text = node.http("/metrics")[1]
    found = re.findall(r"^holon_txn_unsettled(?:\{[^}]*\})? (\d+)$", text, re.M)
    assert found, f"no holon_txn_unsettled in /metrics, but {sorted(set(re.findall(r'^holon_txn_[a-z_]*', text, re.M)))}"
    return sum(map(int, found))


def wait_settled(nodes, seconds: float = SETTLED_SECONDS) -> None:
    """No node has an open transaction, after so long for all of them together."""
    deadline = time.monotonic() + seconds
    for node in nodes:
        until(f"{node} has no open transactions", lambda n=node: unsettled(n) == 0,
              max(0.0, deadline - time.monotonic()))


def wait_sound(nodes) -> None:
    """No node complains."""
    for node in nodes:
        until(f"{node} has no problems", lambda n=node: not n.status().get("problems"), SETTLED_SECONDS)
        until("`holon status` finds nothing wrong", lambda n=node: run_holon(n, "status")[0] == 0, SETTLED_SECONDS)


def nobody_waits(nodes, keys) -> None:
    """Every key, all are numbers, can be read and written in one transaction, by every node, at once."""
    for node in nodes:
        with node.client(timeout=AT_ONCE_SECONDS) as client:
            replies = client.pipeline([("MULTI",), *(("EXISTS", key) for key in keys),
                                       *(("INCRBY", key, 0) for key in keys), ("EXEC",)])
            assert isinstance(replies[-1], list) and all(isinstance(reply, int) for reply in replies[-1]), replies[-1]
