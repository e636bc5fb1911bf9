"""Commands of many keys, in any partitions (scenarios.py tells how to read it; the keys are those of
transaction_scenarios.py)."""

MANY_KEYS = {
    "MGET": """
        MSET k0 0 k1 1 k2 2 {t}a a {t}b b
        HSET k3 f v
        MGET k0
        MGET k0 k1 k2 {t}a {t}b
        MGET k2 k1 k0 k0 k2
        MGET k9 k0 k8 k3 k0
        MGET k9 k9
        MGET {t}a {t}b {t}x {t}a
        MGET""",
    "MSET": """
        HSET k0 f v
        SET k1 old EX 100
        MSET k0 a k1 b k2 c {t}a d {t}b e
        MGET k0 k1 k2 {t}a {t}b
        TTL k1
        TYPE k0
        MSET k0 first k1 x k0 second k0 third
        MGET k0 k1
        MSET k0
        MSET k0 a k1
        MSET
        MSET k0 '' k1 ''
        MGET k0 k1""",
    "MSETNX": """
        MSETNX k0 a k1 b k2 c
        MSETNX k3 x k1 y k4 z
        MGET k0 k1 k2 k3 k4
        MSETNX k5 one k5 two k6 three
        MGET k5 k6
        HSET k7 f v
        MSETNX k8 a k7 b
        EXISTS k8
        MSETNX k8
        MSETNX k8 a k9
        MSETNX
        SET k9 v PX 20
        until EXISTS k9 = :0
        MSETNX k9 new k8 new
        MGET k8 k9
        MSETNX {t}a 1 {t}b 2
        MSETNX {t}c 1 {t}b 2
        EXISTS {t}c""",
    "DEL and UNLINK": """
        MSET k0 0 k1 1 k2 2 {t}a a {t}b b
        HSET k3 f v
        DEL k0 k9 k3 k0 {t}a
        EXISTS k0 k1 k2 k3 {t}a {t}b
        DEL k0 k9
        UNLINK k1 k1 k9 {t}b
        DBSIZE
        DEL k2
        DEL
        UNLINK
        DBSIZE""",
    "EXISTS and TOUCH": """
        MSET k0 0 k1 1 {t}a a
        EXISTS k0 k0 k1 k9 {t}a {t}b
        EXISTS k9 k8
        EXISTS k0
        EXISTS
        TOUCH k0 k1 k0 k9 {t}a
        TOUCH k9
        TOUCH
        SET k2 v PX 20
        until EXISTS k2 = :0
        TOUCH k2 k0
        EXISTS k2 k0""",
    "RENAME": """
        RENAME k9 k8
        RENAME k9 k9
        SET k0 v
        RENAME k0 k1
        MGET k0 k1
        RENAME k1 k1
        GET k1
        SET k2 old EX 100
        RENAME k1 k2
        GET k2
        TTL k2
        SET k3 v EXAT 99999999999
        RENAME k3 k4
        EXPIRETIME k4
        SET k5 x
        RENAME k4 k5
        EXPIRETIME k5
        HSET k6 f v g w
        EXPIREAT k6 99999999998
        RENAME k6 k5
        HGETALL k5
        EXPIRETIME k5
        TYPE k5
        SET k7 s
        RENAME k7 k5
        GET k5
        TTL k5
        HLEN k6
        HSET k6 h x
        HGETALL k6
        RENAME k6
        RENAME k6 k7 k8
        SET {t}a v
        RENAME {t}a {t}b
        MGET {t}a {t}b
        RENAME {t}b k0
        GET k0
        DBSIZE""",
    "RENAMENX": """
        RENAMENX k9 k8
        RENAMENX k9 k9
        MSET k0 0 k1 1
        RENAMENX k0 k1
        MGET k0 k1
        RENAMENX k0 k0
        RENAMENX k0 k2
        MGET k0 k2
        HSET k3 f v
        RENAMENX k3 k2
        RENAMENX k3 k4
        HGETALL k4
        SET k5 v PX 20
        until EXISTS k5 = :0
        RENAMENX k4 k5
        TYPE k5
        TTL k5
        RENAMENX k5""",
    "COPY": """
        COPY k9 k8
        SET k0 v
        COPY k0 k1
        MGET k0 k1
        SET k0 w
        COPY k0 k1
        GET k1
        COPY k0 k1 REPLACE
        GET k1
        COPY k0 k0
        COPY k0 k0 REPLACE
        COPY k0 k0 DB 0
        COPY k0 k0 DB 3
        COPY k0 k1 DB 3
        COPY k0 k1 DB 3
        COPY k0 k1 DB 3 REPLACE
        COPY k0 k1 REPLACE DB 3
        COPY k0 k1 DB 16
        COPY k0 k1 DB -1
        COPY k0 k1 DB x
        COPY k0 k1 DB
        COPY k0 k1 BAD
        COPY k0 k1 REPLACE REPLACE
        COPY k9 k9
        COPY k9 k0 REPLACE
        GET k0
        COPY k0
        SELECT 3
        MGET k0 k1
        COPY k0 k5 DB 0
        SELECT 0
        GET k5
        SET k6 v EXAT 99999999999
        COPY k6 k7
        EXPIRETIME k7
        COPY k0 k7 REPLACE
        TTL k7
        DBSIZE""",
    "COPY of hashes": """
        HSET k0 f v g w
        COPY k0 k1
        HSET k0 f changed
        HDEL k0 g
        HSET k1 h x
        HGETALL k0
        HGETALL k1
        SET k2 s
        COPY k0 k2
        COPY k0 k2 REPLACE
        HGETALL k2
        COPY k2 k2 DB 1
        DEL k2
        HGETALL k2
        SELECT 1
        HGETALL k2
        HSET {t}a f v
        COPY {t}a {t}b
        HGETALL {t}b
        RENAME {t}b k3
        HGETALL k3""",
    "SWAPDB": """
        MSET k0 zero k1 zero {t}a zero
        HSET k2 f zero
        SET k3 v EXAT 99999999999
        SELECT 1
        MSET k0 one k5 one
        SWAPDB 0 1
        MGET k0 k1 k5 {t}a
        HGETALL k2
        EXPIRETIME k3
        DBSIZE
        b: MGET k0 k1 k5 {t}a
        b: DBSIZE
        b: SET k0 new
        b: FLUSHDB
        DBSIZE
        b: SWAPDB 1 0
        MGET k0 k1
        b: MGET k0 k1
        SWAPDB 0 0
        SWAPDB 7 8
        SWAPDB 0 16
        SWAPDB -1 0
        SWAPDB x 0
        SWAPDB 0 x
        SWAPDB 0
        SWAPDB 0 1 2
        b: DBSIZE""",
    "SWAPDB of three databases": """
        SET k0 0
        SELECT 1
        SET k0 1
        SELECT 2
        SET k0 2
        SWAPDB 0 1
        SWAPDB 1 2
        SWAPDB 0 15
        GET k0
        SELECT 0
        GET k0
        SELECT 1
        GET k0
        SELECT 15
        GET k0
        SET k1 x
        FLUSHDB
        SELECT 1
        DBSIZE
        FLUSHALL
        SWAPDB 1 2
        DBSIZE""",
    "FLUSHALL": """
        MSET k0 0 k1 1
        SELECT 9
        MSET k0 0 k1 1
        FLUSHALL
        DBSIZE
        SET k0 v
        SELECT 0
        DBSIZE
        FLUSHALL ASYNC
        FLUSHALL SYNC
        FLUSHALL BAD
        FLUSHALL SYNC ASYNC
        SELECT 9
        DBSIZE""",
}
