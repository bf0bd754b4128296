"""Packets in text messages and in files, as docs/formats/uplink.md describes them; it shares nothing with ours.

Reads lines of JSON, each an order {"do": ...}, and answers each with a line of JSON. Bytes are hexadecimal.
"""

import json
import struct
import sys
import zlib

U32 = (1 << 32) - 1
MAGIC = b"kengele\1"


def join(messages):
    """Joins SMS-SUBMITs without validity, in any order, with repetitions."""
    pieces, total = {}, 1
    for data in messages:
        at = 6 + (data[2] + 1) // 2
        coding, length, user_data = data[at - 1], data[at], data[at + 1 :]
        assert coding == 4 and length == len(user_data) <= 140
        part = 1
        if data[0] & 0x40:
            assert user_data[:3] == b"\6\x08\4"
            total, part, user_data = user_data[5], user_data[6], user_data[7:]
        pieces[part] = user_data
    assert sorted(pieces) == list(range(1, total + 1))
    return b"".join(pieces[part] for part in sorted(pieces))


def whole(data, at):
    """Returns a record's length with its head, and whether its packet is right; None where there is none."""
    length, other, crc = struct.unpack(">III", (data[at : at + 12] + bytes(12))[:12])
    if at + 12 > len(data) or length ^ other != U32 or length > 1 << 18 or at + 12 + length > len(data):
        return None
    return 12 + length, zlib.crc32(data[at + 12 : at + 12 + length]) == crc


def is_begin(data):
    length = int.from_bytes(data[:4], "big")
    other = (length ^ U32).to_bytes(4, "big")
    return len(data) < 4 or length <= 1 << 18 and other[: len(data[4:8])] == data[4:8]


def read_file(data):
    assert data.startswith(MAGIC)
    at, found = len(MAGIC), []
    while at < len(data):
        record = whole(data, at)
        if record and record[1]:
            found.append(["packet", data[at + 12 : at + record[0]].hex()])
            at += record[0]
            continue
        end = at + record[0] if record else len(data)
        place = next((place for place in range(at + 1, end) if (whole(data, place) or (0, False))[1]), None)
        torn = not record and place is None and (is_begin(data[at:]) or not any(data[at:]))
        found.append(["torn" if torn else "damaged", (place or end) - at])
        at = place or end
    return found


def write_file(packets):
    heads = [struct.pack(">III", len(packet), len(packet) ^ U32, zlib.crc32(packet)) for packet in packets]
    return MAGIC + b"".join(head + packet for head, packet in zip(heads, packets))


for line in sys.stdin:
    order = json.loads(line)
    several = [bytes.fromhex(one) for one in order["bytes"]]
    print(json.dumps({
        "join": lambda: join(several).hex(),
        "read": lambda: read_file(several[0]),
        "write": lambda: write_file(several).hex(),
    }[order["do"]]()))
