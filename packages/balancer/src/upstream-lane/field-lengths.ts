/** How a field of a REQUEST begins: the lengths of its name and its value. Pure. */

export const FIELD_FIXED = 5;

/** Writes the lengths, and answers with the position after them, where name and value follow. */
export function putLengths(buffer: Uint8Array, at: number, name: number, value: number): number {
  buffer[at] = name;
  buffer[at + 1] = name >>> 8;
  buffer[at + 2] = value;
  buffer[at + 3] = value >>> 8;
  buffer[at + 4] = value >>> 16;
  return at + FIELD_FIXED;
}
