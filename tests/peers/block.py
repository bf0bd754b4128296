"""A decoder of blocks of readings, as docs/formats/block.md describes them; it shares nothing with ours.

Reads the blocks of a stream as lines of hexadecimal, and writes each one's readings as a line of JSON: [node, quantity,
sequence, at, clock offset, clock quality, stamp or null, value's 64 bits in hexadecimal, quality].
"""

import fractions
import hashlib
import itertools
import json
import math
import struct
import sys

MASK = (1 << 64) - 1
TICKS = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"
EPOCH = 1_704_067_200_000
WEIGHTS = [
    [3400, 2800, 4900, 2400, 2000, 1900, 2000, 2100, 1700, 1500, 1600, 1100, 2500, 1400, 1400],
    [2200, 2700, 2300, 3000, 2500, 2500, 2400, 2500, 2000, 1200, 1500, 900, 5700, 800, 700],
    [1600, 1400, 1700, 1800, 1900, 1700, 1400, 1300, 1200, 1300, 1000, 900, 13700, 900, 900],
]
CERTAIN = 1 << 24
POWERS = itertools.accumulate(range(257), lambda power, _: power * 4_034_748_382 >> 32, initial=1 << 32)
LOGISTIC = [(1 << 56) // ((1 << 32) + power) for power in POWERS]


UNITS = [(5 / 9, -160 / 9), (1.0, -273.15), (25.4, 0.0), (0.0254, 0.0), (0.3048, 0.0), (0.028316846592, 0.0),
         (1 / 3.6, 0.0), (1852 / 3600, 0.0), (0.44704, 0.0), (57.29577951308232, 0.0), (1 / 60, 0.0), (60.0, 0.0),
         (0.001, 0.0), (0.01, 0.0), (10.0, 0.0), (100.0, 0.0), (1000.0, 0.0), (10000.0, 0.0)]


def wrap(n):
    """A whole number as 64 bits with a sign hold it."""
    n &= MASK
    return n - (1 << 64) if n >> 63 else n


class Bit:
    def __init__(self, one=49_152, seen=2):
        self.one, self.seen = one, seen

    def learn(self, bit):
        rate = 131_072 // (2 * self.seen + 3)
        self.one += (65_536 - self.one) * rate >> 16 if bit else -(self.one * rate >> 16)
        self.one = max(32, min(65_503, self.one))
        self.seen = min(40, self.seen + 1)
        return bit


class Coder:
    def __init__(self, data):
        self.data, self.at, self.range = data, 4, 0xFFFF_FFFF
        self.code = int.from_bytes((data + bytes(4))[:4], "big")

    def renew(self):
        while self.range < 1 << 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.range, self.code, self.at = self.range << 8, (self.code << 8 | byte) & 0xFFFF_FFFF, self.at + 1
        if self.at > len(self.data) + 4:
            raise ValueError("cut short")

    def chance(self, one):
        bound = (self.range >> 16) * one
        bit = self.code < bound
        self.code, self.range = (self.code, bound) if bit else (self.code - bound, self.range - bound)
        self.renew()
        return bit

    def bit(self, model):
        return model.learn(self.chance(model.one))

    def share(self, part, whole):
        return self.chance(max(1, min(65_535, (part + 1 << 16) // (whole + 2))))

    def uniform(self, of):
        self.range //= of
        value = self.code // self.range
        if value >= of:
            raise ValueError("bits that no encoder writes")
        self.code -= value * self.range
        self.renew()
        return value

    def plain(self, bits):
        if bits <= 16:
            return self.uniform(1 << bits) if bits else 0
        return self.uniform(1 << 16) << (bits - 16) | self.plain(bits - 16)

    def sized(self):
        length = self.uniform(65)
        return length and 1 << (length - 1) | self.plain(length - 1)

    def signed(self):
        return wrap((folded := self.sized()) >> 1 ^ -(folded & 1))

    def moment(self):
        return wrap(TICKS[self.uniform(8)] * self.signed())


class Track:
    def __init__(self, begun=False):
        self.rare, self.exact, self.begun, self.last, self.before = Bit(600, 16), 0, begun, 0, 0
        self.means, self.errors, self.seen, self.stays = [0, 0], [256] * 6, 0, 0
        self.weights, self.judged = [row[:] for row in WEIGHTS], [0] * 3

    def read(self, c):
        """Returns a whole number, and whether it is the bits of a float instead."""
        if c.bit(self.rare):
            kind = c.uniform(3)
            self.exact = c.plain(64) if kind == 2 else self.exact
            return (self.exact, True) if kind else (c.signed(), False)
        if not self.begun:
            self.begun, self.last = True, c.signed()
            self.before, self.means = self.last, [self.last << 8] * 2
        else:
            self.learn(*self.search(c))
        return self.last, False

    def centres(self):
        last, change = self.last << 8, self.last - self.before << 8
        return [last, last + (change >> 1), last + change, last - (change >> 2), *self.means]

    def below(self, number):
        at, parts = (number << 8) - 128, []
        for centre, pair in zip(self.now, self.widths):
            off = at - centre
            for width in pair:
                place = min(abs(off), width << 4) * ((1 << 32) // width) >> 16
                a, b = LOGISTIC[place >> 12], LOGISTIC[(place >> 12) + 1]
                above = a + ((b - a) * (place & 0xFFF) >> 12)
                parts.append(CERTAIN - above if off < 0 else above)
        parts += [CERTAIN if number > self.last else 0, CERTAIN if number > 0 else 0]
        off = at - (self.last << 8)
        far = ((abs(off) << 20) // (abs(off) + 512 + 7 * self.errors[0])) << 3
        parts.append(CERTAIN // 2 - far if off < 0 else CERTAIN // 2 + far)
        return number, parts, sum(p * w for p, w in zip(parts, self.weights[self.stays]))

    def search(self, c):
        self.now = self.centres()
        self.widths = [[max(41, error * spread >> 8) for spread in (102, 218)] for error in self.errors]
        step = 1 << min(20, max(1, self.errors[0] >> 8).bit_length() - 1)
        whole = sum(self.weights[self.stays]) * CERTAIN
        low, high = self.below(self.last), self.below(self.last + 1)
        if not c.share(high[2] - low[2], whole):
            up = c.share(whole - high[2], whole - high[2] + low[2])
            edge, found = high if up else low, False
            while not found:
                last, edge, step = edge, self.below(edge[0] + step if up else edge[0] - step), step * 2
                found = c.share(*((edge[2] - last[2], whole - last[2]) if up else (last[2] - edge[2], last[2])))
            low, high = (last, edge) if up else (edge, last)
            while high[0] - low[0] > 1:
                middle = self.below(low[0] + (high[0] - low[0]) // 2)
                below = c.share(middle[2] - low[2], high[2] - low[2])
                low, high = (low, middle) if below else (middle, high)
        return low[0], [h - l for h, l in zip(high[1], low[1])]

    def learn(self, x, parts):
        weights = self.weights[self.stays]
        total = sum(w * p for w, p in zip(weights, parts))
        if total:
            judged = self.judged[self.stays] = min(64, self.judged[self.stays] + 1)
            rate = max(1_311, 65_536 // (judged + 2))
            shares = [w * p * ((1 << 52) // total) >> 37 for w, p in zip(weights, parts)]
            weights[:] = [max(13, min(1 << 15, w + ((s - w) * rate >> 16))) for w, s in zip(weights, shares)]
        self.seen = min(64, self.seen + 1)
        rate = max(2_621, 655_360 // (10 * self.seen + 3))
        self.errors = [e + ((abs((x << 8) - at) - e) * rate >> 16) for e, at in zip(self.errors, self.centres())]
        self.means = [m + (((x << 8) - m) * rate >> 16) for m, rate in zip(self.means, (21_845, 3_277))]
        self.stays = min(2, self.stays + 1) if x == self.last else 0
        self.before, self.last = self.last, x


def value_bits(grid, whole):
    form, (factor, offset), to, digits, step = grid
    count = float(wrap(whole * step))
    value = count * float(f"1e-{digits}") if form == 1 else count / 10.0**digits
    if form == 2:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    if form >= 3:
        value = value * factor + offset
    if form == 4:
        value = math.floor(value * 10.0**to + 0.5) / 10.0**to
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def usual(steps, first):
    return sorted(steps)[1] if len(steps) == 3 else steps[0] if steps else first


class Column:
    def __init__(self, c, number, before):
        self.quantity = c.uniform(64)
        if before and c.uniform(2):
            self.node = before.node
        else:
            letters = iter(lambda: c.uniform(40), 38)
            self.node = bytes(c.uniform(256) if n == 39 else ord(LETTERS[n]) for n in letters).decode()
        self.grid = 0, (1.0, 0.0), 0, 2 if self.quantity in (1, 2) else 1, 1
        self.values, self.after, self.usual, self.moves = Track(), 0, Bit(), number == 0
        self.at, self.steps, self.sequence_steps, self.quality = None, [], [], 0
        self.stamp = before.stamp if before else (None, 0)

    def new_grid(self, c):
        form, unit = c.uniform(5), (1.0, 0.0)
        if form >= 3:
            number = c.uniform(32)
            unit = UNITS[number] if number != 31 else struct.unpack("<dd", struct.pack("<QQ", c.plain(64), c.plain(64)))
        to = c.uniform(10) if form == 4 else 0
        self.grid = form, unit, to, c.uniform(10), 1 if c.uniform(2) else c.sized()
        self.values = Track()


class State:
    def __init__(self):
        self.columns, self.now, self.rows, self.tick, self.stamp_tick, self.step = [], 0, 0, TICKS[7], TICKS[7], 0
        self.follows, self.next, self.moves, self.clock_same = Bit(), Bit(), [Bit(), Bit()], Bit()
        self.stamp_same, self.quality_same, self.grid_same, self.block_same = Bit(), Bit(), Bit(), [Bit(), Bit(), Bit()]
        self.sequence_off, self.time_off, self.stamp_off = Track(True), Track(True), Track(True)

    def block(self, c):
        if not self.columns:
            self.at = c.moment()
            self.sequence = c.sized() - 1 & MASK
            self.clock = wrap(c.moment() + EPOCH - self.at), c.uniform(3)
        self.origin = self.at
        self.rows = self.rows if c.bit(self.block_same[0]) else c.sized()
        self.tick = self.tick if c.bit(self.block_same[1]) else TICKS[c.uniform(8)]
        self.stamp_tick = self.stamp_tick if c.bit(self.block_same[2]) else TICKS[c.uniform(8)]
        self.in_block = set()
        return [self.row(c) for _ in range(self.rows)]

    def ticks(self, column):
        at = (self.at if column.at is None else column.at) + usual(column.steps, self.step)
        return math.trunc(fractions.Fraction(wrap(at - self.origin), self.tick))

    def stamped(self, kind, off, at, clock):
        off = off if kind == "age" else wrap(at + clock[0]) // self.stamp_tick - off
        return kind and [kind, wrap(off * self.stamp_tick)]

    def row(self, c):
        before = self.columns[self.now] if self.columns else None
        expected = before and before.after
        if before and c.bit(before.usual):
            number, column, clock = expected, self.columns[expected], self.clock
            sequence, quality = self.sequence + usual(column.sequence_steps, 1), column.quality
            at = wrap(self.origin + self.ticks(column) * self.tick) if column.moves else self.at
        else:
            number = expected if before and c.bit(self.follows) else c.uniform(len(self.columns) + 1)
            if number == len(self.columns):
                self.columns.append(Column(c, number, before))
            column = self.columns[number]
            at, quality, sequence = self.at, column.quality, self.sequence + usual(column.sequence_steps, 1)
            sequence += 0 if c.bit(self.next) else self.sequence_off.read(c)[0]
            if c.bit(self.moves[column.moves]):
                at = wrap(self.origin + (self.ticks(column) + self.time_off.read(c)[0]) * self.tick)
            clock = self.clock
            if not c.bit(self.clock_same):
                kind = c.uniform(3)
                clock = wrap(clock[0] + c.signed()), kind
            if not c.bit(self.stamp_same):
                kind = [None, "unix", "age"][c.uniform(3)]
                column.stamp = kind, wrap(column.stamp[1] + self.stamp_off.read(c)[0]) if kind else column.stamp[1]
            quality = quality if c.bit(self.quality_same) else c.uniform(7)
        sequence &= MASK
        if before:
            before.after = number
        column.moves = at != self.at or column.at is None and column.moves
        if column.at is not None:
            self.step = wrap(at - column.at)
            column.steps = [self.step] + column.steps[:2]
            column.sequence_steps = [wrap(sequence - self.sequence)] + column.sequence_steps[:2]
        column.at, column.quality = at, quality
        self.now, self.sequence, self.at, self.clock = number, sequence, at, clock
        if number not in self.in_block and not c.bit(self.grid_same):
            column.new_grid(c)
        self.in_block.add(number)
        x, exact = column.values.read(c)
        bits = x if exact else value_bits(column.grid, x)
        stamp, value = self.stamped(*column.stamp, at, clock), f"{bits:016x}"
        return [column.node, column.quantity, sequence, at, *clock, stamp, value, quality]


state, link = None, bytes(32)
for line in sys.stdin:
    data = bytes.fromhex(line)
    if data[0] == 0x10:
        state, coder = State(), Coder(data[1:])
    elif data[0] >> 4 == 2 and (data[0] & 15, data[1]) == (link[0] >> 4, (link[0] << 4 | link[1] >> 4) & 255):
        coder = Coder(data[2:])
    else:
        raise ValueError("not a block of version 1, or not after the one before")
    readings = state.block(coder)
    if coder.at < len(coder.data):
        raise ValueError("bytes follow the block")
    link = hashlib.sha256(b"kengele block\0" + link + data).digest()
    print(json.dumps(readings))
