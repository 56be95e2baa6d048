"""Verifies an evidence pack by its description in ARCHITECTURE.md alone: the seal, the result's signature, and that every record
stood in the log whose root was signed. Usage: verify_pack.py PACK JWKS"""

import base64
import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify_jws(jws, keys):
    protected, payload, signature = jws.split(".")
    header = json.loads(unb64(protected))
    assert header["alg"] == "EdDSA"
    key = Ed25519PublicKey.from_public_bytes(unb64(keys[header["kid"]]["x"]))
    key.verify(unb64(signature), f"{protected}.{payload}".encode())
    return header, unb64(payload)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(first, until, shown, hashes):
    if not any(first <= leaf < until for leaf in shown):
        return next(hashes)
    if until - first == 1:
        return shown[first]
    middle = first + (1 << (until - first - 1).bit_length() - 1)
    left = root(first, middle, shown, hashes)
    return sha(b"\x01", left, root(middle, until, shown, hashes))


def proved(size, shown, hashes):
    rest = iter(hashes)
    found = root(0, size, shown, rest)
    assert next(rest, None) is None, "a hash too many"
    return found


def main(pack, jwks):
    data = open(pack, "rb").read()
    keys = {key["kid"]: key for key in json.load(open(jwks))["keys"]}
    archive = tarfile.open(fileobj=io.BytesIO(data))
    members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}

    header, payload = verify_jws(members["seal.jws"].decode(), keys)
    assert header["typ"] == "shangyun-pack"
    sealed = json.loads(payload)
    assert hashlib.sha256(data[: int(sealed["bytes"], 16)]).hexdigest() == sealed["sha256"]

    header, payload = verify_jws(members["result.jws"].decode(), keys)
    assert payload == members["result.json"]
    result = json.loads(payload)
    for name, expected in [("register.json", result["register_hash"]), ("refusals.json", header["refusals"])]:
        assert "sha256:" + hashlib.sha256(members[name]).hexdigest() == expected, name

    source = io.BytesIO(gzip.decompress(members["evidence.bin.gz"]))
    number = lambda form: struct.unpack(form, source.read(struct.calcsize(form)))[0]
    read_hashes = lambda: [source.read(32) for _ in range(number("<I"))]
    assert source.read(4) == b"SYE1"
    leaves, records = {}, 0
    for _ in range(number("<Q")):
        assert number("B") == 2, "this script knows blocks by record only"
        fields = source.read(52)
        block, count = struct.unpack("<Q", fields[8:16])[0], struct.unpack("<I", fields[16:20])[0]
        shown = {}
        for _ in range(number("<I")):
            index = number("<I")
            shown[index] = sha(b"\x00", source.read(number("<I")))
        records += len(shown)
        leaves[block] = sha(b"\x00", fields, proved(count, shown, read_hashes()))
    found = proved(result["evidence"]["log_size"], leaves, read_hashes())
    assert "sha256:" + found.hex() == result["evidence"]["root"], "the records are not of the log that was judged"
    print(f"{records} records proved against {result['evidence']['root']}; {result['voucher']}: {result['verdict']}")


main(*sys.argv[1:])
