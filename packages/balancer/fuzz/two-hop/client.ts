/** A client that sends a stream in pieces over a real connection, and knows how many answers it waits for. */
import net from "node:net";
import type { Reading } from "../message.js";
import { readNodeResponses } from "../read/node.js";

const TIMEOUT_MS = 10_000;

export interface Answers {
  /** Interim responses are left out. */
  reading: Reading;
  /** The statuses of these. */
  interims: number[];
  /** The connection was still open, and nothing came any more, when the time was over. */
  isStuck: boolean;
}

export interface Expectation {
  /** For each response that may come: whether it is one to a HEAD. */
  toHead: readonly boolean[];
  /** How many are waited for before FIN is sent. */
  awaited: number;
  /** The other side has to end the connection by itself. */
  mustEnd: boolean;
}

/** Sends the pieces, waits for the responses or the end of the connection, then sends FIN and waits for the end. */
export async function exchangeStream(
  port: number,
  pieces: readonly Buffer[],
  { toHead, awaited, mustEnd }: Expectation,
): Promise<Answers> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  const received: Buffer[] = [];
  let hasEnded = false;
  let wake = () => {};
  const changed = () => wake();
  socket.on("data", (bytes) => {
    received.push(bytes);
    changed();
  });
  // A reset is as good an end as a FIN here: what counts is what came before it.
  for (const event of ["end", "error", "close"] as const) {
    socket.on(event, () => {
      hasEnded = true;
      changed();
    });
  }
  const deadline = Date.now() + TIMEOUT_MS;
  const until = async (holds: () => boolean): Promise<boolean> => {
    while (!holds()) {
      if (Date.now() >= deadline) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now());
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return true;
  };
  const read = () => {
    const reading = readNodeResponses([Buffer.concat(received)], toHead);
    const interims = reading.messages.filter(({ status }) => status < 200).map(({ status }) => status);
    reading.messages = reading.messages.filter(({ status }) => status >= 200);
    return { reading, interims };
  };
  for (const piece of pieces) {
    if (hasEnded) break;
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const hasAll = () => read().reading.messages.filter(({ isComplete }) => isComplete).length >= awaited;
  let isDone = await until(() => hasEnded || (!mustEnd && hasAll()));
  if (isDone && !hasEnded) {
    socket.end();
    isDone = await until(() => hasEnded);
  }
  socket.destroy();
  return { ...read(), isStuck: !isDone };
}
