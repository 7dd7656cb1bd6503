/** Writes and reads ASN.1 in DER, as far as certificates and certificate requests need it (X.690). */

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** Returns a value with this tag. */
export function der(tag: number, ...content: Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag, ...lengthOctets(length)]), ...content]);
}

function lengthOctets(length: number): number[] {
  if (length < 0x80) return [length];
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return [0x80 | octets.length, ...octets];
}

export function sequence(...content: Uint8Array[]): Buffer {
  return der(TAG.sequence, ...content);
}

export function set(...content: Uint8Array[]): Buffer {
  return der(TAG.set, ...content);
}

/** Returns a value with a context-specific tag. @param isConstructed false if it replaces the tag of a primitive value */
export function tagged(number: number, content: Uint8Array, isConstructed = true): Buffer {
  return der((isConstructed ? 0xa0 : 0x80) | number, content);
}

/**
 * Returns an integer that is not negative.
 * @param bytes the most significant first
 */
export function integer(bytes: Uint8Array): Buffer {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const digits = bytes.subarray(from);
  const isHigh = ((digits[0] ?? 0) & 0x80) !== 0;
  return der(TAG.integer, isHigh ? Buffer.of(0) : Buffer.alloc(0), digits.length === 0 ? Buffer.of(0) : digits);
}

export function octets(content: Uint8Array): Buffer {
  return der(TAG.octetString, content);
}

/** Returns a bit string of whole octets. */
export function bits(content: Uint8Array): Buffer {
  return der(TAG.bitString, Buffer.of(0), content);
}

export function truth(): Buffer {
  return der(TAG.boolean, Buffer.of(0xff));
}

/** @param dotted for example `2.5.29.17` */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    bytes.push(...groups);
  }
  return der(TAG.oid, Buffer.from(bytes));
}

/** Returns a time; its year has two digits until 2049 (RFC 5280 §4.1.2.5). @param at Unix time in milliseconds */
export function time(at: number): Buffer {
  const text = `${new Date(at).toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
  const isShort = text < "2050";
  return der(isShort ? TAG.utcTime : TAG.generalizedTime, Buffer.from(isShort ? text.slice(2) : text, "latin1"));
}

interface DerValue {
  tag: number;
  content: Buffer;
  /** The whole encoding, with tag and length. */
  whole: Buffer;
}

/** Returns the values that follow one another in `bytes`. @throws RangeError if they are malformed */
export function readDer(bytes: Buffer): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    let length = bytes[at + 1] ?? 0;
    let from = at + 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > 4 || from + count > bytes.length) throw new RangeError("malformed DER");
      length = bytes.readUIntBE(from, count);
      from += count;
    }
    if (from + length > bytes.length) throw new RangeError("malformed DER");
    values.push({ tag, content: bytes.subarray(from, from + length), whole: bytes.subarray(at, from + length) });
    at = from + length;
  }
  return values;
}
