"""Public keys made in SQL are those of RFC 8032 and of the `cryptography` package."""

from __future__ import annotations

import os
import time

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.databases import Connection, acting_as
from tests.sql.ask import column, value

# RFC 8032, 7.1: seed and public key of TEST 1, 2, 3, 1024 and SHA(abc)
VECTORS = {
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    ),
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    ),
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    ),
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5": (
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e"
    ),
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"
    ),
}
QUERY = (
    "select private.ed25519_public_key(seed) from unnest(%s::bytea[]) with ordinality s (seed, n) order by n"
)


async def test_the_vectors_of_the_specification(db: Connection) -> None:
    found = await column(db, QUERY, [bytes.fromhex(seed) for seed in VECTORS])
    assert [key.hex() for key in found] == list(VECTORS.values())


async def test_a_hundred_seeds_give_the_keys_that_cryptography_gives(db: Connection) -> None:
    seeds = [bytes(32), b"\xff" * 32, *(os.urandom(32) for _ in range(100))]
    expected = [Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() for seed in seeds]
    assert {key[31] >> 7 for key in expected} == {0, 1}, "both signs of x"
    started = time.monotonic()
    assert await column(db, QUERY, seeds) == expected
    assert time.monotonic() - started < 20, "0.01 s each is usual on an idle machine"


async def test_what_is_no_seed_is_refused(db: Connection) -> None:
    for wrong in (b"", bytes(31), bytes(33), bytes(64)):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"this one has {len(wrong)}"):
            await value(db, "select private.ed25519_public_key(%s)", wrong)
    assert await value(db, "select private.ed25519_public_key(null)") is None


async def test_no_client_calls_it(db: Connection) -> None:
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, role=role):
                await value(db, "select private.ed25519_public_key(%s)", bytes(32))
