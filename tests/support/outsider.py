"""Recomputes judgement_hash of a monitoring result as an outsider: RFC 8785 by hand, no code of the product.

Reads a result on standard input; prints the hash it should carry.
"""
import hashlib
import json
import sys

LEFT_OUT = ("sequence", "supersedes", "judged_at", "judgement_hash", "evidence")
SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def text(value):
    def one(character):
        if character in SHORT:
            return SHORT[character]
        return f"\\u{ord(character):04x}" if ord(character) < 0x20 else character

    return '"' + "".join(map(one, value)) + '"'


def canonical(value):
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        assert abs(value) < 2**53, value
        return str(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        # RFC 8785 orders names by their UTF-16 code units.
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(text(name) + ":" + canonical(value[name]) for name in names) + "}"
    raise SystemExit(f"a result holds no floats: {value!r}")


result = json.load(sys.stdin)
judged = {name: value for name, value in result.items() if name not in LEFT_OUT}
print("sha256:" + hashlib.sha256(canonical(judged).encode("utf-8")).hexdigest())
