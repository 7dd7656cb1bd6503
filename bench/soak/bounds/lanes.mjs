/** Broken instances: they send on their lane and do not read. */
import { connections, get, overAndOver, post } from "./peers.mjs";

/** A POST reaches only one instance, which then breaks. */
async function ask(port, target) {
  await fetch(`http://127.0.0.1:${port}${target}`, { method: "POST" })
    .then((response) => response.text())
    .catch(() => {});
}

/** One of the two instances breaks its lane; the other one serves. */
const wrong = (what) => ({
  start: async ({ port, seconds }) => {
    await ask(port, `/wrong?what=${what}&seconds=${seconds}`);
    return async () => {};
  },
});

/** An instance that sent GOAWAY gets no requests: after a warm-up only one would be left, and that one would break its lane. */
const WITHOUT_WARM_UP = { "lane: goaways without end": { ...wrong("goaways"), hasNoWarmUp: true } };

export const LANES = {
  ...Object.fromEntries(
    ["pongs", "busy", "closes", "strange", "windows", "bodies", "begun"].map((what) => [
      `lane: ${what} without end`,
      wrong(what),
    ]),
  ),
  ...WITHOUT_WARM_UP,
  "lane: an instance that reads nothing, and clients that come and go": {
    start: async ({ port, seconds }) => {
      await ask(port, `/wrong?what=deaf&seconds=${seconds}`);
      return connections(
        port,
        50,
        (socket) => {
          socket.write(get("/later"));
          setTimeout(() => socket.resetAndDestroy(), 20);
        },
        { afterEnd: 1 },
      );
    },
  },
  "lane: an instance that reads nothing, and uploads": {
    start: async ({ port, seconds }) => {
      await ask(port, `/wrong?what=deaf&seconds=${seconds}`);
      return connections(port, 100, (socket) => {
        socket.write(post("/unread"));
        overAndOver(Buffer.from(`10000\r\n${"x".repeat(65_536)}\r\n`))(socket);
      });
    },
  },
};
