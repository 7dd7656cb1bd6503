/** Makes a tag of numbers that does not show them: the same ones give the same tag in every process, for ever. Pure. */

/** Loading node:crypto would take 1 MB of an instance; what is hidden here is an inode, and nobody chooses what goes in. */
const SEEDS = [0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f] as const;
const ROUNDS = 4;
const TWO_32 = 2 ** 32;

/** 28 letters and digits. */
export function opaqueTag(numbers: readonly number[]): string {
  let [a, b, c, d] = SEEDS as readonly number[] as [number, number, number, number];
  const mix = (word: number) => {
    a = mixed(a ^ word, 0x85ebca6b) + d;
    b = mixed(b ^ a, 0xc2b2ae35) + (word | 0);
    c = mixed(c ^ b, 0x27d4eb2f) + a;
    d = mixed(d ^ c, 0x165667b1) + b;
  };
  for (const number of numbers) {
    mix(number % TWO_32);
    mix(Math.floor(number / TWO_32));
  }
  for (let round = 0; round < ROUNDS; round++) mix(round);
  return [a, b, c, d].map((word) => (word >>> 0).toString(36).padStart(7, "0")).join("");
}

function mixed(word: number, factor: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), factor);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae3d);
  return mixed ^ (mixed >>> 16);
}
