"""lock_holder.py - a client that takes a lock, tells so, and then writes under it whenever it is told to: what a worker
of some application does. It is a process of its own, so that a test can stop it with SIGSTOP.

Run as: lock_holder.py PORT NAME TTL-MS. It prints the token; for each line on its standard input it writes, guarded or
not, and prints the answer."""
import sys

import resp


def write(client: resp.Client, name: str, token: int, how: str, value: str):
    if how == "bare":
        return client.call("SET", "account", value)
    client.call("HOLON.GUARD", name, token)
    if how == "single":
        return client.call("SET", "account", value)
    client.call("MULTI")
    client.call("SET", "account", value)
    client.call("INCR", "writes")
    return client.call("EXEC")


def main() -> None:
    port, name, ttl = sys.argv[1:]
    client = resp.Client(int(port))
    token = client.call("HOLON.LOCK", name, ttl)
    print(token, flush=True)
    for line in sys.stdin:
        how, value = line.split()
        print(repr(write(client, name, token, how, value)), flush=True)


if __name__ == "__main__":
    main()
