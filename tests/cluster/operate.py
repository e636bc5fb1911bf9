"""operate.py - the commands of an operator, and waiting for what they ask for."""
import json
import subprocess

from cluster import HOLON
from waiting import until


def run_holon(node, *words) -> tuple:
    """(exit code, output and errors) of `holon WORDS --admin` of that node."""
    done = subprocess.run([HOLON, *words, "--admin", f"{node.host}:{node.admin}"], capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def holon(node, *words, code=0) -> str:
    got, text = run_holon(node, *words)
    assert got == code, text
    return text


def token(via, *words) -> str:
    """`holon node token` or `replace NAME`: what it prints."""
    done = subprocess.run([HOLON, "node", *words, "--admin", f"{via.host}:{via.admin}"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "holon start" in done.stderr
    return done.stdout.strip()


def plan(via) -> dict:
    return json.loads(via.http("/plan")[1])


def of_nodes(via, field: str) -> dict:
    """name -> replicas, leads, ... of all nodes."""
    return {node["name"]: node[field] for node in via.status()["nodes"]}


def loads(via) -> dict:
    return of_nodes(via, "replicas")


def is_settled(via, nodes) -> bool:
    """Those are the nodes, and nothing moves or should."""
    shown = plan(via)
    return set(loads(via)) == {node.name for node in nodes} and shown["left"] == 0 and not shown["next"]


def wait_settled(via, nodes, seconds: float = 120) -> None:
    until("nothing moves", lambda: is_settled(via, nodes), seconds)
