/** The little-endian numbers of the lane's frames. */

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (readUint24(bytes, at) | ((bytes[at + 3] as number) << 24)) >>> 0;
}

export function putUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function putUint24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
}

export function putUint32(bytes: Uint8Array, at: number, value: number): void {
  putUint24(bytes, at, value);
  bytes[at + 3] = value >>> 24;
}
