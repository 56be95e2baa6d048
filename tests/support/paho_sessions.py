"""Paho as a gateway through the life of a session; prints what it saw as JSON."""
import json
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

told = json.loads(sys.argv[1])
gateway, version = told["gateway"], told["version"]
below = f"shangyun/v1/{gateway}"
client_id = f"{gateway}/paho"


class Client:
    def __init__(self, client_id, kept=False, will=None, keep_alive=60):
        self.messages, self.pubacks, self.ended = [], [], []
        self.changed = threading.Condition()
        self.present = self.granted = None
        clean = {} if version == 5 else {"clean_session": not kept}
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, **clean)
        self.mqtt.username_pw_set(gateway, told["token"])
        if will:
            self.mqtt.will_set(f"{below}/gone", will, qos=1)
        self.mqtt.on_connect, self.mqtt.on_disconnect = self.connected, self.disconnected
        self.mqtt.on_subscribe, self.mqtt.on_publish = self.subscribed, self.published
        self.mqtt.on_message = self.come
        start = {}
        if version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if kept else 0
            start = {"clean_start": not kept, "properties": properties}
        self.mqtt.connect(told["host"], told["port"], keepalive=keep_alive, **start)
        self.mqtt.loop_start()
        self.wait("CONNACK", lambda: self.present is not None)

    def note(self, change):
        with self.changed:
            change()
            self.changed.notify_all()

    def wait(self, what, ready):
        with self.changed:
            if not self.changed.wait_for(ready, 20):
                sys.exit(f"waited in vain: {what}")

    def connected(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            sys.exit(f"refused: {reason}")
        self.note(lambda: setattr(self, "present", flags.session_present))

    def disconnected(self, client, userdata, flags, reason, properties):
        self.note(lambda: self.ended.append(reason.value))

    def subscribed(self, client, userdata, mid, reasons, properties):
        self.note(lambda: setattr(self, "granted", [reason.value for reason in reasons]))

    def published(self, client, userdata, mid, reason, properties):
        self.note(lambda: self.pubacks.append(reason.value))

    def come(self, client, userdata, message):
        self.note(lambda: self.messages.append((message.topic, message.qos, message.payload.decode())))

    def subscribe(self, topic):
        self.mqtt.subscribe(topic, qos=1)
        self.wait("SUBACK", lambda: self.granted is not None)
        return self.granted

    def publish(self, payload):
        count = len(self.pubacks) + 1
        self.mqtt.publish(f"{below}/report", payload, qos=1)
        self.wait("PUBACK", lambda: len(self.pubacks) == count)
        return self.pubacks[-1]

    def message(self):
        self.wait("a message", lambda: self.messages)
        return self.messages.pop(0)

    def leave(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def vanish(self):
        """The network is gone without a goodbye."""
        self.mqtt.loop_stop()
        self.mqtt.socket().close()


def faulty(boot):
    return json.dumps({"v": 2, "boot": boot, "seq": 1})


seen = {}
client = Client(client_id, kept=True)
seen["first_present"], seen["granted"] = client.present, client.subscribe(f"{below}/refused")
seen["accepted"], seen["refused"] = client.publish(told["report"]), client.publish(faulty("now"))
seen["now"] = client.message()[1:]
client.leave()
beside = Client(f"{gateway}/paho-beside")
beside.publish(faulty("away"))
client = Client(client_id, kept=True)
seen["again_present"], seen["away"] = client.present, client.message()[1:]
second = Client(client_id, kept=True)
client.wait("the take-over", lambda: client.ended)
client.mqtt.loop_stop()
seen["taken_over"] = client.ended[0]
second.leave()
client = Client(client_id)
seen["clean_present"] = client.present
client.leave()
beside.subscribe(f"{below}/gone")
Client(f"{gateway}/paho-will", will="lost").vanish()
seen["will"] = beside.message()[1:]
beside.leave()
client = Client(client_id, keep_alive=1)
time.sleep(3)
seen["kept_alive"] = client.publish(told["report"]) == 0 and not client.ended
client.leave()
print(json.dumps(seen))
