"""Tokens to act for somebody: what they say, how long they live, and keys that cannot sign."""

from __future__ import annotations

import json
import uuid

import jwt
import pytest
from pydantic import SecretStr

from tests.stack.keys import make_keys
from worker.errors import SettingsError
from worker.gateway.principals import LIFETIME, PrincipalTokens

ANNA = str(uuid.uuid4())


@pytest.mark.parametrize("kind", ["jwk", "secret"])
def test_a_token_is_the_principal_s_for_a_minute(kind: str) -> None:
    keys = make_keys()
    token = PrincipalTokens(SecretStr(keys.signing_key if kind == "jwk" else keys.jwt_secret)).token(ANNA)
    header = jwt.get_unverified_header(token)
    if kind == "jwk":
        assert header["kid"] == keys.signing_kid
        claims = jwt.decode(
            token, jwt.PyJWK(keys.public_jwks()["keys"][0]), algorithms=["ES256"], audience="authenticated"
        )
    else:
        claims = jwt.decode(token, keys.jwt_secret, algorithms=["HS256"], audience="authenticated")
    assert (claims["sub"], claims["role"]) == (ANNA, "authenticated")
    assert claims["exp"] - claims["iat"] == LIFETIME.total_seconds() <= 60


@pytest.mark.parametrize("fault", ["public", "nameless", "no JSON", "no key"])
def test_a_key_that_cannot_sign_is_refused_without_being_shown(fault: str) -> None:
    keys = make_keys()
    jwk = json.loads(keys.signing_key)
    broken = {
        "public": json.dumps(keys.public_jwks()["keys"][0]),
        "nameless": json.dumps({name: value for name, value in jwk.items() if name != "kid"}),
        "no JSON": keys.signing_key[:-9],
        "no key": '{"kty": "EC", "kid": "a"}',
    }[fault]
    with pytest.raises(SettingsError, match="PMS_JWT_KEY") as refused:
        PrincipalTokens(SecretStr(broken))
    assert jwk["d"] not in str(refused.value)
    assert refused.value.__cause__ is None
