"""What WATCH notices, and what it does not (scenarios.py tells how to read it; the keys are those of
transaction_scenarios.py). Each ends with an EXEC that is executed or not."""

WATCH = {
    "unchanged": """
        SET k0 1
        WATCH k0 k1
        GET k0
        MULTI
        SET k0 2
        SET k2 3
        EXEC
        MGET k0 k2""",
    "changed by another": """
        SET k0 1
        WATCH k0
        b: SET k0 2
        MULTI
        SET k0 3
        SET k1 3
        EXEC
        MGET k0 k1""",
    "changed after MULTI": "WATCH k0 \n MULTI \n SET k1 1 \n b: INCR k0 \n EXEC \n MGET k0 k1",
    "changed by itself": "WATCH k0 \n SET k0 1 \n MULTI \n SET k1 1 \n EXEC \n GET k1",
    "changed back": """
        SET k0 A
        WATCH k0
        b: SET k0 B
        b: SET k0 A
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "deleted": "SET k0 1 \n WATCH k0 \n b: DEL k0 \n MULTI \n SET k1 1 \n EXEC \n GET k1",
    "deleted and made again": """
        SET k0 A
        WATCH k0
        b: DEL k0
        b: SET k0 A
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "absent, made and deleted": "WATCH k0 \n b: SET k0 A \n b: DEL k0 \n MULTI \n SET k1 1 \n EXEC \n GET k1",
    "absent and stays so": "WATCH k0 \n b: DEL k0 \n b: GET k0 \n MULTI \n SET k1 1 \n EXEC \n GET k1",
    "expired": """
        SET k0 v PX 250
        WATCH k0
        until b: EXISTS k0 = :0
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "expired though nobody looked": """
        SET k0 v PX 250
        SET k5 v PX 300
        WATCH k0
        until b: EXISTS k5 = :0
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "expired before": """
        SET k0 v PX 20
        until b: EXISTS k0 = :0
        WATCH k0
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "a change elsewhere": """
        MSET k0 1 {t}a 1
        WATCH k0 {t}a
        b: SET {t}b 2
        b: SET k1 2
        b: SELECT 3
        b: SET k0 3
        MULTI
        SET k2 1
        EXEC
        GET k2""",
    "another database": """
        SELECT 3
        SET k0 three
        WATCH k0
        SELECT 0
        b: SELECT 3
        b: SET k0 new
        MULTI
        SET k0 mine
        EXEC
        GET k0""",
    "the same key in another database": """
        WATCH k0
        SELECT 3
        WATCH k0
        SELECT 0
        b: SELECT 4
        b: SET k0 x
        MULTI | SET k1 1 | EXEC
        WATCH k0
        b: SELECT 0
        b: SET k0 x
        SELECT 4
        MULTI | SET k1 1 | EXEC""",
    "one of many": """
        WATCH k0 k1 k2 k3 k4 k5
        WATCH k6
        WATCH k0
        b: INCR k6
        MULTI
        SET k7 1
        EXEC
        GET k7""",
    "UNWATCH": "WATCH k0 k1 \n b: SET k0 x \n UNWATCH \n MULTI \n SET k2 1 \n EXEC \n UNWATCH",
    "DISCARD drops watches": "WATCH k0 \n b: SET k0 x \n MULTI \n DISCARD \n MULTI \n SET k1 1 \n EXEC",
    "EXEC drops watches": """
        WATCH k0
        MULTI
        SET k1 1
        EXEC
        b: SET k0 x
        MULTI
        SET k1 2
        EXEC
        WATCH k0
        b: SET k0 y
        MULTI
        SET k1 3
        EXEC
        MULTI
        SET k1 4
        EXEC
        GET k1""",
    "EXEC with errors of the queue drops watches": """
        WATCH k0
        b: SET k0 x
        MULTI
        NOSUCH
        EXEC
        MULTI
        SET k1 1
        EXEC
        GET k1""",
    "a watched key that changed, and an error of the queue": """
        WATCH k0
        b: INCR k0
        MULTI
        GET
        SET k1 1
        EXEC
        GET k1""",
    "EXEC without MULTI keeps watches": """
        WATCH k0
        EXEC
        b: SET k0 x
        MULTI
        SET k1 1
        EXEC""",
    "the connection goes and comes": """
        WATCH k0
        MULTI
        SET k0 1
        b: WATCH k0
        QUIT
        b: MULTI
        b: SET k1 1
        b: EXEC
        b: MGET k0 k1""",
    "two that watch the same": """
        SET k0 1
        WATCH k0
        b: WATCH k0
        MULTI | INCR k0 | EXEC
        b: MULTI
        b: INCR k0
        b: EXEC
        GET k0""",
    "two that read only": """
        SET k0 1
        WATCH k0
        b: WATCH k0
        MULTI | GET k0 | EXEC
        b: MULTI
        b: GET k0
        b: EXEC""",
    "each watches what the other writes": """
        MSET k0 1 k1 1
        WATCH k0 k1
        b: WATCH k0 k1
        MULTI | SET k0 0 | EXEC
        b: MULTI
        b: SET k1 0
        b: EXEC
        MGET k0 k1""",
    "changed by a transaction": """
        WATCH k3
        b: MULTI
        b: SET k2 1
        b: SET k3 1
        b: EXEC
        MULTI
        GET k3
        EXEC""",
    "queued, not executed": "WATCH k3 \n b: MULTI \n b: SET k3 1 \n MULTI \n GET k3 \n EXEC \n b: DISCARD",
    "changed by a transaction that failed": """
        WATCH k3
        b: WATCH k4
        SET k4 x
        b: MULTI
        b: SET k3 1
        b: EXEC
        MULTI
        GET k3
        EXEC""",
    "changed by a command of many keys": """
        WATCH k5
        b: MSET k0 1 k5 1 k9 1
        MULTI | GET k5 | EXEC
        WATCH k5
        b: RENAME k5 k6
        MULTI | GET k5 | EXEC
        WATCH k5
        b: RENAME k6 k5
        MULTI | GET k5 | EXEC
        WATCH k5
        b: COPY k5 k7
        MULTI | GET k5 | EXEC
        WATCH k7
        b: COPY k5 k7
        MULTI | GET k7 | EXEC
        WATCH k7
        b: COPY k5 k7 REPLACE
        MULTI | GET k7 | EXEC
        WATCH k9
        b: UNLINK k1 k2 k9
        MULTI | GET k9 | EXEC
        WATCH k9
        b: MSETNX k9 1 k5 1
        MULTI | GET k9 | EXEC
        WATCH k5
        b: MGET k5 k6
        b: EXISTS k5
        b: TOUCH k5 k6
        MULTI | GET k5 | EXEC""",
    "SWAPDB of what is there": """
        SET k0 zero
        WATCH k0 k1
        b: SWAPDB 0 1
        MULTI | GET k0 | EXEC
        WATCH k0
        b: SWAPDB 0 1
        MULTI | GET k0 | EXEC
        WATCH k0
        b: SWAPDB 2 3
        MULTI | GET k0 | EXEC
        WATCH k1
        b: SWAPDB 0 1
        MULTI | GET k1 | EXEC
        WATCH k0
        b: SWAPDB 0 0
        MULTI | GET k0 | EXEC""",
    "SWAPDB of the same value": """
        SET k0 v
        SELECT 1
        SET k0 v
        SELECT 0
        WATCH k0
        b: SWAPDB 0 1
        MULTI | GET k0 | EXEC""",
    "FLUSHALL and FLUSHDB": """
        SET k0 v
        WATCH k0
        b: FLUSHALL
        MULTI | GET k0 | EXEC
        WATCH k0
        b: FLUSHALL
        MULTI | GET k0 | EXEC
        SET k0 v
        WATCH k0
        b: SELECT 3
        b: SET k1 v
        b: FLUSHDB
        MULTI | GET k0 | EXEC
        WATCH k0
        b: SELECT 0
        b: FLUSHDB
        MULTI | GET k0 | EXEC
        WATCH k0
        b: FLUSHDB
        MULTI | GET k0 | EXEC""",
    "FLUSHALL and the same again": "SET k0 v \n WATCH k0 \n b: FLUSHALL \n b: SET k0 v \n MULTI | GET k0 | EXEC",
    "an expiry that came, went and was read": """
        SET k0 v
        WATCH k0
        b: EXPIRE k0 100
        MULTI | GET k0 | EXEC
        WATCH k0
        b: TTL k0
        b: GET k0
        b: GETEX k0
        MULTI | GET k0 | EXEC
        WATCH k0
        b: PERSIST k0
        MULTI | GET k0 | EXEC
        WATCH k0
        b: PERSIST k0
        MULTI | GET k0 | EXEC""",
    "a field of a hash": """
        HSET k0 f v g w
        WATCH k0
        b: HSET k0 f v2
        MULTI | HGETALL k0 | EXEC
        WATCH k0
        b: HGETALL k0
        b: HDEL k0 nosuch
        MULTI | HGETALL k0 | EXEC
        WATCH k0
        b: HDEL k0 g
        MULTI | HGETALL k0 | EXEC
        WATCH k0
        b: HSET k0 f v3
        b: HSET k0 f v2
        MULTI | HGETALL k0 | EXEC
        WATCH k0
        b: HDEL k0 f
        MULTI | HGETALL k0 | EXEC""",
}

# (what is there, a command that may or may not count as a change): WATCH k0, the command by another connection, EXEC.
CHANGES = [
    ("SET k0 v", "SET k0 v"),
    ("SET k0 v", "SET k0 w NX"),
    ("SET k0 v", "SET k0 w XX"),
    ("PING", "SET k0 w XX"),
    ("SET k0 v", "SET k0 v GET"),
    ("SET k0 v", "SETNX k0 w"),
    ("PING", "SETNX k0 w"),
    ("SET k0 v", "GETSET k0 v"),
    ("SET k0 v", "GETDEL k0"),
    ("PING", "GETDEL k0"),
    ("SET k0 v", "APPEND k0 x"),
    ("SET k0 v", "APPEND k0 ''"),
    ("PING", "APPEND k0 ''"),
    ("SET k0 v", "SETRANGE k0 0 v"),
    ("SET k0 v", "SETRANGE k0 0 ''"),
    ("PING", "SETRANGE k0 5 ''"),
    ("SET k0 1", "INCRBY k0 0"),
    ("SET k0 1", "INCRBYFLOAT k0 0"),
    ("SET k0 x", "INCR k0"),
    ("SET k0 1", "DECR k0"),
    ("SET k0 v", "GETEX k0"),
    ("SET k0 v", "GETEX k0 EX 100"),
    ("SET k0 v", "GETEX k0 PERSIST"),
    ("SET k0 v EX 100", "GETEX k0 PERSIST"),
    ("SET k0 v", "EXPIRE k0 100"),
    ("SET k0 v", "EXPIRE k0 -1"),
    ("PING", "EXPIRE k0 100"),
    ("SET k0 v EX 100", "EXPIRE k0 50 GT"),
    ("SET k0 v EX 100", "EXPIREAT k0 99999999999 NX"),
    ("SET k0 v", "PERSIST k0"),
    ("SET k0 v EX 100", "PERSIST k0"),
    ("SET k0 v", "TOUCH k0"),
    ("SET k0 v", "DEL k0"),
    ("PING", "DEL k0"),
    ("SET k0 v", "UNLINK k1 k0"),
    ("PING", "UNLINK k0 k1"),
    ("SET k0 v", "RENAME k0 k0"),
    ("SET k0 v", "RENAME k0 k1"),
    ("SET k0 v", "RENAMENX k0 k0"),
    ("MSET k0 v k1 v", "RENAMENX k0 k1"),
    ("MSET k0 v k1 v", "RENAMENX k1 k0"),
    ("SET k1 v", "RENAMENX k1 k0"),
    ("SET k0 v", "COPY k0 k0"),
    ("SET k0 v", "COPY k0 k0 DB 1"),
    ("MSET k0 v k1 v", "MSETNX k0 1 k2 2"),
    ("PING", "MSETNX k0 1 k2 2"),
    ("SET k0 v", "MSET k1 1 k0 v"),
    ("SET k0 v", "MSET k1 1 k0"),
    ("HSET k0 f v", "HSET k0 f v"),
    ("HSET k0 f v", "HSETNX k0 f w"),
    ("HSET k0 f v", "HSETNX k0 g w"),
    ("HSET k0 f 1", "HINCRBY k0 f 0"),
    ("HSET k0 f v", "HINCRBY k0 f 1"),
    ("HSET k0 f v", "HDEL k0 g"),
    ("HSET k0 f v", "HDEL k0 f"),
    ("HSET k0 f v", "GET k0"),
    ("HSET k0 f v", "HGETALL k0"),
    ("SET k0 v", "HSET k0 f v"),
    ("HSET k0 f v", "SET k0 v"),
    ("HSET k0 f v", "HMSET k0 f v"),
    ("SET k0 v", "SET k0 v KEEPTTL"),
    ("SET k0 v EX 100", "SET k0 v KEEPTTL"),
    ("SET k0 v", "SET k0 v PXAT 1"),
    ("SET k0 v", "PEXPIREAT k0 1"),
]
