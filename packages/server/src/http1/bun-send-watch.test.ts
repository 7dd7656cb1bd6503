import { expect, it } from "vitest";
import { BunSendWatch } from "./bun-send-watch.js";

it("keeps few of the requests that one read brought, and looks at each once", async () => {
  const REQUESTS = 20_000;
  const looked = new Set<Request>();
  const server = {
    requestIP(request: Request) {
      expect(looked.has(request)).toBe(false);
      looked.add(request);
      return null;
    },
    timeout() {},
  };
  const watch = new BunSendWatch(60_000);
  for (let n = 0; n < REQUESTS; n++) {
    watch.add({} as Request, server as never);
    expect(n + 1 - looked.size).toBeLessThanOrEqual(1024);
  }
  await new Promise((resolve) => void setImmediate(resolve));
  expect(looked.size).toBe(REQUESTS);
});
