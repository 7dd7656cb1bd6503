import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { EventLog } from "./event-log.js";

/** Line by line of MAX_LINE_BYTES that would be over a gigabyte before their places are moved together. */
it("lets go of lines as soon as they have left the list", async () => {
  const log = new EventLog();
  const add = () => {
    log.output("web.1", ["x".repeat(2 << 20)]);
    return new WeakRef(log.recentLog(undefined)[0] as object);
  };
  const first = add();
  log.output("web.1", ["y"]);
  // A WeakRef holds what it was made of until this turn is over.
  await new Promise((resolve) => setImmediate(resolve));
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  expect(log.recentLog(undefined).map(({ text }) => text)).toEqual(["y"]);
  expect(first.deref()).toBeUndefined();
});
