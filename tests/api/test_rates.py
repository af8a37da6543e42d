"""The rate of a key cannot be got around: by being forgotten, or by many batches at once."""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

from bitespeed.api import rates
from bitespeed.api.keyring import MAX_REMEMBERED, MAX_WAITING, TRUSTED, Keyring
from bitespeed.api.rates import Bucket, Rates, SharedBucket
from bitespeed.caches.redis import RedisEngine
from bitespeed.stores import open_store
from support.api_keys import bearing, guarded, made
from support.redis_server import redis_server
from support.server import fresh_email

FLOOD = MAX_REMEMBERED + 4_000  # unknown keys
SLOW = 0.01  # tokens a second; what is taken stays taken while a test runs


def test_rate_of_a_key_outlives_many_unknown_keys(tmp_path):
    key, _ = made()

    async def main():
        store = await open_store(f"sqlite:///{tmp_path / 'contacts.db'}")
        await store.put_key(key)
        passed = 0.0
        keyring = Keyring(store, Rates(SLOW, None), lambda: time.monotonic() + passed)
        bucket = (await keyring.look_up(key.id)).caller.bucket
        assert bucket.take()
        assert not bucket.take()
        passed = TRUSTED + 1
        for _ in range(0, FLOOD, MAX_WAITING):
            ids = [os.urandom(6).hex() for _ in range(MAX_WAITING)]
            await asyncio.gather(*[keyring.look_up(id_) for id_ in ids])
        assert keyring.last_known(key.id) is None  # the flood has driven the key itself out
        assert not (await keyring.look_up(key.id)).caller.bucket.take()
        await keyring.close()
        await store.close()

    asyncio.run(main())


def test_batches_sent_at_once_make_debt_only_once(tmp_path):
    key, text = made()
    database = f"sqlite:///{tmp_path / 'contacts.db'}"
    with guarded(tmp_path, database, key, BITESPEED_RATE_LIMIT="10") as server:

        def send(_):
            body = json.dumps([{"email": fresh_email()} for _ in range(100)]).encode()
            head = (
                "POST /identify/batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Authorization: {bearing(text)['Authorization']}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection = server.connect()
            connection.sendall(head.encode() + body[:1])  # admitted, before the others charge
            return connection, body[1:]

        server.ask("POST", "/identify", b'{"email": "a@b.c"}', bearing(text))
        begun = [send(n) for n in range(10)]
        time.sleep(0.3)  # all heads have arrived; were they late, fewer would pass
        with ThreadPoolExecutor(10) as clients:
            answers = list(clients.map(finish, begun))
        assert sorted(answer[9:12] for answer in answers) == [b"200"] + [b"429"] * 9
        assert all(b"retry-after:" in answer for answer in answers if answer[9:12] == b"429")


def finish(begun):
    connection, rest = begun
    with connection:
        connection.sendall(rest)
        return connection.recv(65_536)


class TestBuckets:
    def test_bucket_that_is_not_full_is_kept(self, monkeypatch):
        monkeypatch.setattr(rates, "MAX_BUCKETS", 10)

        async def main():
            buckets = Rates(SLOW, None)
            used = buckets.bucket("used")
            used.take()
            others = [buckets.bucket(f"key{n}") for n in range(50)]
            assert buckets.bucket("used") is used
            assert buckets.bucket("key0") is not others[0]
            assert len(buckets._buckets) < 20

        asyncio.run(main())

    def test_bucket_in_use_is_taken_back(self):
        async def main():
            used = Bucket(SLOW)
            assert Rates(SLOW, None).bucket("a", used) is used

        asyncio.run(main())

    def test_debt_refuses_a_charge_until_it_is_paid(self):
        async def main():
            bucket = Bucket(100.0)
            assert await bucket.charge_or_wait(205) == 0
            assert 0 < await bucket.charge_or_wait(1) <= 0.05
            await asyncio.sleep(0.06)
            assert await bucket.charge_or_wait(1) == 0

        asyncio.run(main())

    def test_shared_bucket_pays_a_debt_from_the_cache_first(self):
        async def main(url):
            engine = RedisEngine(url)
            await engine.wait_until_connected()
            bucket = SharedBucket(1000.0, engine, "a")
            assert await bucket.take_or_wait() == 0
            assert [await bucket.charge_or_wait(500) for _ in range(3)] == [0, 0, 0]
            charges = [await bucket.charge_or_wait(5000) for _ in range(2)]
            assert charges[0] == 0
            assert charges[1] > 3
            assert not bucket.is_full()
            await engine.close()

        with redis_server() as server:
            asyncio.run(main(server.url))
