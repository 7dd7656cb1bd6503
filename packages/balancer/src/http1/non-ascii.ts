/** Bytes outside ASCII in a target: no URI has them (RFC 3986 §2.1), yet some clients send a text's UTF-8 as it is. */

export function isOutsideAscii(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 128;
}

/**
 * The range with bytes outside ASCII percent-encoded as browsers do it, in capital digits, all others as they are; `grown` is by how
 * many bytes it grows.
 */
export function encodeNonAscii(bytes: Uint8Array, start: number, end: number, grown: number): Uint8Array {
  const encoded = Buffer.allocUnsafe(end - start + grown);
  let to = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < 128) encoded[to++] = byte;
    else to += encoded.write(`%${byte.toString(16).toUpperCase()}`, to, "latin1");
  }
  return encoded;
}
