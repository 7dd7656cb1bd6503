/** Finds the slot of a client by hash. Every balancer process finds the same slot, even after a restart. Pure. */
import { ascii } from "../http1/bytes.js";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { networkOf } from "../http1/trusted-proxies.js";

const STEP = 0x9e3779b9;
const FNV_START = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const TWO_32 = 2 ** 32;
const QUESTION = 63;
/** The path for a target without a path. */
const ROOT = ascii("/");

/**
 * Returns the slot of a hash among the slots 1 to `slots` (jump consistent hash, Lamping and Veach 2014). All slots get the same share.
 * When the last slot is added or removed, only its own clients move.
 * @param choice 0 for the slot of the client; higher numbers for the slots that replace it, in order
 */
export function choiceOf(hash: number, choice: number, slots: number): number {
  let state = choice === 0 ? hash : mix(hash ^ Math.imul(choice, STEP));
  let slot = 0;
  let next = 1;
  while (next <= slots) {
    slot = next;
    state = (state + STEP) | 0;
    next = Math.floor(slot * (TWO_32 / ((mix(state) >>> 0) + 1))) + 1;
  }
  return slot;
}

/** Spreads the bits of a number over all bits of the result. */
function mix(value: number): number {
  let bits = value ^ (value >>> 16);
  bits = Math.imul(bits, 0x85ebca6b);
  bits ^= bits >>> 13;
  bits = Math.imul(bits, 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}

/** Returns a hash of the bytes; 0 only if there are none. */
export function hashOfBytes(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return 0;
  let hash = FNV_START;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), FNV_PRIME);
  return mix(hash) || STEP;
}

/** Returns a hash of the target's path, without its query. */
export function hashOfPath({ target, targetStart, targetEnd }: RequestHead): number {
  const query = target.indexOf(QUESTION, targetStart);
  const end = query < 0 ? targetEnd : Math.min(query, targetEnd);
  return targetStart === end ? hashOfBytes(ROOT, 0, 1) : hashOfBytes(target, targetStart, end);
}

/** Returns a hash of the client's network; 0 if the address is unknown. Stored with the fields, which are cached by client. */
export function hashOfClient(fields: ForwardedFields): number {
  fields.clientHash ??= hashOfNetwork(networkOf(fields.client));
  return fields.clientHash;
}

function hashOfNetwork(network: string | undefined): number {
  if (network === undefined) return 0;
  const bytes = Buffer.from(network, "latin1");
  return hashOfBytes(bytes, 0, bytes.length);
}
