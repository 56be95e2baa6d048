"""An edge node whose Sparkplug B payloads are made by pysparkplug: births with aliases, data by alias, a will.

Told by one JSON argument: host, port, gateway, token, group, devices, data (messages per device after the births, default 0),
version (4 or 5, default 4). Then one command a line on standard input:
  data          a DDATA of every born device            skip            one number of seq is passed over
  birth DEVICE  a DBIRTH                                death DEVICE    a DDEATH
  rebirth       NBIRTH and DBIRTHs, unasked             again           the last message once more, byte for byte
  end           NDEATH and DISCONNECT                   abort           gone without a word, so that the will speaks
Says what happened, one JSON object a line on standard output: {"event": "connected" | "subscribed" | "published" | "received" | ...}.
"""
import json
import os
import sys
import threading

import paho.mqtt.client as mqtt
from pysparkplug import DBirth, DData, DDeath, DataType, Metric, NBirth, NCmd, NDeath, get_current_timestamp

told = json.loads(sys.argv[1])
GROUP, GATEWAY = told["group"], told["gateway"]
BD_SEQ = told.get("bd_seq", 0)
POINTS = [("功率_kw", DataType.FLOAT), ("零件数", DataType.UINT32), ("运行", DataType.BOOLEAN), ("温差", DataType.INT16)]
REBIRTH = "Node Control/Rebirth"

lock = threading.RLock()
born = list(told["devices"])
state = {"seq": 0, "count": 0, "last": None}
subscribed = threading.Event()


def say(event, **more):
    with lock:
        print(json.dumps({"event": event, **more}, ensure_ascii=False), flush=True)


def topic(kind, device=None):
    return f"spBv1.0/{GROUP}/{kind}/{GATEWAY}" + (f"/{device}" if device else "")


def bd_seq(now):
    return Metric(timestamp=now, name="bdSeq", datatype=DataType.INT64, value=BD_SEQ)


def next_seq():
    seq = state["seq"]
    state["seq"] = (seq + 1) % 256
    return seq


def publish(kind, payload, device=None):
    send(topic(kind, device), payload.encode())
    say("published", kind=kind, device=device, seq=getattr(payload, "seq", None), timestamp=payload.timestamp)


def send(where, payload):
    state["last"] = (where, payload)
    client.publish(where, payload, qos=0)


def points(device, now, named):
    state["count"] += 1
    count = state["count"]
    values = [count + 0.25, count, count % 2 == 0, -count]
    first = 100 * (told["devices"].index(device) + 1)
    return tuple(
        Metric(timestamp=now, name=name if named else None, alias=first + at, datatype=datatype, value=value)
        for at, ((name, datatype), value) in enumerate(zip(POINTS, values))
    )


def births():
    with lock:
        state["seq"] = 0
        now = get_current_timestamp()
        rebirth = Metric(timestamp=now, name=REBIRTH, datatype=DataType.BOOLEAN, value=False)
        publish("NBIRTH", NBirth(timestamp=now, seq=next_seq(), metrics=(bd_seq(now), rebirth)))
        for device in born:
            device_birth(device)


def device_birth(device):
    now = get_current_timestamp()
    publish("DBIRTH", DBirth(timestamp=now, seq=next_seq(), metrics=points(device, now, named=True)), device)


def data():
    for device in born:
        now = get_current_timestamp()
        publish("DDATA", DData(timestamp=now, seq=next_seq(), metrics=points(device, now, named=False)), device)


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        say("refused", reason=str(reason))
        os._exit(1)
    say("connected")
    client.subscribe([(topic("NCMD"), 1), (topic("DCMD", "#"), 1), ("spBv1.0/STATE/+", 1)])


def on_subscribe(client, userdata, mid, reasons, properties):
    say("subscribed", reasons=[reason.value for reason in reasons])
    subscribed.set()


def on_message(client, userdata, message):
    if message.topic.startswith("spBv1.0/STATE/"):
        return say("received", topic=message.topic, state=json.loads(message.payload), retain=message.retain)
    metrics = {metric.name: metric.value for metric in NCmd.decode(message.payload).metrics}
    say("received", topic=message.topic, metrics=metrics)
    if message.topic == topic("NCMD") and metrics.get(REBIRTH) is True:
        births()


def on_disconnect(client, userdata, flags, reason, properties):
    say("disconnected", reason=str(reason))


def command(word, device=None):
    if word == "data":
        data()
    elif word == "skip":
        next_seq()
    elif word == "again":
        send(*state["last"])
        say("published again", topic=state["last"][0])
    elif word == "rebirth":
        births()
    elif word == "birth":
        born.append(device)
        device_birth(device)
    elif word == "death":
        born.remove(device)
        publish("DDEATH", DDeath(timestamp=get_current_timestamp(), seq=next_seq()), device)
    elif word == "end":
        now = get_current_timestamp()
        publish("NDEATH", NDeath(timestamp=now, bd_seq_metric=bd_seq(now)))
        client.disconnect()
        client.loop_stop()
        os._exit(0)
    elif word == "abort":
        os._exit(0)
    else:
        sys.exit(f"unknown command {word!r}")


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=GATEWAY, protocol=told.get("version", 4))
client.username_pw_set(GATEWAY, told["token"])
client.will_set(topic("NDEATH"), NDeath(timestamp=get_current_timestamp(), bd_seq_metric=bd_seq(get_current_timestamp())).encode())
client.on_connect, client.on_subscribe, client.on_message, client.on_disconnect = on_connect, on_subscribe, on_message, on_disconnect
client.connect(told["host"], told["port"])
client.loop_start()
if not subscribed.wait(20):
    sys.exit("no SUBACK")
births()
for _ in range(told.get("data", 0)):
    with lock:
        data()
for line in sys.stdin:
    with lock:
        command(*line.split())
