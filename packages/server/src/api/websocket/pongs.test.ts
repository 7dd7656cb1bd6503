/** A flood of pings in one read: few pongs are sent, and the last ping gets one. */
import { expect, it } from "vitest";
import { acceptWebSocket } from "./index.js";

const PINGS = 5000;

it("replies to few of thousands of pings in one read", async () => {
  const headers = { upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": `${"A".repeat(22)}==` };
  const written: Uint8Array[] = [];
  const upgrade = () => ({
    response: new Response(),
    readable: new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(Buffer.alloc(6 * PINGS, Buffer.from([0x89, 0x80, 0, 0, 0, 0])));
        controller.enqueue(Buffer.from([0x89, 0x81, 0, 0, 0, 0, 0x7a]));
        controller.close();
      },
    }),
    writable: new WritableStream<Uint8Array>({ write: (bytes) => void written.push(bytes) }),
  });
  const socket = acceptWebSocket(new Request("http://a/", { headers }), { upgrade } as never);
  for await (const _ of socket ?? []);
  const pongs = written.filter(([first]) => first === 0x8a).map((bytes) => Buffer.from(bytes).toString("latin1", 2));
  expect(pongs.at(-1)).toBe("z");
  expect(pongs.length).toBeLessThan(12);
});
