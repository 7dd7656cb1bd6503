/** Written and lost lines add up to all lines, with any target. */
import { expect, test } from "vitest";
import { LineWriter } from "./line-writer.js";

const lines = (count: number, name = "web.1") =>
  Array.from({ length: count }, (_, sequence) => ({ sequence, at: 0, name, text: "x".repeat(90) }));

/** A target that handles each write as `responses` says, in turn; after that it writes everything. */
function target(responses: (number | NodeJS.ErrnoException)[]) {
  let content = "";
  let writes = 0;
  return {
    text: () => content,
    write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void) {
      const response = responses[writes++] ?? bytes.length;
      setImmediate(() => {
        if (typeof response !== "number") return done(response, 0);
        const some = bytes.subarray(0, response);
        content += some.toString();
        done(null, some.length);
      });
    },
    takeBack(bytes: number) {
      content = content.slice(0, content.length - bytes);
    },
  };
}

const error = (code: string) => Object.assign(new Error(code), { code });

test.each<[string, (number | NodeJS.ErrnoException)[]]>([
  ["all at once", []],
  ["in parts", [1, 500, 1000]],
  ["a pipe that is full for a while", [500, error("EAGAIN"), error("EAGAIN"), 10]],
  ["a disk that is full at once", [error("ENOSPC")]],
  ["a disk that gets full within a line", [150, error("ENOSPC"), error("ENOSPC")]],
  ["a disk that gets full again and again", [250, error("ENOSPC"), 55, error("ENOSPC"), 1, 1, error("EIO")]],
])("%s", async (_, responses) => {
  const out = target(responses);
  const format = ({ name, text, lost }: { name: string; text: string; lost?: number }) =>
    JSON.stringify({ name, text, lost });
  const writer = new LineWriter({ target: out, format, retryMs: 1 });
  for (let round = 0; round < 10; round++) {
    writer.add(lines(3));
    writer.add(lines(1, "api.1"));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await expect.poll(() => writer.problem).toBe(null);
  await writer.close(5_000);
  const told = out
    .text()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { name: string; lost?: number });
  const count = (name: string) =>
    told.filter((line) => line.name === name).reduce((sum, { lost = 1 }) => sum + lost, 0);
  expect([count("web.1"), count("api.1")]).toEqual([30, 10]);
  expect(told.filter(({ lost }) => lost === undefined).length + writer.linesLost).toBe(40);
});

test("lines that arrive faster than they are written are lost and counted, and the others are written", async () => {
  let release = () => {};
  const out = target([]);
  const held = {
    ...out,
    write: (bytes: Buffer, done: (error: null, written: number) => void) => {
      release = () => out.write(bytes, done as never);
      held.write = out.write as never;
    },
  };
  const writer = new LineWriter({
    target: { write: (...args) => held.write(...(args as [Buffer, never])) },
    format: ({ text, lost }) => JSON.stringify({ text, lost }),
  });
  writer.add(lines(1));
  const many = lines(1_000).map((line) => ({ ...line, text: "y".repeat(10_000) }));
  expect(writer.isBusy).toBe(false);
  writer.add(many.slice(0, 200));
  expect(writer.isBusy).toBe(true);
  for (let round = 0; round < 3; round++) writer.add(many);
  expect(writer.problem).toMatch(/not written as fast/);
  const { linesLost } = writer;
  expect(linesLost).toBeGreaterThan(1_000);
  // Callers that did not wait need not wait now.
  expect(writer.isBusy).toBe(false);
  release();
  await writer.close(5_000);
  const told = out
    .text()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { lost?: number });
  expect(told.filter(({ lost }) => lost === undefined)).toHaveLength(3_201 - linesLost);
  expect(told.reduce((sum, { lost = 0 }) => sum + lost, 0)).toBe(linesLost);
  expect(told.at(-1)?.lost).toBeGreaterThan(0);
});
