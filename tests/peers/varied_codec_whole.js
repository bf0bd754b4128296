// More kinds for varied_codec.js, which stands before this: what only a whole context has.
Object.assign(by, {
  buffer(bytes) {
    const b = Buffer.from(bytes);
    const at = (name) => {
      try {
        const value = b[name](1);
        return typeof value === 'bigint' ? value.toString() : value;
      } catch (error) {
        return error.name;
      }
    };
    const kinds = ['UInt8', 'Int8', 'UInt16LE', 'UInt16BE', 'Int16LE', 'Int16BE', 'UInt32LE', 'UInt32BE', 'Int32LE', 'Int32BE',
      'FloatLE', 'FloatBE', 'DoubleLE', 'DoubleBE', 'BigInt64LE', 'BigUInt64BE'];
    return {
      read: Object.fromEntries(kinds.map((kind) => [kind, at('read' + kind)])),
      text: ['hex', 'base64', 'ascii', 'latin1', 'utf8'].map((encoding) => b.toString(encoding)), wide: escape(b.toString('ucs2')),
      again: ['hex', 'base64', 'utf8'].map((encoding) => Buffer.from(b.toString(encoding), encoding).equals(b)),
      part: b.slice(1, -1).toString('hex') + '/' + b.subarray(2).readUIntBE(0, Math.min(b.length - 2, 6) || 1),
      joined: Buffer.concat([b, Buffer.from('é€😀'), Buffer.alloc(2, 7)]).toString('hex'),
      found: [b.indexOf(bytes[1]), b.includes('A'), Buffer.isBuffer(b), b instanceof Uint8Array],
      json: b,
      base: btoa(b.toString('latin1')) === b.toString('base64') && atob(b.toString('base64')).length,
    };
  },
  views(bytes) {
    const raw = Uint8Array.from(bytes);
    const view = new DataView(raw.buffer);
    const floats = new Float32Array(raw.slice(0, raw.length & ~3).buffer);
    return {
      floats: Array.from(floats, (value) => Number.isFinite(value) ? value : String(value)), little: raw.length > 3 && view.getInt32(0, true),
      clamped: Uint8ClampedArray.from(bytes, (byte) => byte * 2).join(), sum: raw.reduce((a, b) => a + b, 0), sub: [...raw.subarray(1, 3)],
      words: new Uint16Array(new Int8Array(bytes)).map((word) => word >> 1).join('-'), object: raw,
    };
  },
  collected(bytes) {
    const counts = new Map();
    for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1);
    const seen = new WeakSet([by]);
    return {
      counts: Object.fromEntries([...counts].sort(([a], [b]) => a - b)), unique: [...new Set(bytes)].length, seen: [seen.has(by), seen.has({})],
      proxied: new Proxy(bytes, { get: (of, name) => (name in of ? of[name] : 'none') })[bytes.length], promised: typeof Promise.resolve(1).then,
      written: Buffer.alloc(8).fill(1).writeInt16LE(-bytes.length, 2),
    };
  },
});
