"""random_scenarios.py - conversations of several connections that nobody has thought of (scenarios.py tells how to
read one): few keys, so that they meet; what depends on the time, or on an order that no server promises, is left
out."""
import random

KEYS = ["k0", "k1", "k2", "{t}a", "{t}b"]
CONNECTIONS = ["a", "b", "c"]
DATABASES = [0, 1, 2]
FIELDS = ["f", "g", "h"]

# Of each: how often, and how it is made; K is a key, F a field, D a database, V a value.
COMMANDS = [
    (6, "SET K V"), (2, "SET K V NX"), (2, "SET K V XX GET"), (4, "GET K"), (4, "INCR K"), (2, "APPEND K V"),
    (2, "GETDEL K"), (2, "SETNX K V"), (2, "STRLEN K"), (2, "TYPE K"), (4, "HSET K F V"),
    (2, "HSET K F V F V"), (2, "HDEL K F"), (2, "HINCRBY K F 2"), (3, "HGETALL K"), (2, "HGET K F"),
    (2, "EXPIREAT K 99999999999"), (2, "EXPIRETIME K"), (2, "PERSIST K"), (1, "EXPIREAT K 1"),
    (4, "MSET K V K V K V"), (4, "MGET K K K"), (3, "MSETNX K V K V"), (3, "DEL K K"), (2, "UNLINK K"),
    (3, "EXISTS K K K"), (2, "TOUCH K K"), (4, "RENAME K K"), (3, "RENAMENX K K"), (3, "COPY K K"),
    (3, "COPY K K REPLACE"), (2, "COPY K K DB D"), (2, "COPY K K DB D REPLACE"),
    (3, "SELECT D"), (2, "DBSIZE"), (1, "FLUSHDB"), (1, "FLUSHALL"), (1, "PING"),
]
OF_TRANSACTIONS = [
    (10, "MULTI"), (9, "EXEC"), (1, "DISCARD"), (6, "WATCH K"), (2, "WATCH K K"), (1, "UNWATCH"), (1, "RESET"),
]
WRONG = [(1, "GET"), (1, "NOSUCH x"), (1, "MSET K"), (1, "INCRBY K x")]


def draw(rng: random.Random, table) -> str:
    template = rng.choices([words for _, words in table], [weight for weight, _ in table])[0]
    made = {"K": lambda: rng.choice(KEYS), "F": lambda: rng.choice(FIELDS), "D": lambda: str(rng.choice(DATABASES)),
            "V": lambda: str(rng.randrange(100)) if rng.random() < 0.8 else "word"}
    return " ".join(made.get(word, lambda word=word: word)() for word in template.split(" "))


def scenario(seed: int, lines: int = 80) -> str:
    """In the end every connection leaves its transaction, and one looks at everything."""
    rng = random.Random(seed)
    said = []
    for _ in range(lines):
        chance = rng.random()
        table = COMMANDS if chance < 0.65 else OF_TRANSACTIONS if chance < 0.98 else WRONG
        if chance < 0.1:  # a whole transaction in one write
            words = ["MULTI", *(draw(rng, COMMANDS) for _ in range(rng.randrange(1, 6))), "EXEC"]
            said.append(f"{rng.choice(CONNECTIONS)}: {' | '.join(words)}")
        else:
            said.append(f"{rng.choice(CONNECTIONS)}: {draw(rng, table)}")
    said += [f"{name}: EXEC" for name in CONNECTIONS]
    for database in DATABASES:
        said += [f"SELECT {database}", "DBSIZE"]
        said += [f"{look} {key}" for key in KEYS for look in ("GET", "HGETALL", "EXPIRETIME")]
    return "\n".join(said)
