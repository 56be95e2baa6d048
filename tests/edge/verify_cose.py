"""Verifies COSE_Sign1 messages with cwt, a library of others. told: {"key": public key in hexadecimal, "kid", "messages": [hexadecimal]}.
Prints a list: the payload of each message, or null where the signature is wrong."""
import json
import sys

import cbor2
from cwt import COSE, COSEKey, VerifyError

OKP, ED25519, EDDSA, ALG, KID = 1, 6, -8, 1, 4

told = json.load(sys.stdin)
kid = told["kid"].encode()
key = COSEKey.new({1: OKP, 2: kid, 3: EDDSA, -1: ED25519, -2: bytes.fromhex(told["key"])})


def payload(message):
    envelope = cbor2.loads(message)
    assert envelope.tag == 18 and len(envelope.value) == 4, envelope
    assert cbor2.loads(envelope.value[0]) == {ALG: EDDSA, KID: kid}, envelope
    try:
        return COSE.new().decode(message, key).decode()
    except VerifyError:
        return None


print(json.dumps([payload(bytes.fromhex(message)) for message in told["messages"]]))
