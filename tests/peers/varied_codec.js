// A codec of many ways to write: what makers' codecs do, old and new, in one file. Frames choose by their first byte.
'use strict';

class Reader {
  #at = 0;
  constructor(bytes) {
    this.bytes = bytes;
  }
  take(count) {
    const part = this.bytes.slice(this.#at, this.#at + count);
    this.#at += count;
    return part;
  }
  get left() {
    return Math.max(this.bytes.length - this.#at, 0);
  }
  static signed = (value, bits) => (value & (1 << (bits - 1)) ? value - 2 ** bits : value);
}

function* pairs(bytes) {
  for (let at = 0; at + 1 < bytes.length; at += 2) yield (bytes[at] << 8) | bytes[at + 1];
}

function float16(half) {
  var sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
  if (exponent === 0) return sign * Math.pow(2, -14) * (fraction / 1024);
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * Math.pow(2, exponent - 15) * (1 + fraction / 1024);
}

const by = {
  numbers(bytes) {
    const words = [...pairs(bytes)];
    const sum = words.reduce((whole, word) => whole + word, 0);
    return {
      words: words.map((word) => Reader.signed(word, 16) / 100),
      halves: words.map(float16),
      fixed: words.map((word) => parseFloat((word / 7).toFixed(3))),
      precise: words.map((word) => (word / 3).toPrecision(5)),
      odd: [sum >>> 3, sum << 17, ~sum, -sum % 9, sum ** 0.5, Math.round(-sum / 2), Math.trunc(-sum / 3), 0.1 + sum],
      exact: words.reduce((whole, word) => (whole << 16n) | BigInt(word), 0n).toString(10),
      logs: words.map((word) => Math.log10(word + 1).toFixed(6)),
      parsed: [parseInt('0x' + sum.toString(16)), Number('12abc'), parseFloat('3.5V'), Number(''), +[]],
      exponent: (sum * 1e-9).toExponential(4),
      bits: words.map((word) => word.toString(2).padStart(16, '0').split('').reverse().join('')),
    };
  },
  text(bytes) {
    const text = String.fromCharCode.apply(null, bytes.slice(1));
    const hex = bytes.map((byte) => ('0' + byte.toString(16)).slice(-2)).join('');
    return {
      hex, upper: hex.toUpperCase().match(/.{1,4}/g), escaped: escape(text), uri: encodeURIComponent(hex + ' ä'),
      words: text.replace(/[^ -~]/g, '.').trim().split(/\s+/), ends: [text.startsWith('a'), hex.endsWith('0'), hex.at(-1)],
      named: (/(?<head>..)(?<rest>.*)/.exec(hex) || { groups: {} }).groups, sorted: [...hex].sort().join(''),
      swapped: hex.replace(/(..)(..)/g, '$2$1'), code: text.charCodeAt(0), compare: hex.localeCompare('80') > 0,
      template: `${hex.length}:${hex.repeat(2).substring(1, 9)}`, raw: JSON.parse(JSON.stringify({ text })).text === text,
    };
  },
  dates(bytes, input) {
    const seconds = bytes.slice(1, 5).reduce((whole, byte) => whole * 256 + byte, 0);
    const then = new Date(seconds * 1000);
    return {
      at: input.recvTime.toISOString(), then: then.toJSON(), day: then.getUTCDay(), parts: then.toISOString().split(/[-T:.Z]/).map(Number),
      age: Math.floor((input.recvTime.getTime() - then) / 1000), parsed: Date.parse('2026-03-01T06:30:00Z'),
      utc: Date.UTC(2024, 1, bytes.length), text: then.toUTCString(), is: input.recvTime instanceof Date, bad: new Date(NaN).getTime(),
    };
  },
  collections(bytes) {
    const [first, , third = 'none', ...rest] = bytes;
    return {
      first, third, rest: rest.length,
      flat: [bytes, [1, [2]]].flat(2).length, found: bytes.find((byte) => byte > 200), at: bytes.findIndex((byte) => byte > 200),
      some: bytes.some((byte) => byte === 0) && bytes.every((byte) => byte < 256), sorted: bytes.slice().sort(), reversed: bytes.slice().reverse(),
      entries: Object.entries({ ...{ b: 1, 2: 'x', 1: 'y' }, a: rest.length }), deep: rest?.[0]?.missing ?? 'nothing', symbol: { [Symbol('s')]: 1, k: undefined },
      spliced: (() => { const copy = [...bytes]; copy.splice(1, 2, 'in'); return copy; })(), number: Number.MAX_SAFE_INTEGER + bytes.length,
    };
  },
  channels(bytes) {
    const reader = new Reader(bytes.slice(1));
    const data = {};
    outer: while (reader.left >= 2) {
      const [channel, type] = reader.take(2);
      switch (type & 7) {
        case 0: case 1: data['digital_' + channel] = reader.take(1)[0]; break;
        case 2: { const [h, l] = reader.take(2); data['analog_' + channel] = Reader.signed((h << 8) | l, 16) / 100; break; }
        case 3: data.list = (data.list || []).concat(reader.take(3)); break;
        case 4: if (channel === 0) break outer;
        // falls through
        default: data.last = { channel, type, left: reader.left };
      }
    }
    return data;
  },
  faults(bytes) {
    const tried = (work) => { try { return work(); } catch (error) { return error.name + (error instanceof Error); } finally { bytes.length; } };
    if (bytes[1] === 0) throw new RangeError('as ordered');
    return [() => null.x, () => undefinedName, () => JSON.parse('{'), () => 'x'.repeat(-1), () => BigInt(1.5), () => decodeURIComponent('%'),
      () => { throw new TypeError(); }, () => new Array(-1), () => (1).toFixed(101), () => Object.freeze([1]).push(2)].map(tried);
  },
};

function decodeUplink(input) {
  const kinds = Object.keys(by);
  const kind = kinds[input.bytes[0] % kinds.length];
  const data = { kind, port: input.fPort, result: by[kind](input.bytes, input) };
  return { data, warnings: input.bytes.length > 30 ? ['long'] : [], errors: [] };
}
