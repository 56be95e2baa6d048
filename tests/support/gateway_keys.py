"""What a gateway of any other make computes: its public key, its proof, users' pseudonyms. Prints them as JSON.

told: {"seed": Ed25519 seed in hex, "gateway": id, "pseudonym_key": hex, "user": text}; what is not told is left out"""
import base64
import hashlib
import hmac
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

told, said = json.loads(sys.argv[1]), {}
if "seed" in told:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["seed"]))
    said["public_key"] = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    said["proof"] = base64.b64encode(key.sign(b"shangyun-enrol-v1:" + told["gateway"].encode())).decode()
    said["seed_base64"] = base64.b64encode(bytes.fromhex(told["seed"])).decode()
if "pseudonym_key" in told:
    said["user"] = hmac.new(bytes.fromhex(told["pseudonym_key"]), told["user"].encode(), hashlib.sha256).hexdigest()
print(json.dumps(said))
