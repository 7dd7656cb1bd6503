/** The checksums that S3 clients send with a body, and how the checksums of parts are combined. Pure. */
import { createHash } from "node:crypto";
import zlib from "node:zlib";
import { demand } from "./errors.ts";

export const ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Digest {
  update(bytes: Uint8Array): unknown;
  digest(): Buffer;
}

/** Reflected polynomials. */
const POLYNOMIALS = { CRC32: 0xedb88320n, CRC32C: 0x82f63b78n, CRC64NVME: 0x9a6c9329ac4bc9b5n };
type Crc = keyof typeof POLYNOMIALS;

export function isCrc(algorithm: Algorithm): algorithm is Crc {
  return algorithm in POLYNOMIALS;
}

const widthOf = (algorithm: Crc) => (algorithm === "CRC64NVME" ? 64 : 32);

/** The ways to derive the checksum of an object from those of its parts; the first one is the default. */
export function typesOf(algorithm: Algorithm): string[] {
  if (algorithm === "CRC64NVME") return ["FULL_OBJECT"];
  return isCrc(algorithm) ? ["COMPOSITE", "FULL_OBJECT"] : ["COMPOSITE"];
}

export function digestOf(algorithm: Algorithm): Digest {
  if (isCrc(algorithm)) return algorithm === "CRC32" ? crc32() : tableCrc(algorithm);
  return createHash(algorithm === "SHA1" ? "sha1" : "sha256");
}

/** The name of the field with a checksum, such as `x-amz-checksum-crc32`. */
export const fieldOf = (algorithm: Algorithm) => `x-amz-checksum-${algorithm.toLowerCase()}`;

/** @throws S3Error InvalidRequest if there is no such algorithm */
export function algorithmOf(name: string): Algorithm {
  const found = ALGORITHMS.find((algorithm) => algorithm === name.toUpperCase());
  demand(found !== undefined, "InvalidRequest", `There is no checksum algorithm ${name}`);
  return found;
}

/** The implementation of the runtime, which is the fastest. */
function crc32(): Digest {
  let crc = 0;
  return {
    update(bytes) {
      crc = zlib.crc32(bytes, crc);
    },
    digest: () => bytesOf(BigInt(crc), 32),
  };
}

const bytesOf = (crc: bigint, width: number) => Buffer.from(crc.toString(16).padStart(width / 4, "0"), "hex");

/** For each of eight bytes, the effect of its 256 values, as high and low half. */
type Tables = [high: Uint32Array, low: Uint32Array];
const tables = new Map<Crc, Tables>();

function tablesOf(algorithm: Crc): Tables {
  const before = tables.get(algorithm);
  if (before !== undefined) return before;
  const [high, low]: Tables = [new Uint32Array(8 * 256), new Uint32Array(8 * 256)];
  for (let n = 0; n < 8 * 256; n++) {
    // One byte of zeros more than in the previous table.
    let crc = n < 256 ? BigInt(n) : (BigInt(at(high, n - 256)) << 32n) | BigInt(at(low, n - 256));
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ POLYNOMIALS[algorithm] : crc >> 1n;
    high[n] = Number(crc >> 32n);
    low[n] = Number(crc & 0xffffffffn);
  }
  tables.set(algorithm, [high, low]);
  return [high, low];
}

/** A reflected CRC of up to 64 bits that processes eight bytes at a time. One of 32 bits has an empty high half. */
function tableCrc(algorithm: Crc): Digest {
  const [h, l] = tablesOf(algorithm);
  const width = widthOf(algorithm);
  let [high, low] = [width === 64 ? -1 : 0, -1];
  return {
    update(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      let offset = 0;
      for (; offset + 8 <= bytes.length; offset += 8) {
        const x = low ^ view.getInt32(offset, true);
        const y = high ^ view.getInt32(offset + 4, true);
        low = lookUp(l, x, y);
        if (width === 64) high = lookUp(h, x, y);
      }
      for (; offset < bytes.length; offset++) {
        const index = (low ^ view.getUint8(offset)) & 255;
        low = ((low >>> 8) | (high << 24)) ^ at(l, index);
        high = (high >>> 8) ^ at(h, index);
      }
    },
    digest: () => bytesOf(BigInt.asUintN(width, ~((BigInt(high) << 32n) | BigInt(low >>> 0))), width),
  };
}

/** The effect of the eight bytes in two words: each byte has its own table, which depends on the number of bytes that follow it. */
function lookUp(t: Uint32Array, x: number, y: number): number {
  const first = at(t, 1792 + (x & 255)) ^ at(t, 1536 + ((x >>> 8) & 255));
  const second = at(t, 1280 + ((x >>> 16) & 255)) ^ at(t, 1024 + (x >>> 24));
  const third = at(t, 768 + (y & 255)) ^ at(t, 512 + ((y >>> 8) & 255));
  return first ^ second ^ third ^ at(t, 256 + ((y >>> 16) & 255)) ^ at(t, y >>> 24);
}

const at = (table: Uint32Array, index: number) => table[index] as number;

/** In base64. */
export type PartChecksum = { checksum: string; size: number };

/** The checksum of an object from those of its parts: the checksum of their checksums, with their number. */
export function compositeChecksum(algorithm: Algorithm, parts: PartChecksum[]): string {
  const digest = digestOf(algorithm);
  for (const { checksum } of parts) digest.update(Buffer.from(checksum, "base64"));
  return `${digest.digest().toString("base64")}-${parts.length}`;
}

/**
 * The checksum of the whole object, as if it had been computed over all its bytes. A CRC is a polynomial over GF(2) whose lowest bit is the
 * highest power, and n following bytes multiply it by x to the power of 8n.
 */
export function fullChecksum(algorithm: Crc, parts: PartChecksum[]): string {
  const width = widthOf(algorithm);
  const one = 1n << BigInt(width - 1);
  const times = (a: bigint, b: bigint): bigint => {
    let product = 0n;
    for (let bit = one, shifted = b; bit > 0n; bit >>= 1n) {
      if (a & bit) product ^= shifted;
      shifted = shifted & 1n ? (shifted >> 1n) ^ POLYNOMIALS[algorithm] : shifted >> 1n;
    }
    return product;
  };
  const shiftBy = (size: number): bigint => {
    let power = one;
    let square = one >> 8n;
    for (let left = size; left > 0; left = Math.floor(left / 2), square = times(square, square)) {
      if (left % 2 === 1) power = times(power, square);
    }
    return power;
  };
  // Parts usually have equal lengths, and computing a power costs much more than using it.
  const powers = new Map<number, bigint>();
  let whole = 0n;
  for (const { checksum, size } of parts) {
    const power = powers.get(size) ?? shiftBy(size);
    powers.set(size, power);
    whole = times(whole, power) ^ BigInt(`0x${Buffer.from(checksum, "base64").toString("hex") || "0"}`);
  }
  return bytesOf(whole, width).toString("base64");
}
