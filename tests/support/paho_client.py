"""Paho as a gateway: subscribes, publishes every report with QoS 1, prints what it was told as JSON."""
import json
import sys
import threading

import paho.mqtt.client as mqtt

told = json.loads(sys.argv[1])
gateway, reports = told["gateway"], told["reports"]
seen = {"acknowledged": 0, "failures": [], "refusals": [], "suback": None, "limits": {}}
subscribed, done = threading.Event(), threading.Event()


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        sys.exit(f"refused: {reason}")
    if properties is not None:
        seen["limits"] = properties.json()
    client.subscribe([(f"shangyun/v1/{gateway}/refused", 0), ("#", 0)])


def on_subscribe(client, userdata, mid, reasons, properties):
    seen["suback"] = [reason.value for reason in reasons]
    subscribed.set()


def on_publish(client, userdata, mid, reason, properties):
    seen["acknowledged"] += 1
    if reason.is_failure:
        seen["failures"].append(reason.value)
    if seen["acknowledged"] == len(reports):
        done.set()


def on_message(client, userdata, message):
    seen["refusals"].append(json.loads(message.payload))


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=gateway, protocol=told["version"])
client.username_pw_set(gateway, told["token"])
client.max_inflight_messages_set(100)
client.on_connect, client.on_subscribe, client.on_publish, client.on_message = on_connect, on_subscribe, on_publish, on_message
client.connect(told["host"], told["port"])
client.loop_start()
if not subscribed.wait(20):
    sys.exit("no SUBACK")
for report in reports:
    client.publish(f"shangyun/v1/{gateway}/report", report, qos=1)
if not done.wait(20):
    sys.exit(f"not everything was acknowledged: {seen}")
client.disconnect()
client.loop_stop()
print(json.dumps(seen))
