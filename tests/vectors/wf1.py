#!/usr/bin/env python3
"""Writes wf1.json: known answers for WF1, our radio link.

A second implementation of docs/formats/wf1.md, by PyPI `cryptography` (AES-CCM and the SP 800-108 KDF with CMAC come from
OpenSSL). It shares no line with src/wire/sealed. Run it again after a change of the format:

    pip install cryptography && python3 tests/vectors/wf1.py > tests/vectors/wf1.json
"""

import base64
import json
import random
import struct

import cryptography
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

draw = random.Random(20261127)
KINDS = ["telemetry", "alarm", "health", "ack", "command", "time", "rekey"]


def derive(root, label, context):
    """One block of SP 800-108 in counter mode: 1 byte of counter, 2 of length, before the fixed part."""
    kdf = KBKDFCMAC(
        algorithm=algorithms.AES,
        mode=Mode.CounterMode,
        length=16,
        rlen=1,
        llen=2,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    return kdf.derive(root)


def header(kind, epoch, ack_wanted, down):
    return 1 << 6 | KINDS.index(kind) << 3 | (epoch & 1) << 2 | int(ack_wanted) << 1 | int(down)


def frame(case):
    down = case["direction"] == "down"
    context = struct.pack(">IHH", case["net"], case["node"], case["epoch"])
    key = derive(bytes.fromhex(case["root"]), b"WF1 dn" if down else b"WF1 up", context)
    first = header(case["kind"], case["epoch"], case["ack_wanted"], down)
    counter = struct.pack(">I", case["counter"])
    aad = struct.pack(">BH", first, case["node"]) + (counter[3:] if down else counter[1:])
    nonce = bytes([first]) + context + counter
    sealed = AESCCM(key, tag_length=8 if down else 6).encrypt(nonce, bytes.fromhex(case["payload"]), aad)
    return (aad + sealed).hex()


def frames():
    cases = []
    for number in range(160):
        down = number % 2 == 1
        kinds = ["ack", "command", "time", "rekey"] if down else ["telemetry", "alarm", "health", "ack"]
        length = [0, 1, 8, 11, 15, 16, 17, 24, 243][number % 9] if number < 36 else draw.randrange(0, 60)
        case = {
            "direction": "down" if down else "up",
            "net": draw.choice([0, 0xFFFFFFFF, draw.getrandbits(32)]),
            "node": draw.choice([0, 0xFFFF, draw.getrandbits(16)]),
            "epoch": draw.choice([0, 1, 0xFFFF, draw.getrandbits(16)]),
            "root": draw.randbytes(16).hex(),
            "kind": draw.choice(kinds),
            "ack_wanted": draw.random() < 0.5,
            "counter": draw.choice([0, 255, 256, 0xFFFFFF, 0x1000000, 0xFFFFFFFF, draw.getrandbits(32)]),
            "payload": draw.randbytes(length).hex(),
        }
        case["frame"] = frame(case)
        cases.append(case)
    return cases


def rekeys():
    cases = []
    for _ in range(30):
        net, node, epoch = draw.getrandbits(32), draw.getrandbits(16), draw.randrange(0, 0xFFFF)
        root, fresh = draw.randbytes(16), draw.randbytes(16)
        after = derive(root, b"WF1 rk", struct.pack(">IHH", net, node, epoch + 1) + fresh)
        cases.append({"net": net, "node": node, "epoch": epoch, "root": root.hex(), "random": fresh.hex(),
                      "next_root": after.hex()})
    return cases


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def codes():
    cases = []
    for _ in range(20):
        net, node, epoch, root = draw.getrandbits(32), draw.getrandbits(16), draw.getrandbits(16), draw.randbytes(16)
        body = struct.pack(">IHH", net, node, epoch) + root
        text = base64.b32encode(body + struct.pack(">H", crc16(body))).decode().rstrip("=")
        cases.append({"net": net, "node": node, "epoch": epoch, "root": root.hex(), "code": "WF1:" + text})
    return cases


def crc8(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def report(case):
    """Writes a report as one long binary numeral."""
    digest = crc8(b"".join(struct.pack(">BiIB", *field) for field in case["fields"]))
    uptime = (case["uptime_s"] // 60 + 1).bit_length() - 1
    digits = f"{digest:08b}{len(case['readings']) - 1:03b}{uptime:05b}"
    for reading in case["readings"]:
        age = case["counter"] - reading["id"]
        if age < 128 and not reading["before_restart"]:
            digits += f"0{age:07b}"
        else:
            digits += f"1{int(reading['before_restart'])}{age:022b}"
        for (_, low, step, bits), value in zip(case["fields"], reading["values"]):
            special = {"missing": 1, "above": 2, "below": 3, "faulty": 4}
            code = 2**bits - special[value] if value in special else (value - low) // step
            digits += f"{code:0{bits}b}"
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big").hex()


def reports():
    cases = []
    for _ in range(60):
        fields = []
        for _ in range(draw.randrange(1, 8)):
            bits = draw.randrange(3, 21)
            fields.append([draw.randrange(1, 23), draw.randrange(-100_000, 100_000), draw.randrange(1, 1000), bits])
        counter = draw.randrange(5_000_000, 2**32)
        readings = []
        for _ in range(draw.randrange(1, 6)):
            values = []
            for _, low, step, bits in fields:
                value = low + step * draw.randrange(0, 2**bits - 4)
                values.append(draw.choice([value, value, value, "missing", "above", "below", "faulty"]))
            age = draw.choice([0, 127, 128, 4_194_303, draw.randrange(0, 100_000)])
            readings.append({"id": counter - age, "before_restart": draw.random() < 0.2, "values": values})
        case = {"fields": fields, "counter": counter, "uptime_s": draw.choice([0, 59, 60, 2**32 - 1,
                draw.getrandbits(24)]), "readings": readings}
        case["payload"] = report(case)
        cases.append(case)
    return cases


def downs():
    """Messages to nodes: flags, 24 bits of reference, then number and body."""
    cases = []
    for number in range(40):
        answer, ack = draw.random() < 0.5, draw.random() < 0.5
        reference, order = draw.getrandbits(24), draw.getrandbits(16)
        what = ["none", "siren_on", "siren_off", "siren_test", "interval", "time", "rekey"][number % 7]
        seconds, unix_s = draw.randrange(1, 65536), draw.getrandbits(32)
        fresh, epoch = draw.randbytes(16), draw.getrandbits(16)
        body = {
            "none": b"",
            "siren_on": struct.pack(">BH", 1, seconds),
            "siren_off": b"\x02",
            "siren_test": struct.pack(">BH", 3, seconds),
            "interval": struct.pack(">BH", 4, seconds),
            "time": struct.pack(">I", unix_s),
            "rekey": struct.pack(">H", epoch) + fresh,
        }[what]
        kind = {"none": "ack", "time": "time", "rekey": "rekey"}.get(what, "command")
        payload = bytes([int(answer) | int(ack) << 1]) + struct.pack(">I", reference)[1:]
        payload += b"" if what == "none" else struct.pack(">H", order) + body
        cases.append({"kind": kind, "what": what, "answer": answer, "ack": ack, "reference": reference,
                      "number": order, "seconds": seconds, "unix_s": unix_s, "random": fresh.hex(), "epoch": epoch,
                      "payload": payload.hex()})
    return cases


print(json.dumps({
    "made_by": f"tests/vectors/wf1.py, PyPI cryptography {cryptography.__version__}",
    "frames": frames(), "rekeys": rekeys(), "codes": codes(), "reports": reports(), "downs": downs(),
}, indent=1))
