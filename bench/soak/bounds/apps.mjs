/** Apps that send much: to their clients, to their output, to themselves. */
import { wait } from "../support.mjs";
import { connections, get, UPGRADE } from "./peers.mjs";

const chatty = (what) => ({
  start: async ({ port, seconds = 0 }) => {
    await fetch(`http://127.0.0.1:${port}/chatty?what=${what}&seconds=${seconds}`).then((response) => response.text());
    return async () => {};
  },
});
/** Runs the load once per instance, with time to finish. */
function twice({ start }) {
  return async (target) => {
    for (let i = 0; i < 2; i++) await start(target);
    await wait(3000);
  };
}

export const APPS = {
  "app: lines without end on its output": chatty("lines"),
  "app: a line without end on its output": chatty("line"),
  // The runtime's compilers take 20 MB for hot code; this must happen before the measurement.
  "app: jobs without end": { ...chatty("jobs"), prepare: twice(chatty("few%20jobs")) },
  "app: pieces of a byte, not read": {
    start: ({ port }) => connections(port, 20, (socket) => socket.write(get("/pieces"))),
  },
  "app: pieces of a byte, read": {
    start: ({ port }) => connections(port, 20, (socket) => socket.write(get("/pieces")), { reads: true }),
  },
  // Bun's server reads block after block by itself, and serves no other client during that time.
  "app of serve: pieces of a byte, not read": {
    alone: ["APP"],
    runtimes: ["node"],
    start: ({ port }) => connections(port, 20, (socket) => socket.write(get("/pieces"))),
  },
  "app: heads of 50 KB, not read": {
    start: ({ port }) => connections(port, 10, (socket) => socket.write(get("/head").repeat(1000))),
  },
  "app: WebSocket messages that are not read": {
    start: ({ port }) => connections(port, 4, (socket) => socket.write(get("/socket?what=flood", UPGRADE))),
  },
};
