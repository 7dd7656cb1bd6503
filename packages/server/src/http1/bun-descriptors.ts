/** Finds descriptors on Bun: of peers that left, and of paused node:http sockets. Loaded by the first unread body. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { whosePeerLeft } from "@paceline/wire/left-peers-bun";

/** The epoll descriptors of this process. */
let pollers: string[] | undefined;

/** A line of an epoll descriptor's `/proc/self/fdinfo`: a descriptor and its events, in hex. */
const LINE = /^tfd: +(\d+) events: +([\da-f]+)/gm;
const EPOLLIN = 0x1;

/**
 * Returns the descriptors of paused sockets; undefined if not found. Reads each for an instant, in the rounds given by the binary digits of
 * its index, without taking data.
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

/** Returns the descriptors that an event loop waits to read. */
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
    // The descriptor of this very read.
    return "";
  }
}

/** Returns the descriptors whose peers have left. */
export function whoLeft(): number[] {
  try {
    return whosePeerLeft(readdirSync("/proc/self/fd").map(Number));
  } catch {
    return [];
  }
}
