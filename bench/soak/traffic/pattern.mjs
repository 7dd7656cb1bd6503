/** The bytes of bodies depend on their position, so that a lost, doubled or foreign piece is detected immediately. */

const LENGTH = 65_521;
/** Twice, so that any range of up to LENGTH bytes is contiguous. */
const BYTES = Buffer.alloc(2 * LENGTH);
for (let at = 0, x = 1; at < LENGTH; at++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
  BYTES[at] = BYTES[at + LENGTH] = x >>> 16;
}

export function patternOf(from, to) {
  const start = from % LENGTH;
  if (to - from <= LENGTH) return BYTES.subarray(start, start + to - from);
  return Buffer.concat([patternOf(from, from + LENGTH), patternOf(from + LENGTH, to)]);
}
