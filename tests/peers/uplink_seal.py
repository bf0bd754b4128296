"""Seals packets as docs/formats/uplink.md describes them: the other half of uplink.py.

Reads lines of JSON, each with "key" and "packet", in the form in which uplink.py tells one, and answers each with the
packet's bytes in hexadecimal.
"""

import json
import math
import struct
import sys

from uplink import POWERS, bits_of, decimal, fields, tag, wrap


def fold(n):
    return 2 * n if n >= 0 else -2 * n - 1


class Writer:
    """Where there is a choice it writes otherwise than ours does."""

    def __init__(self):
        self.out, self.names, self.last, self.turn = bytearray(), [], 0, 0

    def number(self, number):
        while number > 127:
            self.out.append(number & 127 | 128)
            number >>= 7
        self.out.append(number)

    def signed(self, number):
        self.number(fold(number))

    def text(self, text):
        self.number(len(text.encode()))
        self.out += text.encode()

    def span(self, ms):
        unit = 1 if ms % 1_000 == 0 else 0
        self.number(ms // [1, 1_000][unit] << 3 | unit)

    def name(self, name):
        known = name in self.names
        self.number(self.names.index(name) + 1 if known else 0)
        if not known:
            self.names.append(name)
            self.text(name)

    def head(self, head):
        self.out.append(((head[0] * 6 + head[1]) * 3 + head[2]) * 3 + head[3])

    def signal(self, signal):
        self.number(signal[0])
        self.number(signal[1])
        self.out.append(signal[2])
        if signal[2]:
            self.span(signal[3])

    def sensor(self, sensor):
        self.number(sensor[0] << 1 | 1)
        self.out.append(sensor[1])

    def at(self, at):
        self.signed(wrap(at - self.last))
        self.last = at

    def value(self, digits):
        value, self.turn = struct.unpack(">d", bytes.fromhex(digits))[0], self.turn + 1
        parts, form = self.turn % 4, self.turn % 6
        if not math.isfinite(value) or abs(value) > 1e9 or parts == 0:
            self.number(7)
            self.out += bytes.fromhex(digits)
            return
        number = fold(round(value * POWERS[form] * parts)) << 3 | form
        steps = wrap(int(digits, 16) - bits_of(decimal(number, parts)))
        if parts == 1 and steps and abs(steps) < 1 << 58:
            self.number(fold(steps) << 3 | 6)
        elif parts > 1 or steps:
            self.number(parts << 3 | 7)
            self.signed(steps)
        self.number(number)

    def form(self, form, value):
        if form[0] == "u" or form == "clock":
            self.out += value.to_bytes(int(form[1:]) // 8 if form[0] == "u" else 1, "big")
        elif form[0] == "b" or form == "rest":
            self.out += bytes.fromhex(value)
        elif form in ("n16", "n32", "text32"):
            self.number(value) if form[0] == "n" else self.text(value)
        else:
            getattr(self, form)(value)


def write_item(kind, item):
    if "unreadable" in item:
        return bytes.fromhex(item["unreadable"])
    w = Writer()
    for name, how, forms in fields(kind, item):
        if how == "#":
            w.number(len(item[name]))
        for row in item[name] if how in "#*" else [[item[name]]]:
            for form, value in zip(forms, row):
                w.form(form, value)
    return bytes(w.out)


def seal_packet(key, packet):
    w = Writer()
    w.out.append(packet["first"])
    w.number(packet["gateway"])
    w.number(packet["packet"])
    for item in packet["items"]:
        body = write_item(("down" if packet["first"] & 1 else "up", item["kind"]), item)
        w.number(item["kind"])
        w.number(len(body))
        w.out += body
    return bytes(w.out + tag(key, packet["first"], bytes(w.out)))


for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps(seal_packet(bytes.fromhex(order["key"]), order["packet"]).hex()))
