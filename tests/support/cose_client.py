"""A gateway that signs, made of parts that are not ours: seals reports in COSE_Sign1 with cwt, publishes them with Paho by QoS 1,
and prints the reason code of each PUBACK as JSON. Told no host, it prints what it would send, in hexadecimal.

told: {"gateway", "key": Ed25519 seed in base64, "reports": [{"format": "json" | "cbor", "report": {…}}], "host", "port", "token"}"""
import base64
import json
import sys
import threading

import cbor2
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cwt import COSE, COSEKey

OKP, ED25519, EDDSA, ALG, KID = 1, 6, -8, 1, 4

told = json.loads(sys.argv[1])
gateway, seed = told["gateway"], base64.b64decode(told["key"])
public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
key = COSEKey.new({1: OKP, 3: EDDSA, -1: ED25519, -2: public, -4: seed})


def sealed(entry):
    report = entry["report"]
    if entry["format"] == "cbor":
        payload = cbor2.dumps(report)
    else:
        payload = json.dumps(report, ensure_ascii=False, separators=(",", ":")).encode()
    return COSE.new().encode(payload, key, protected={ALG: EDDSA, KID: gateway.encode()})


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        sys.exit(f"refused: {reason}")
    connected.set()


def on_publish(client, userdata, mid, reason, properties):
    reasons[mid] = reason.value
    if len(reasons) == len(messages):
        done.set()


messages = [sealed(entry) for entry in told["reports"]]
if "host" not in told:
    print(json.dumps([message.hex() for message in messages]))
    sys.exit()
connected, done, reasons = threading.Event(), threading.Event(), {}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=gateway, protocol=mqtt.MQTTv5)
client.username_pw_set(gateway, told["token"])
client.on_connect, client.on_publish = on_connect, on_publish
client.connect(told["host"], told["port"])
client.loop_start()
if not connected.wait(20):
    sys.exit("no CONNACK")
sent = [client.publish(f"shangyun/v1/{gateway}/report", message, qos=1).mid for message in messages]
if not done.wait(20):
    sys.exit(f"not everything was acknowledged: {reasons}")
client.disconnect()
client.loop_stop()
print(json.dumps([reasons[mid] for mid in sent]))
