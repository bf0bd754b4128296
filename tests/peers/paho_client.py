"""Drives a listener with Paho for Python: paho_client.py PORT 3.1.1|5

Publishes and subscribes in every quality of service, meets a retained message, gets what came while it was away, and sees a
will come true. Each step is a line on standard output.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 10


class Peer:
    def __init__(self, port, version, name, lasting=False, will=None):
        self.five = version == "5"
        self.got, self.done = queue.Queue(), queue.Queue()
        kwargs = {} if self.five else {"clean_session": not lasting}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=mqtt.MQTTv5 if self.five else mqtt.MQTTv311,
            **kwargs,
        )
        self.client.on_connect = lambda *a: self.done.put(("connected", a[2], a[3]))
        self.client.on_message = lambda _c, _u, message: self.got.put(message)
        self.client.on_publish = lambda *a: self.done.put(("published", a[3]))
        self.client.on_subscribe = lambda *a: self.done.put(("subscribed", a[3]))
        if will:
            self.client.will_set(*will)
        kwargs = {}
        if self.five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 60 if lasting else 0
            kwargs = {"clean_start": not lasting, "properties": properties}
        self.client.connect("127.0.0.1", port, keepalive=30, **kwargs)
        self.client.loop_start()
        _, self.flags, code = self.wait("connected")
        assert not code.is_failure, code

    def wait(self, what):
        while True:
            event = self.done.get(timeout=PATIENCE_S)
            if event[0] == what:
                return event

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        codes = self.wait("subscribed")[1]
        assert codes[0].value == qos, codes

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain)
        self.wait("published")

    def message(self):
        return self.got.get(timeout=PATIENCE_S)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


def main(port, version):
    port, space = int(port), f"paho/{version}"
    publisher = Peer(port, version, "paho-publisher")
    print("connected")
    subscriber = Peer(port, version, "paho-subscriber", lasting=True)
    subscriber.subscribe(f"{space}/#", 2)
    for qos in range(3):
        publisher.publish(f"{space}/{qos}", f"payload {qos}", qos)
        message = subscriber.message()
        assert (message.qos, message.payload) == (qos, b"payload %d" % qos), message
        print("received", qos)

    publisher.publish(f"{space}/kept", "state", 1, retain=True)
    assert not subscriber.message().retain
    late = Peer(port, version, "paho-late")
    late.subscribe(f"{space}/kept", 1)
    message = late.message()
    assert message.retain and message.payload == b"state"
    print("retained")

    # Its answer comes after everything that was acknowledged before.
    subscriber.subscribe(f"{space}/nothing", 1)
    subscriber.leave()
    for number in range(5):
        publisher.publish(f"{space}/away", str(number), 2)
    subscriber = Peer(port, version, "paho-subscriber", lasting=True)
    assert subscriber.flags.session_present
    for number in range(5):
        message = subscriber.message()
        assert (message.qos, message.payload) == (2, b"%d" % number), message.payload
    print("away")

    doomed = Peer(port, version, "paho-doomed", will=(f"{space}/will", "gone", 1, False))
    doomed.client.loop_stop()
    doomed.client.socket().close()
    assert subscriber.message().payload == b"gone"
    print("will")
    for peer in (publisher, late, subscriber):
        peer.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
