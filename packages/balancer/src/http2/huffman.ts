/** The Huffman code of HPACK (RFC 7541 Appendix B): decodes by a table of 256 entries, and bit by bit only for rare characters. Pure. */

/** The length of each byte's code in bits, and last that of EOS. Codes of one length follow each other in the order of their bytes. */
const LENGTHS = Uint8Array.from(
  (
    "13,23,28,28,28,28,28,28,28,24,30,28,28,30,28,28,28,28,28,28,28,28,30,28,28,28,28,28,28,28,28,28," +
    "6,10,10,12,13,6,8,11,10,10,8,11,8,6,6,6,5,5,5,6,6,6,6,6,6,6,7,8,15,6,12,10," +
    "13,6,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,8,7,8,13,19,13,14,6," +
    "15,5,6,5,6,5,6,6,6,5,7,7,6,6,6,5,6,7,6,5,5,6,7,7,7,7,7,15,11,14,13,28," +
    "20,22,20,20,22,22,22,23,22,23,23,23,23,23,24,23,24,24,22,23,24,23,23,23,23,21,22,23,22,23,23,24," +
    "22,21,20,22,22,23,23,21,23,22,22,24,21,22,23,23,21,21,22,21,23,22,23,23,20,22,22,22,23,22,22,23," +
    "26,26,20,19,22,23,22,25,26,26,26,27,27,26,24,25,19,21,26,27,27,26,27,24,21,21,26,26,28,27,27,27," +
    "20,24,20,21,22,21,21,23,22,22,25,25,24,24,26,23,26,27,26,26,27,27,27,27,27,28,27,27,27,27,27,26," +
    "30"
  ).split(","),
  Number,
);

const EOS = 256;
const MAX_BITS = 30;
/** Codes of up to this length are found in one step. */
const STEP_BITS = 8;

/** By the next 8 bits: the byte of a short code, shifted left by 4, and its length; 0 for the beginning of a longer one. */
const SHORT = new Uint16Array(1 << STEP_BITS);
/** By length: the first code, the number of codes, and where their bytes begin in SYMBOLS. */
const FIRST = new Int32Array(MAX_BITS + 1);
const COUNT = new Int32Array(MAX_BITS + 1);
const OFFSET = new Int32Array(MAX_BITS + 1);
const SYMBOLS = new Uint16Array(257);

let code = 0;
let offset = 0;
for (let length = 1; length <= MAX_BITS; length++) {
  code *= 2;
  FIRST[length] = code;
  OFFSET[length] = offset;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    if (LENGTHS[symbol] !== length) continue;
    SYMBOLS[offset++] = symbol;
    if (length <= STEP_BITS) {
      const spare = STEP_BITS - length;
      for (let rest = 0; rest < 1 << spare; rest++) SHORT[(code << spare) | rest] = (symbol << 4) | length;
    }
    code++;
  }
  COUNT[length] = offset - (OFFSET[length] as number);
}

/** Results of `decodeHuffman` that are no position. */
export const HUFFMAN_MALFORMED = -1;
export const HUFFMAN_TOO_LONG = -2;

/**
 * Decodes the range to `to` from `at`. Returns the position after it, HUFFMAN_TOO_LONG if it would pass `limit`, or HUFFMAN_MALFORMED:
 * EOS, or padding that is longer than 7 bits or has a 0 (RFC 7541 §5.2).
 */
export function decodeHuffman(
  from: Uint8Array,
  start: number,
  end: number,
  to: Uint8Array,
  at: number,
  limit: number,
): number {
  // The bits that were read and not decoded; at most 7 remain from before, so that 25 more fit.
  let bits = 0;
  let count = 0;
  let i = start;
  for (;;) {
    while (count <= 16 && i < end) {
      bits = ((bits << 8) | (from[i++] as number)) & 0xffffff;
      count += 8;
    }
    if (count < STEP_BITS) break;
    const short = SHORT[(bits >>> (count - STEP_BITS)) & 255] as number;
    if (short === 0) {
      const symbol = readLong(from, i, end, bits, count);
      if (symbol < 0) return HUFFMAN_MALFORMED;
      if (at >= limit) return HUFFMAN_TOO_LONG;
      to[at++] = symbol;
      i = long.at;
      bits = long.bits;
      count = long.count;
      continue;
    }
    if (at >= limit) return HUFFMAN_TOO_LONG;
    to[at++] = short >>> 4;
    count -= short & 15;
  }
  // Up to 7 bits are left: short codes, then padding of ones.
  while (count > 0) {
    const padded = ((bits << (STEP_BITS - count)) | (255 >>> count)) & 255;
    const short = SHORT[padded] as number;
    const length = short & 15;
    if (short === 0 || length > count) break;
    if (at >= limit) return HUFFMAN_TOO_LONG;
    to[at++] = short >>> 4;
    count -= length;
  }
  const padding = (1 << count) - 1;
  return (bits & padding) === padding ? at : HUFFMAN_MALFORMED;
}

/** Where a long code ended. */
const long = { at: 0, bits: 0, count: 0 };

/** Reads one code of more than 8 bits, of which `count` bits were read. Returns its byte, or -1. */
function readLong(from: Uint8Array, start: number, end: number, bits: number, count: number): number {
  let at = start;
  let value = 0;
  let left = count;
  for (let length = 1; length <= MAX_BITS; length++) {
    if (left === 0) {
      if (at >= end) return -1;
      bits = from[at++] as number;
      left = 8;
    }
    left--;
    value = value * 2 + ((bits >>> left) & 1);
    const index = value - (FIRST[length] as number);
    if (length <= STEP_BITS || index < 0 || index >= (COUNT[length] as number)) continue;
    const symbol = SYMBOLS[(OFFSET[length] as number) + index] as number;
    if (symbol === EOS) return -1;
    long.at = at;
    long.bits = bits;
    long.count = left;
    return symbol;
  }
  return -1;
}
