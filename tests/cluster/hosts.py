"""hosts.py - machines with addresses of their own: a bridge, and a network namespace for each node.
A cut loses packets, as a broken link does, in one direction or in both. Names and addresses hold
the process id of the test, so that several run side by side; what a killed one left is removed.

    hosts = Hosts()
    hosts.place(node)              before it starts: its address, its namespace, --insecure
    hosts.cut_one_way(a, b)        b hears nothing of a
    hosts.cut(a, b); hosts.isolate(a, nodes); hosts.heal()
    hosts.close()"""
import os
import pathlib
import re
import shutil
import subprocess

NAMESPACE = re.compile(r"holon-(\d+)-\w+")
LINK = re.compile(r"h(?:b|v)(\d+)(?:x\d+)?")


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def what_is_missing() -> str:
    """Why there can be no such hosts here, empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            return f"there is no {program}: scripts/install-packages --ci"
    name = f"holon-{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", name)
        run("ip", "netns", "exec", name, "iptables", "-w", "-A", "INPUT", "-s", "10.0.0.1", "-j", "DROP")
        run("ip", "link", "add", f"hb{os.getpid()}", "type", "bridge")
        run("ip", "link", "del", f"hb{os.getpid()}")
        return ""
    except RuntimeError as error:
        return f"no network namespaces here: {error}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)


def _is_running(pid: str) -> bool:
    return pathlib.Path(f"/proc/{pid}").exists()


def _remove_leftovers() -> None:
    for line in run("ip", "netns", "list").splitlines():
        found = NAMESPACE.match(line)
        if found and not _is_running(found.group(1)):
            run("ip", "netns", "del", found.group(0))
    for link in pathlib.Path("/sys/class/net").iterdir():
        found = LINK.fullmatch(link.name)
        if found and not _is_running(found.group(1)):
            run("ip", "link", "del", link.name)


class Hosts:
    def __init__(self):
        _remove_leftovers()
        pid = os.getpid()
        self.bridge = f"hb{pid}"
        self.subnet = f"10.{64 + pid % 128}.{pid // 128 % 256}"
        self.namespaces: list = []
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.subnet}.254/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def place(self, node) -> None:
        """The node has a host of its own from its next start on."""
        number = len(self.namespaces) + 1
        name, inside, outside = f"holon-{os.getpid()}-{number}", "eth0", f"hv{os.getpid()}x{number}"
        run("ip", "netns", "add", name)
        self.namespaces.append(name)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        run("ip", "link", "set", outside, "master", self.bridge, "up")
        node.host = f"{self.subnet}.{number}"
        run("ip", "-n", name, "addr", "add", f"{node.host}/24", "dev", inside)
        run("ip", "-n", name, "link", "set", inside, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        node.prefix = ["ip", "netns", "exec", name]
        node.options.append("--insecure")

    @staticmethod
    def cut_one_way(source, target) -> None:
        """What source sends does not reach target; the other direction stays."""
        run(*target.prefix, "iptables", "-w", "-A", "INPUT", "-s", source.host, "-j", "DROP")

    def cut(self, one, other) -> None:
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def isolate(self, node, nodes) -> None:
        """From all the other nodes, not from its clients."""
        for other in nodes:
            if other is not node:
                self.cut(node, other)

    def heal(self) -> None:
        for name in self.namespaces:
            run("ip", "netns", "exec", name, "iptables", "-w", "-F", "INPUT")

    def close(self) -> None:
        for number in range(1, len(self.namespaces) + 1):  # a namespace is gone only some time later
            subprocess.run(["ip", "link", "del", f"hv{os.getpid()}x{number}"], capture_output=True, timeout=20)
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, timeout=20)
