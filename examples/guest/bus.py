"""The message bus: connects, comes back after an outage, subscribes again, and hands messages to the app's own loop."""

import collections
import json

from paho.mqtt import client as mqtt

CONNECTED = "connected"  # stands in the inbox, in place of a topic, after each connect
LARGEST = 65536  # bytes of a payload that is worth reading


class Bus:
    def __init__(self, properties, topics):
        self.topics = topics
        # bounded: a flood costs old messages, never memory
        self.inbox = collections.deque(maxlen=1000)
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=properties["racs.mqtt.username"])
        self.client.username_pw_set(properties["racs.mqtt.username"], properties["racs.mqtt.password"])
        self.client.on_connect = self.connected
        self.client.on_message = self.received
        self.client.reconnect_delay_set(1, 5)
        self.client.connect_async(properties["racs.mqtt.host"], int(properties["racs.mqtt.port"]), keepalive=15)
        self.client.loop_start()

    def connected(self, client, userdata, flags, reason, options):
        """Runs in paho's thread: it only hands over, so that no payload can end that thread."""
        if not reason.is_failure:
            client.subscribe([(topic, 0) for topic in self.topics])
            self.inbox.append((CONNECTED, b""))

    def received(self, client, userdata, message):
        if len(message.payload) <= LARGEST:
            self.inbox.append((message.topic, message.payload))

    def messages(self, most=50):
        """At most so many waiting messages: topic and the JSON object; what is no object is left out."""
        for _ in range(min(most, len(self.inbox))):
            topic, payload = self.inbox.popleft()
            try:
                content = json.loads(payload.decode("utf-8")) if payload else {}
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                yield topic, content

    def publish(self, topic, content, retain=False):
        if self.client.is_connected():
            self.client.publish(topic, json.dumps(content), retain=retain)
