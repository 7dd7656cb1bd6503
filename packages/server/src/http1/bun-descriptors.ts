/** Descriptors on Bun, which has no names for them: whose peers have left, and which belong to paused connections of node:http. Loaded by the first body that is not read. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";

/** Those of the event loops in this process. */
let pollers: string[] | undefined;

/** A line of an epoll descriptor's `/proc/self/fdinfo`: what is waited for on a descriptor, in hex. */
const LINE = /^tfd: +(\d+) events: +([\da-f]+)/gm;
const EPOLLIN = 0x1;

/**
 * The descriptors of sockets that are paused, undefined where one is not found. Each is read for an instant in which nothing is taken:
 * in the rounds that the binary digits of its number name.
 */
export function descriptorsOfPaused(sockets: readonly Socket[]): (number | undefined)[] {
  const before = readDescriptors();
  const numbers = new Map<number, number>();
  for (let digit = 1; digit <= sockets.length; digit *= 2) {
    const asked = sockets.filter((_, at) => ((at + 1) & digit) !== 0);
    for (const socket of asked) socket.resume();
    for (const descriptor of readDescriptors())
      if (!before.has(descriptor)) numbers.set(descriptor, (numbers.get(descriptor) ?? 0) | digit);
    for (const socket of asked) socket.pause();
  }
  const found: (number | undefined)[] = sockets.map(() => undefined);
  for (const [descriptor, number] of numbers) if (number <= sockets.length) found[number - 1] = descriptor;
  return found;
}

/** Those that an event loop waits to read. */
export function readDescriptors(): Set<number> {
  pollers ??= findPollers();
  const descriptors = new Set<number>();
  for (const poller of pollers) {
    for (const [, descriptor, events = ""] of readFileSync(poller, "latin1").matchAll(LINE))
      if ((Number.parseInt(events, 16) & EPOLLIN) !== 0) descriptors.add(Number(descriptor));
  }
  return descriptors;
}

function findPollers(): string[] {
  return readdirSync("/proc/self/fd")
    .filter((name) => targetOf(`/proc/self/fd/${name}`) === "anon_inode:[eventpoll]")
    .map((name) => `/proc/self/fdinfo/${name}`);
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    // The descriptor of that reading itself.
    return "";
  }
}

/** By descriptor. */
export function whoLeft(): number[] {
  try {
    return whosePeerLeft(readdirSync("/proc/self/fd").map(Number));
  } catch {
    return [];
  }
}
