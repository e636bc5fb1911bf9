"""What clients say to a server with transactions (scenarios.py tells how to read it). The keys k0 to k9 lie in
different partitions, and {t}... all in one; test_transactions.py makes sure of it."""

KEYS = [f"k{n}" for n in range(10)]

MULTI = {
    "several partitions": """
        MULTI
        SET k0 a
        INCR k1
        HSET k2 f v
        APPEND k3 xyz
        GET k0
        HGETALL k2
        EXEC
        MGET k0 k1 k2 k3
        HGETALL k2""",
    "one partition": """
        MULTI
        SET {t}a 1
        INCRBY {t}a 41
        GET {t}a
        SET {t}b x
        STRLEN {t}b
        EXEC
        MGET {t}a {t}b""",
    "nothing queued": "MULTI \n EXEC \n EXEC",
    "only reads": "SET k1 v \n MULTI \n GET k0 \n GET k1 \n EXISTS k0 k1 \n TYPE k1 \n TTL k1 \n EXEC",
    "only commands without keys": "MULTI \n PING \n PING x \n ECHO y \n EXEC",
    "later commands see earlier ones": """
        MULTI
        SET k0 1
        INCR k0
        GETDEL k0
        GET k0
        SETNX k0 again
        APPEND k0 !
        GETRANGE k0 0 -1
        HSET k1 a 1 b 2
        HINCRBY k1 a 5
        HGET k1 a
        HDEL k1 a b
        EXISTS k1
        HGETALL k1
        EXEC
        GET k0
        EXISTS k1""",
    "the same key again and again": """
        MULTI | INCR k0 | INCR k0 | INCR k0 | DECRBY k0 2 | GET k0 | DEL k0 | INCR k0 | EXEC
        GET k0""",
    "a pipeline in one write": """
        MULTI | SET k0 1 | SET k1 2 | EXEC
        MULTI | INCR k0 | INCR k1 | EXEC | GET k0 | MULTI | INCR k0 | EXEC | GET k0 | GET k1""",
    "transactions between other commands of one write": """
        SET k0 1 | SET k1 1 | MULTI | INCR k0 | INCR k1 | EXEC | INCR k0 | MGET k0 k1 | MULTI | GET k0 | EXEC | DEL k0 k1
        EXISTS k0 k1""",
    "EXEC without MULTI": "EXEC \n DISCARD \n UNWATCH",
    "DISCARD": """
        SET k0 before
        MULTI
        SET k0 after
        DEL k1
        DISCARD
        GET k0
        EXEC
        DISCARD""",
    "MULTI within MULTI": """
        MULTI
        SET k0 1
        MULTI
        SET k1 2
        EXEC
        MGET k0 k1""",
    "WATCH within MULTI": """
        MULTI
        WATCH k0
        SET k0 1
        EXEC
        GET k0""",
    "UNWATCH within MULTI": """
        WATCH k0
        b: SET k0 other
        MULTI
        UNWATCH
        SET k0 1
        EXEC
        GET k0
        MULTI
        UNWATCH
        GET k0
        EXEC""",
    "an unknown command is noticed when it is queued": """
        MULTI
        SET k0 1
        NOSUCH a b
        SET k1 1
        EXEC
        MGET k0 k1
        EXEC
        GET k0""",
    "a wrong number of arguments is noticed when it is queued": """
        MULTI
        SET k0
        SET k0 1
        EXEC
        GET k0
        MULTI
        MSET k0 1 k1
        GET
        EXEC
        MULTI
        HSET k2 f
        DISCARD
        MULTI
        SET k0 1
        EXEC""",
    "errors of the queue are forgotten by DISCARD": """
        MULTI
        NOSUCH
        DISCARD
        MULTI
        SET k0 1
        EXEC
        GET k0""",
    "commands of the transaction with too many arguments": """
        MULTI x
        EXEC x
        DISCARD x
        UNWATCH x
        WATCH
        MULTI
        SET k0 1
        EXEC x
        EXEC
        GET k0
        MULTI
        MULTI x
        SET k0 1
        EXEC
        MULTI
        DISCARD x
        SET k0 1
        DISCARD
        MULTI
        WATCH
        SET k0 1
        EXEC
        GET k0""",
    "an error of one command undoes nothing of the others": """
        SET k0 word
        HSET k1 f v
        MULTI
        SET k2 before
        INCR k0
        GET k1
        HGET k0 f
        APPEND k1 x
        INCRBY k3 notanumber
        SET k3 x BAD
        SET k4 after
        EXEC
        MGET k0 k1 k2 k3 k4
        HGETALL k1""",
    "errors without keys": "MULTI \n SELECT 99 \n SELECT x \n SET k0 1 \n SWAPDB 0 99 \n EXEC \n GET k0",
    "every command fails": "SET k0 x \n MULTI \n INCR k0 \n HGETALL k0 \n EXEC \n GET k0",
    "SELECT inside": """
        SET k0 zero
        MULTI
        SET k0 zero2
        SELECT 3
        SET k0 three
        SET k1 three
        SELECT 0
        GET k0
        SELECT 3
        EXEC
        GET k0
        SELECT 0
        MGET k0 k1
        SELECT 3
        MGET k0 k1""",
    "SELECT that is discarded": """
        MULTI
        SELECT 3
        DISCARD
        SET k0 zero
        b: GET k0
        MULTI
        SELECT 3
        NOSUCH
        EXEC
        GET k0
        WATCH k0
        b: SET k0 x
        MULTI
        SELECT 3
        EXEC
        GET k0""",
    "expiry inside": """
        SET k0 v
        SET k1 v
        SET k2 v EX 100
        MULTI
        EXPIRE k0 100
        TTL k0
        EXPIRE k1 -1
        GET k1
        EXISTS k1
        PERSIST k2
        TTL k2
        SET k3 v EXAT 99999999999
        EXPIRETIME k3
        GETEX k3 PERSIST
        EXPIRETIME k3
        SET k4 v PXAT 1
        GET k4
        EXPIREAT k0 99999999999 GT
        EXPIRETIME k0
        PEXPIREAT k5 99999999999
        EXEC
        MGET k0 k1 k2 k3 k4
        TTL k2""",
    "what was queued expires before EXEC": """
        SET k0 v PX 30
        MULTI
        GET k0
        SETNX k0 new
        until b: EXISTS k0 = :0
        EXEC
        GET k0
        TTL k0""",
    "values that expired are not there for a transaction": """
        SET k0 1 PX 20
        HSET k1 f v
        PEXPIRE k1 20
        until b: EXISTS k0 k1 = :0
        MULTI | INCR k0 | HSET k1 g w | HGETALL k1 | TTL k0 | DBSIZE | EXEC""",
    "RESET inside and outside": """
        WATCH k0
        MULTI
        SET k0 1
        RESET
        EXEC
        GET k0
        WATCH k0
        b: SET k0 other
        RESET
        MULTI
        SET k0 mine
        EXEC
        GET k0""",
    "RESET in one write": "MULTI | SET k0 1 | RESET | GET k0 | MULTI | GET k0 | EXEC",
    "QUIT inside": """
        MULTI
        SET k0 1
        QUIT
        PING
        b: GET k0""",
    "a broken protocol inside": """
        MULTI
        SET k0 1
        <*1\\r\\n$x\\r\\n>
        b: GET k0""",
    "inline": """
        /multi
        /set k0 "a b"
        /get k0
        /exec
        /MULTI
        /nosuch
        /EXEC""",
    "lower and mixed case": "multi \n set k0 1 \n Exec \n watch k0 \n unWATCH \n Multi \n discard",
    "CLIENT REPLY OFF around it": """
        ~CLIENT REPLY OFF | ~MULTI | ~SET k0 1 | ~INCR k0 | ~EXEC | CLIENT REPLY ON | GET k0
        ~CLIENT REPLY OFF | ~MULTI | ~SET k0 9 | ~NOSUCH | ~EXEC | CLIENT REPLY ON | GET k0
        ~CLIENT REPLY OFF | ~WATCH k0 | ~MULTI | ~CLIENT REPLY ON | ~SET k0 2 | ~DISCARD | CLIENT REPLY ON | GET k0""",
    "CLIENT REPLY SKIP before it": """
        ~CLIENT REPLY SKIP | ~MULTI | SET k0 1 | EXEC | GET k0
        MULTI | SET k0 2 | EXEC | ~CLIENT REPLY SKIP | ~WATCH k0 | MULTI | GET k0 | EXEC
        ~CLIENT REPLY SKIP | ~MGET k0 k1 k2 | ~CLIENT REPLY SKIP | ~MSET k0 1 k1 2 | MGET k0 k1""",
    "commands of the connection inside": """
        MULTI
        CLIENT SETNAME me
        CLIENT GETNAME
        CONFIG GET databases
        ECHO x
        PING
        AUTH default
        EXEC
        CLIENT GETNAME""",
    "the whole database inside": """
        MSET k0 1 k1 2 k2 3
        MULTI
        DBSIZE
        SET k3 4
        DEL k0
        DBSIZE
        DEL k1 k2
        DBSIZE
        EXEC
        DBSIZE
        KEYS *""",
    "DBSIZE of several databases inside": """
        SET k0 v
        MULTI | DBSIZE | SELECT 5 | DBSIZE | MSET k0 1 k1 1 k2 1 | DBSIZE | SELECT 0 | DBSIZE | EXEC
        SELECT 5
        DBSIZE""",
    "commands of many keys inside": """
        MULTI
        MSET k0 0 k1 1 k2 2 {t}a 3
        MGET k0 k1 k2 k9 {t}a k0
        MSETNX k3 3 k0 no
        MSETNX k3 3 k4 4
        EXISTS k0 k0 k3 k9
        DEL k0 k9 k1
        UNLINK k2 k2
        RENAME k3 k5
        RENAMENX k4 k5
        RENAME k9 k8
        COPY k5 k6
        COPY k5 k6
        COPY k5 k6 REPLACE
        COPY k5 k6 DB 4
        TOUCH k5 k6 k9
        DBSIZE
        EXEC
        MGET k0 k1 k2 k3 k4 k5 k6 {t}a
        SELECT 4
        GET k6""",
    "FLUSHDB inside": """
        MSET k0 0 k1 1
        SELECT 3
        SET k0 three
        MULTI
        SET k2 2
        FLUSHDB
        DBSIZE
        GET k0
        SET k3 3
        DBSIZE
        SELECT 0
        DBSIZE
        EXEC
        MGET k0 k1 k2 k3
        SELECT 3
        MGET k0 k1 k2 k3""",
    "FLUSHALL inside": """
        MSET k0 0 k1 1
        SELECT 3
        SET k0 three
        MULTI
        SET k2 2
        FLUSHALL
        SET k3 3
        GET k0
        DBSIZE
        SELECT 0
        DBSIZE
        FLUSHALL ASYNC
        FLUSHALL BAD
        EXEC
        DBSIZE
        SELECT 3
        DBSIZE
        GET k3""",
    "FLUSHALL inside, discarded": "MSET k0 0 k1 1 \n MULTI \n FLUSHALL \n DISCARD \n DBSIZE",
    "SWAPDB inside": """
        MSET k0 zero k1 zero
        SELECT 2
        MSET k0 two k2 two
        MULTI
        GET k0
        SWAPDB 0 2
        GET k0
        SET k3 new
        DBSIZE
        SWAPDB 2 5
        GET k0
        DBSIZE
        EXEC
        MGET k0 k1 k2 k3
        SELECT 0
        MGET k0 k1 k2 k3
        SELECT 5
        MGET k0 k1 k2 k3""",
    "a value of many bytes": """
        MULTI
        SETRANGE k0 100000 x
        STRLEN k0
        SETRANGE k1 70000 y
        EXEC
        STRLEN k0
        STRLEN k1""",
    "empty keys and values": """
        MULTI
        SET "" empty
        SET k0 ""
        MGET "" k0
        HSET k1 "" ""
        HGETALL k1
        DEL ""
        EXEC
        EXISTS """"",
}
