"""Packets between a gateway and its hub, as docs/formats/uplink.md describes them; it shares nothing with ours.

Opens packets: reads lines of JSON, each with "key" and "bytes", and answers each with a line of JSON. Bytes are
hexadecimal, values of readings the hexadecimal digits of their 64 bits. Dictionaries that it has opened once it knows from
then on. uplink_seal.py writes packets, uplink_carriers.py reads what carries them.
"""

import hashlib
import hmac
import json
import struct
import sys
import zlib

U32, U64, I64 = (1 << 32) - 1, (1 << 64) - 1, 1 << 63
SPANS = [1, 1_000, 60_000, 600_000, 3_600_000, 21_600_000, 86_400_000]
POWERS = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 1_000_000.0]

# What each kind of item holds: name and form; `#` is a counted list of rows, `*` one up to the end, `?N` is there where
# bit N of `has` is set.
ITEMS = {
    ("up", 1): "has:u8 clock:clock faults:n16 uptime_s:number nodes_heard:n32 nodes_declared:n32 open_warnings:n32 "
    "backlog_blocks:number backlog_bytes:number budget_used:number outbox_waiting:n32 version:text32 sent?0:signed "
    "oldest?1:signed left?2:number free?3:number",
    ("up", 2): "boot:number at:signed offset:signed quality:clock",
    ("up", 3): "version:text rules#:name,name,name signals#:name,signal",
    ("up", 4): "head:head book:b4 warning:number number:n32 rule:n32 sent:u40 valid:span observed*:n32,value",
    ("up", 5): "head:head warning:number number:n32 sent:signed expires:signed rule_version:text rule:text hazard:text "
    "area:text observed*:signal,value",
    ("up", 6): "warning:number alert:n32 recipients:n32 delivered:n32 accepted:n32 failed:n32 expired:n32 waiting:n32 "
    "acknowledged:n32",
    ("up", 7): "warning:number at:signed ending:clock",
    ("up", 8): "readings*:name,sensor,at,value",
    ("up", 9): "chain:u32 number:number previous:b8 bytes:rest",
    ("up", 10): "chain:u32 first:number more:number",
    ("up", 11): "reference:u16 total:u8 parts:rest",
    ("down", 1): "packet:number mark:b8 refused*:n32,number",
    ("down", 2): "chain:u32 runs*:number,number",
    ("down", 3): "book:b4",
    ("down", 4): "unix_ms:signed",
    ("down", 5): "",
    ("down", 6): "reference:u16 total:u8 parts:rest",
}


def need(so):
    if not so:
        raise ValueError


def wrap(n):
    return (n + I64 & U64) - I64


def bits_of(value):
    return struct.unpack(">Q", struct.pack(">d", value))[0]


def unfold(f):
    return f >> 1 ^ -(f & 1)


def decimal(number, parts):
    return float(unfold(number >> 3)) / POWERS[number & 7] / float(parts)


def first_bytes_of_hash(label, data, count):
    return hashlib.sha256(label + b"\0" + data).digest()[:count].hex()


class Reader:
    def __init__(self, data):
        self.data, self.names, self.last = data, [], 0

    def take(self, count):
        need(count <= len(self.data))
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, most=U64):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                need(number <= most)
                return number

    def signed(self):
        return unfold(self.number())

    def text(self, most=255):
        return self.take(self.number(most)).decode()

    def span(self):
        number = self.number()
        need(number & 7 < 7 and (number >> 3) * SPANS[number & 7] <= U64)
        return (number >> 3) * SPANS[number & 7]

    def name(self):
        number = self.number()
        if number == 0:
            self.names.append(self.text())
        need(number <= len(self.names))
        return self.names[number - 1]

    def head(self):
        byte = self.take(1)[0]
        return need(byte < 162) or [byte // 54, byte // 9 % 6, byte // 3 % 3, byte % 3]

    def signal(self):
        index, quantity, function = self.number(U32), self.number(22), self.take(1)[0]
        need(quantity and function < 8)
        return [index, quantity, function, self.span() if function else 0]

    def sensor(self):
        number = self.number(45)
        quality = self.take(1)[0] if number & 1 else 0
        need(number > 1 and quality < 7)
        return [number >> 1, quality]

    def at(self):
        self.last = wrap(self.last + self.signed())
        return self.last

    def value(self):
        number = self.number()
        parts, steps = 1, 0
        if number == 7:
            return self.take(8).hex()
        if number & 7 == 7:
            parts, steps, number = number >> 3, self.signed(), self.number()
        elif number & 7 == 6:
            steps, number = unfold(number >> 3), self.number()
        return f"{bits_of(decimal(number, parts)) + steps & U64:016x}"

    def form(self, form):
        if form[0] == "u" or form == "clock":
            number = int.from_bytes(self.take(int(form[1:]) // 8 if form[0] == "u" else 1), "big")
            need(form != "clock" or number < 3)
            return number
        if form in ("n16", "n32"):
            return self.number((1 << int(form[1:])) - 1)
        if form[0] == "b" or form == "rest":
            return self.take(len(self.data) if form == "rest" else int(form[1:])).hex()
        return self.text(32) if form == "text32" else getattr(self, form)()

    def rows(self, forms, count):
        rows = []
        while len(self.data) > 0 if count is None else len(rows) < count:
            rows.append([self.form(form) for form in forms])
        return rows


def fields(kind, item):
    for field in ITEMS[kind].split():
        name, form = field.split(":")
        name, _, bit = name.partition("?")
        if not bit or item["has"] >> int(bit) & 1:
            yield name.rstrip("#*"), name[-1], form.split(",")


def read_item(kind, body, books):
    need(kind in ITEMS)
    r, item = Reader(body), {"kind": kind[1]}
    for name, how, forms in fields(kind, item):
        if how in "#*":
            item[name] = r.rows(forms, r.number() if how == "#" else None)
        else:
            item[name] = r.form(forms[0])
    if kind == ("up", 3):
        need(len(body) <= 65_536)
        item["id"] = first_bytes_of_hash(b"kengele book", body, 4)
        books[item["id"]] = item
    elif kind == ("up", 4):
        need(item["sent"] + item["valid"] < I64)
        if book := books.get(item["book"]):
            rule, hazard, area = book["rules"][item["rule"]]
            observed = [[book["signals"][place][1], value] for place, value in item["observed"]]
            item["expanded"] = [book["version"], rule, hazard, area, observed]
    elif kind == ("up", 9):
        place = struct.pack(">IQ", item["chain"], item["number"])
        item["id"] = first_bytes_of_hash(b"kengele block id", place + bytes.fromhex(item["previous"] + item["bytes"]), 16)
    runs = {("up", 10): [[item.get("first"), item.get("more")]], ("down", 2): item.get("runs")}.get(kind, [])
    need(all(first + more <= U64 for first, more in runs))
    return item


def tag(key, first, signed):
    return hmac.new(key, b"kengele packet\0" + signed, hashlib.sha256).digest()[: 8 if first & 2 else 16]


def open_packet(key, data, books):
    first, end = data[0], len(data) - (8 if data[0] & 2 else 16)
    need(first & 0xFC == 0x10 and len(data) <= 1 << 18)
    if not hmac.compare_digest(tag(key, first, data[:end]), data[end:]):
        return {"error": "tag"}
    r, way, items = Reader(data[1:end]), "down" if first & 1 else "up", []
    gateway, packet = r.number(U32), r.number()
    while r.data:
        kind, body = r.number(), r.take(r.number())
        try:
            items.append(read_item((way, kind), body, books))
        except (ValueError, IndexError):
            items.append({"kind": kind, "unreadable": body.hex()})
    need(len(items) <= 1_024)
    return {"first": first, "gateway": gateway, "packet": packet, "mark": data[end:][:8].hex(), "items": items}


if __name__ == "__main__":
    known = {}
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(open_packet(bytes.fromhex(order["key"]), bytes.fromhex(order["bytes"]), known)))
