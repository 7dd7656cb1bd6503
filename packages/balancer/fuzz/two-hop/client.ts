/** A client that sends a stream in pieces over a real connection and knows the number of expected responses. */
import net from "node:net";
import type { Reading } from "../message.js";
import { readNodeResponses } from "../read/node.js";

const TIMEOUT_MS = 10_000;

export interface Answers {
  /** Without interim responses. */
  reading: Reading;
  /** The statuses of interim responses. */
  interims: number[];
  /** Nothing more arrived before the timeout, and the connection was still open. */
  isStuck: boolean;
}

export interface Expectation {
  /** For each possible response: whether it belongs to a HEAD. */
  toHead: readonly boolean[];
  /** The number of responses to wait for before sending FIN. */
  awaited: number;
  /** The other side must end the connection by itself. */
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
  // A reset is as good as a FIN here: only the bytes before it count.
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
