"""An agent written by hand: sender.py URL CONNECTIONS BATCHES MESSAGES

Each of CONNECTIONS observed connections is a handshake, BATCHES batches of
MESSAGES received messages of 100 bytes, and a close. Every batch is numbered, and
the next one goes out when its ack is in. One bare event comes last.
"""

import json
import sys
import time

from websockets.sync.client import connect

url, connections, batches, messages = sys.argv[1], *map(int, sys.argv[2:])


def answer(ws, key):
    """The next message that has the key; heartbeats are passed over."""
    while True:
        message = json.loads(ws.recv(timeout=10))
        if key in message:
            return message
        if "flow" not in message:
            sys.exit(f"expected {key}, got {message}")


with connect(url, subprotocols=["wsstats.v1.json"]) as ws:
    if ws.subprotocol != "wsstats.v1.json":
        sys.exit(f"subprotocol {ws.subprotocol}")
    ws.send(json.dumps({"hello": {
        "instance": "0192f0c1-7c1e-7d5e-9b1a-3f0d3c0a9e11",
        "agent": {"name": "sender.py", "version": "1"},
        "resource": {"service.name": "python-agent", "service.instance.id": "one"},
    }}))
    welcome = answer(ws, "welcome")["welcome"]
    if welcome["resume_after"] != 0:
        sys.exit(f"resume_after {welcome['resume_after']}")

    seq = 0

    def deliver(events):
        global seq
        seq += 1
        ws.send(json.dumps({"seq": seq, "events": events}))
        ack = answer(ws, "ack")
        if ack != {"ack": seq}:
            sys.exit(f"expected an ack of {seq}, got {ack}")

    for c in range(connections):
        about = {"ws.connection.id": f"{c + 1:032x}", "ws.role": "server"}
        deliver([{
            "event": "handshake", "time": time.time_ns(), "duration_ns": 850_000, **about,
            "ws.url": "ws://example.com/chat?token=secret", "ws.protocol": "ws",
            "ws.handshake.success": True, "http.status_code": 101,
        }])
        for b in range(batches):
            deliver([{
                "event": "receive", "time": time.time_ns(), **about,
                "ws.message.type": "text", "ws.message.size": 100, "ws.message.seq": b * messages + m + 1,
                "room.id": "lobby",
            } for m in range(messages)])
        deliver([{
            "event": "close", "time": time.time_ns(), **about,
            "ws.close.code": 1000, "ws.close.initiator": "remote",
        }])

    ws.send(json.dumps({"event": "send", "ws.message.type": "text", "ws.message.size": 7}))

print(seq)
