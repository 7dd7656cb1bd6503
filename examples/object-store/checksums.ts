/** The checksums that S3's clients send with a body, and how those of parts become one. Pure. */
import { createHash } from "node:crypto";
import zlib from "node:zlib";
import { S3Error } from "./errors.ts";

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

export function digestOf(algorithm: Algorithm): Digest {
  if (isCrc(algorithm)) return algorithm === "CRC32" ? new Crc32() : new TableCrc(algorithm);
  return createHash(algorithm === "SHA1" ? "sha1" : "sha256");
}

/** The name of the field with a checksum, such as `x-amz-checksum-crc32`. */
export function fieldOf(algorithm: Algorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

/** @throws S3Error InvalidRequest if there is no such algorithm */
export function algorithmOf(name: string): Algorithm {
  const found = ALGORITHMS.find((algorithm) => algorithm === name.toUpperCase());
  if (found === undefined) throw new S3Error("InvalidRequest", `There is no checksum algorithm ${name}`);
  return found;
}

/** The runtime's own, which is the fastest. */
class Crc32 implements Digest {
  private crc = 0;

  update(bytes: Uint8Array): void {
    this.crc = zlib.crc32(bytes, this.crc);
  }

  digest(): Buffer {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(this.crc);
    return bytes;
  }
}

/** For each of eight bytes at once the effect of its 256 values, as high and low half. */
interface Tables {
  high: Uint32Array;
  low: Uint32Array;
}

const tables = new Map<Crc, Tables>();

function tablesOf(algorithm: Crc): Tables {
  const before = tables.get(algorithm);
  if (before !== undefined) return before;
  const polynomial = POLYNOMIALS[algorithm];
  const high = new Uint32Array(8 * 256);
  const low = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
    high[byte] = Number(crc >> 32n);
    low[byte] = Number(crc & 0xffffffffn);
  }
  for (let at = 256; at < 8 * 256; at++) {
    const h = high[at - 256] as number;
    const l = low[at - 256] as number;
    high[at] = (h >>> 8) ^ (high[l & 255] as number);
    low[at] = ((l >>> 8) | (h << 24)) ^ (low[l & 255] as number);
  }
  const made = { high, low };
  tables.set(algorithm, made);
  return made;
}

/** A reflected CRC of up to 64 bits that takes eight bytes at a time. One of 32 bits has an empty high half. */
class TableCrc implements Digest {
  private readonly tables: Tables;
  private readonly isWide: boolean;
  private high: number;
  private low = -1;

  constructor(algorithm: Crc) {
    this.tables = tablesOf(algorithm);
    this.isWide = algorithm === "CRC64NVME";
    this.high = this.isWide ? -1 : 0;
  }

  update(bytes: Uint8Array): void {
    const { high: H, low: L } = this.tables;
    const b = bytes as unknown as Record<number, number> & { length: number };
    const h = H as unknown as Record<number, number>;
    const l = L as unknown as Record<number, number>;
    let high = this.high;
    let low = this.low;
    let at = 0;
    for (const end = b.length - 7; at < end; at += 8) {
      const x = low ^ (byte(b, at) | (byte(b, at + 1) << 8) | (byte(b, at + 2) << 16) | (byte(b, at + 3) << 24));
      const y = high ^ (byte(b, at + 4) | (byte(b, at + 5) << 8) | (byte(b, at + 6) << 16) | (byte(b, at + 7) << 24));
      low = slice(l, x, y);
      if (this.isWide) high = slice(h, x, y);
    }
    for (; at < b.length; at++) {
      const index = (low ^ byte(b, at)) & 255;
      low = ((low >>> 8) | (high << 24)) ^ byte(l, index);
      high = (high >>> 8) ^ byte(h, index);
    }
    this.high = high;
    this.low = low;
  }

  digest(): Buffer {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(~this.high, 0);
    bytes.writeInt32BE(~this.low, 4);
    return this.isWide ? bytes : bytes.subarray(4);
  }
}

function byte(bytes: Record<number, number>, at: number): number {
  return bytes[at] as number;
}

function slice(t: Record<number, number>, x: number, y: number): number {
  return (
    byte(t, 1792 + (x & 255)) ^
    byte(t, 1536 + ((x >>> 8) & 255)) ^
    byte(t, 1280 + ((x >>> 16) & 255)) ^
    byte(t, 1024 + (x >>> 24)) ^
    byte(t, 768 + (y & 255)) ^
    byte(t, 512 + ((y >>> 8) & 255)) ^
    byte(t, 256 + ((y >>> 16) & 255)) ^
    byte(t, y >>> 24)
  );
}

export interface PartChecksum {
  /** In base64. */
  checksum: string;
  size: number;
}

/** The checksum of an object from those of its parts: the checksum of their checksums, with their number. */
export function compositeChecksum(algorithm: Algorithm, parts: PartChecksum[]): string {
  const digest = digestOf(algorithm);
  for (const { checksum } of parts) digest.update(Buffer.from(checksum, "base64"));
  return `${digest.digest().toString("base64")}-${parts.length}`;
}

/** The checksum of the whole object, as if it had been computed over all its bytes. */
export function fullChecksum(algorithm: Crc, parts: PartChecksum[]): string {
  const width = algorithm === "CRC64NVME" ? 64 : 32;
  let whole = 0n;
  // Parts are of equal length, mostly, and a matrix costs much more than its use.
  const matrices = new Map<number, bigint[]>();
  for (const { checksum, size } of parts) {
    const matrix = matrices.get(size) ?? zerosMatrix(POLYNOMIALS[algorithm], width, size);
    matrices.set(size, matrix);
    whole = times(matrix, whole) ^ BigInt(`0x${Buffer.from(checksum, "base64").toString("hex") || "0"}`);
  }
  return Buffer.from(whole.toString(16).padStart(width / 4, "0"), "hex").toString("base64");
}

/** What appending `length` zero bytes does to a CRC, as a matrix over GF(2). */
function zerosMatrix(polynomial: bigint, width: number, length: number): bigint[] {
  // One zero bit, then by squaring two, four and eight of them.
  let power = Array.from({ length: width }, (_, bit) => (bit === 0 ? polynomial : 1n << BigInt(bit - 1)));
  for (let doubling = 0; doubling < 3; doubling++) power = power.map((column) => times(power, column));
  let product = Array.from({ length: width }, (_, bit) => 1n << BigInt(bit));
  for (let left = length; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) product = product.map((column) => times(power, column));
    power = power.map((column) => times(power, column));
  }
  return product;
}

function times(matrix: bigint[], vector: bigint): bigint {
  let sum = 0n;
  for (let bit = 0, rest = vector; rest > 0n; bit++, rest >>= 1n) if (rest & 1n) sum ^= matrix[bit] as bigint;
  return sum;
}
