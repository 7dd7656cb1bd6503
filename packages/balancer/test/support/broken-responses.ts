/** Broken responses of upstreams: too much, too little, too early, too late, garbage. Each byte names its request. Pure. */

export type Random = () => number;

/** Returns the same numbers for the same seed (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function below(random: Random, bound: number): number {
  return Math.floor(random() * bound);
}

export interface BrokenResponse {
  /** The writes, each after a delay. */
  pieces: { text: string; afterMs: number }[];
  /** The upstream's next action. */
  end: "keep" | "fin" | "reset";
}

/** Returns a complete response, in which every byte of the body names its request. */
export function whole(token: string, extra = ""): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${token.length + extra.length}\r\n\r\n${token}${extra}`;
}

const FORMS: Record<string, (token: string, random: Random) => string> = {
  "as it should be": (token) => whole(token),
  "in chunks": (token) =>
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${token.length.toString(16)}\r\n${token}\r\n0\r\n\r\n`,
  "too much": (token) => whole(token) + token,
  "too much of chunks": (token, random) => `${(FORMS["in chunks"] as Form)(token, random)}${token}`,
  "a second response": (token) => whole(token) + whole(token),
  "too little": (token) => `HTTP/1.1 200 OK\r\nContent-Length: ${2 * token.length}\r\n\r\n${token}`,
  "204 with a body": (token) => `HTTP/1.1 204 No Content\r\nContent-Length: ${token.length}\r\n\r\n${token}`,
  "204 and a second response": (token) => `HTTP/1.1 204 No Content\r\n\r\n${whole(token)}`,
  "304 with a body": (token) => `HTTP/1.1 304 Not Modified\r\nContent-Length: ${token.length}\r\n\r\n${token}`,
  "a broken chunk": (token) => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n${token}\r\n`,
  "half a head": (token) => `HTTP/1.1 200 OK\r\nX: ${token}`,
  "an interim response and then one": (token) => `HTTP/1.1 103 Early Hints\r\nLink: <${token}>\r\n\r\n${whole(token)}`,
  "interim responses without end": (token) => `HTTP/1.1 103 Early Hints\r\nLink: <${token}>\r\n\r\n`.repeat(40),
  garbage: (token, random) => `${String.fromCharCode(below(random, 256), below(random, 256))}${token}\r\n\r\n${token}`,
};
type Form = (token: string, random: Random) => string;

export const FORM_NAMES = Object.keys(FORMS);

/** Returns a random broken response, split anywhere, whose rest is sent now or later. */
export function brokenResponse(token: string, random: Random): BrokenResponse {
  // The most harmful form is the most frequent.
  const form = random() < 0.25 ? "a second response" : (FORM_NAMES[below(random, FORM_NAMES.length)] as string);
  const text = (FORMS[form] as Form)(token, random);
  const places = Array.from({ length: below(random, 4) }, () => below(random, text.length + 1));
  // After the first complete response, where further bytes are unexpected.
  const behindFirst = text.indexOf("\r\n\r\n") + 4 + token.length;
  if (random() < 0.8 && behindFirst < text.length) places.push(behindFirst);
  const cuts = [0, ...places.sort((a, b) => a - b), text.length];
  const pieces = cuts
    .slice(1)
    .map((end, i) => ({ text: text.slice(cuts[i] as number, end), afterMs: random() < 0.5 ? below(random, 8) : 0 }));
  // An upstream that always closes after complete responses would have no kept connections.
  const mustEnd = form === "too little" || form === "half a head" || form === "garbage";
  return { pieces, end: !mustEnd ? "keep" : random() < 0.3 ? "reset" : "fin" };
}
