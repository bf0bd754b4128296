"""Payloads of Cayenne LPP as PyPI's pycayennelpp reads them: a line each, hex digits and the items as JSON."""

import json
import random

from cayennelpp import LppFrame
from cayennelpp.lpp_type import LppType

TYPES = [number for number in range(256) if LppType.get_lpp_type(number)]
random.seed(2026)

for _ in range(400):
    payload = bytearray()
    for _ in range(random.randint(1, 6)):
        number = random.choice(TYPES)
        size = sum(LppType.get_lpp_type(number).sizes)
        payload += bytes([random.randrange(256), number]) + random.randbytes(size)
    items = [[int(item.channel), int(item.type), [float(v) for v in item.value]] for item in LppFrame.from_bytes(payload).data]
    print(json.dumps({"hex": payload.hex(), "items": items}))
