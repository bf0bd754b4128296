// `Buffer` for codecs that use it: of Node.js what codecs use, as ChirpStack offers it. Bytes in memory of their own kind,
// read and written at offsets, and text in both directions. Out of range is a RangeError, as there.
(function (global) {
  'use strict';

  class Bytes extends Uint8Array {}

  function Buffer(value, encoding, length) {
    return typeof value === 'number' ? Buffer.alloc(value) : Buffer.from(value, encoding, length);
  }
  const proto = (Buffer.prototype = Bytes.prototype);
  const add = (object, members) => {
    for (const name of Object.keys(members)) {
      Object.defineProperty(object, name, { value: members[name], writable: true, configurable: true });
    }
  };
  add(proto, { constructor: Buffer });
  // A part of a buffer is one, too.
  Object.defineProperty(Buffer, Symbol.species, { get: () => Bytes });

  const encodings = {
    utf8: [fromUtf8, toUtf8],
    hex: [fromHex, (bytes) => Array.from(bytes, (byte) => (byte < 16 ? '0' : '') + byte.toString(16)).join('')],
    base64: [fromBase64, (bytes) => base64(bytes, '+', '/', '=')],
    base64url: [fromBase64, (bytes) => base64(bytes, '-', '_', '')],
    ascii: [fromLatin1, (bytes) => letters(bytes, 0x7f)],
    latin1: [fromLatin1, (bytes) => letters(bytes, 0xff)],
    utf16le: [fromUtf16, toUtf16],
  };
  const aliases = { 'utf-8': 'utf8', binary: 'latin1', ucs2: 'utf16le', 'ucs-2': 'utf16le', 'utf-16le': 'utf16le' };

  function coding(name) {
    const plain = name === undefined || name === null || name === '' ? 'utf8' : String(name).toLowerCase();
    const known = encodings[aliases[plain] || plain];
    if (!known) throw new TypeError('Unknown encoding: ' + name);
    return known;
  }

  function letters(bytes, mask) {
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte & mask);
    return text;
  }
  function fromLatin1(text) {
    return Array.from({ length: text.length }, (_, at) => text.charCodeAt(at) & 0xff);
  }
  function toUtf16(bytes) {
    let text = '';
    for (let at = 0; at + 1 < bytes.length; at += 2) text += String.fromCharCode(bytes[at] | (bytes[at + 1] << 8));
    return text;
  }
  function fromUtf16(text) {
    const bytes = [];
    for (let at = 0; at < text.length; at += 1) bytes.push(text.charCodeAt(at) & 0xff, text.charCodeAt(at) >> 8);
    return bytes;
  }
  // What comes after the first pair that is none is left out.
  function fromHex(text) {
    const bytes = [];
    for (let at = 0; at + 1 < text.length; at += 2) {
      const pair = text.slice(at, at + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(pair)) break;
      bytes.push(parseInt(pair, 16));
    }
    return bytes;
  }
  const SIX_BITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  function base64(bytes, plus, slash, pad) {
    const digits = SIX_BITS + plus + slash;
    let text = '';
    for (let at = 0; at < bytes.length; at += 3) {
      const three = (bytes[at] << 16) | ((bytes[at + 1] || 0) << 8) | (bytes[at + 2] || 0);
      const left = bytes.length - at;
      text += digits[three >> 18] + digits[(three >> 12) & 63];
      text += left > 1 ? digits[(three >> 6) & 63] : pad;
      text += left > 2 ? digits[three & 63] : pad;
    }
    return text;
  }
  // Both alphabets; what is of neither says nothing, and `=` ends it.
  function fromBase64(text) {
    const bytes = [];
    let bits = 0;
    let count = 0;
    for (const letter of text.replace(/=[\s\S]*$/, '').replace(/-/g, '+').replace(/_/g, '/')) {
      const digit = (SIX_BITS + '+/').indexOf(letter);
      if (digit < 0) continue;
      bits = ((bits << 6) | digit) & 0xffff;
      count += 6;
      if (count >= 8) bytes.push((bits >> (count -= 8)) & 0xff);
    }
    return bytes;
  }
  function fromUtf8(text) {
    const bytes = [];
    for (const letter of text) {
      let point = letter.codePointAt(0);
      if (point >= 0xd800 && point < 0xe000) point = 0xfffd;
      if (point < 0x80) bytes.push(point);
      else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
      else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
      else bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    }
    return bytes;
  }
  // What is no UTF-8 becomes U+FFFD, one for each part that could not go on (Unicode, table 3-7).
  function toUtf8(bytes) {
    let text = '';
    for (let at = 0; at < bytes.length;) {
      const first = bytes[at];
      at += 1;
      if (first < 0x80) {
        text += String.fromCharCode(first);
        continue;
      }
      let more = first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
      let point = more ? first & (0x3f >> more) : 0xfffd;
      let low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      let high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      for (; more > 0; more -= 1) {
        if (!(bytes[at] >= low && bytes[at] <= high)) {
          point = 0xfffd;
          break;
        }
        point = (point << 6) | (bytes[at] & 63);
        at += 1;
        low = 0x80;
        high = 0xbf;
      }
      text += String.fromCodePoint(point);
    }
    return text;
  }

  const taken = (list) => {
    const made = new Bytes(list.length);
    made.set(list);
    return made;
  };
  add(Buffer, {
    from(value, encoding, length) {
      if (typeof value === 'string') return taken(coding(encoding)[0](value));
      if (value instanceof ArrayBuffer) return new Bytes(value, encoding, length);
      if (value && value.type === 'Buffer' && Array.isArray(value.data)) return taken(value.data);
      if (value && typeof value.length === 'number') return taken(Array.from(value, (byte) => byte & 0xff));
      throw new TypeError('Buffer.from takes a text, bytes or an ArrayBuffer');
    },
    alloc(length, fill, encoding) {
      const made = new Bytes(length);
      return fill === undefined ? made : made.fill(fill, 0, length, encoding);
    },
    allocUnsafe: (length) => new Bytes(length),
    isBuffer: (value) => value instanceof Bytes,
    byteLength: (value, encoding) => (typeof value === 'string' ? coding(encoding)[0](value).length : value.byteLength),
    concat(list, length) {
      const whole = new Bytes(length === undefined ? list.reduce((sum, part) => sum + part.length, 0) : length);
      let at = 0;
      for (const part of list) {
        const fits = part.subarray(0, whole.length - at);
        whole.set(fits, at);
        at += fits.length;
      }
      return whole;
    },
  });

  const within = (buffer, offset, size) => {
    if (typeof offset !== 'number') throw new TypeError('The offset must be a number');
    if (!Number.isInteger(offset) || offset < 0 || offset + size > buffer.length) {
      throw new RangeError('The offset ' + offset + ' is out of range');
    }
    return new DataView(buffer.buffer, buffer.byteOffset + offset, size);
  };
  const number = (names, kind, size, low, high) => {
    for (const [order, little] of size === 1 ? [['', false]] : [['LE', true], ['BE', false]]) {
      const read = function (offset = 0) {
        return within(this, offset, size)['get' + kind](0, little);
      };
      const write = function (value, offset = 0) {
        const place = within(this, offset, size);
        if (low !== undefined && !(value >= low && value <= high)) {
          throw new RangeError('The value ' + value + ' is out of range');
        }
        place['set' + kind](0, value, little);
        return offset + size;
      };
      for (const name of names) add(proto, { ['read' + name + order]: read, ['write' + name + order]: write });
    }
  };
  number(['UInt8', 'Uint8'], 'Uint8', 1, 0, 0xff);
  number(['Int8'], 'Int8', 1, -0x80, 0x7f);
  number(['UInt16', 'Uint16'], 'Uint16', 2, 0, 0xffff);
  number(['Int16'], 'Int16', 2, -0x8000, 0x7fff);
  number(['UInt32', 'Uint32'], 'Uint32', 4, 0, 0xffffffff);
  number(['Int32'], 'Int32', 4, -0x80000000, 0x7fffffff);
  number(['Float'], 'Float32', 4);
  number(['Double'], 'Float64', 8);
  number(['BigInt64'], 'BigInt64', 8);
  number(['BigUInt64', 'BigUint64'], 'BigUint64', 8);

  // One to six bytes.
  const whole = (buffer, offset, size, little) => {
    if (!(Number.isInteger(size) && size >= 1 && size <= 6)) throw new RangeError('The size ' + size + ' is out of range');
    const view = within(buffer, offset, size);
    let value = 0;
    for (let at = 0; at < size; at += 1) value = value * 256 + view.getUint8(little ? size - 1 - at : at);
    return value;
  };
  const signed = (value, size) => (value >= 2 ** (8 * size - 1) ? value - 2 ** (8 * size) : value);
  for (const [order, little] of [['LE', true], ['BE', false]]) {
    const unsigned = function (offset, size) {
      return whole(this, offset, size, little);
    };
    add(proto, {
      ['readUInt' + order]: unsigned,
      ['readUint' + order]: unsigned,
      ['readInt' + order](offset, size) {
        return signed(whole(this, offset, size, little), size);
      },
    });
  }

  const { fill, indexOf } = Uint8Array.prototype;
  const sought = (value, encoding) => (typeof value === 'string' ? Buffer.from(value, encoding) : value);
  add(proto, {
    toString(encoding, from, to) {
      return coding(encoding)[1](this.subarray(Math.max(from || 0, 0), to < 0 ? 0 : to));
    },
    toJSON() {
      return { type: 'Buffer', data: Array.from(this) };
    },
    // A view of the same bytes, unlike that of an array.
    slice(from, to) {
      return this.subarray(from, to);
    },
    equals(other) {
      return this.length === other.length && this.every((byte, at) => byte === other[at]);
    },
    fill(value, from, to, encoding) {
      const pattern = sought(value, encoding);
      if (typeof pattern === 'number') return fill.call(this, pattern, from, to);
      const part = this.subarray(from, to);
      for (let at = 0; at < part.length; at += 1) part[at] = pattern.length ? pattern[at % pattern.length] : 0;
      return this;
    },
    indexOf(value, from = 0, encoding) {
      const pattern = sought(value, encoding);
      if (typeof pattern === 'number') return indexOf.call(this, pattern & 0xff, from);
      for (let at = from < 0 ? Math.max(this.length + from, 0) : from; at + pattern.length <= this.length; at += 1) {
        if (pattern.every((byte, place) => this[at + place] === byte)) return at;
      }
      return -1;
    },
    includes(value, from, encoding) {
      return this.indexOf(value, from, encoding) >= 0;
    },
    copy(target, at = 0, from = 0, to = this.length) {
      const part = this.subarray(from, to).subarray(0, Math.max(target.length - at, 0));
      target.set(part, at);
      return part.length;
    },
    write(text, offset = 0, length = this.length - offset, encoding) {
      const known = coding(encoding);
      const bytes = taken(known[0](text));
      let count = Math.min(length, this.length - offset, bytes.length);
      // No part of a letter.
      while (known === encodings.utf8 && count > 0 && (bytes[count] & 0xc0) === 0x80) count -= 1;
      this.set(bytes.subarray(0, count), offset);
      return count;
    },
  });

  Object.defineProperty(global, 'Buffer', { value: Buffer, writable: true, configurable: true });
})(globalThis);
