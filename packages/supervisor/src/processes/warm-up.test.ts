import { expect, test } from "vitest";
import { warmUp } from "./health-watch.js";

/** An instance whose responses take these times in milliseconds in turn, and the last time from then on. */
function instance(times: number[], problemOf: (path: string) => string | undefined = () => undefined) {
  const asked: string[] = [];
  let clock = 0;
  return {
    asked,
    options: {
      now: () => clock,
      isOver: () => false,
      async ask(path: string, timeoutMs: number) {
        const takes = times[Math.min(asked.length, times.length - 1)] as number;
        asked.push(path);
        clock += Math.min(takes, timeoutMs);
        return takes >= timeoutMs ? `GET ${path} got no response within ${timeoutMs} ms` : problemOf(path);
      },
    },
  };
}

test("it requests each path in turn, until a round takes as long as those before", async () => {
  const { asked, options } = instance([300, 100, 20]);
  expect(await warmUp({ ...options, paths: ["/", "/a"], timeoutMs: 5000 })).toBeUndefined();
  expect(asked).toEqual(["/", "/a", "/", "/a", "/", "/a", "/", "/a", "/", "/a"]);
});

test("a path that fails is requested once, and all failures are reported in one line", async () => {
  const { asked, options } = instance([5], (path) => (path === "/" ? undefined : `GET ${path} returned 500`));
  expect(await warmUp({ ...options, paths: ["/a", "/", "/b"], timeoutMs: 5000 })).toBe(
    "GET /a returned 500, and 1 more",
  );
  expect(asked.filter((path) => path !== "/")).toEqual(["/a", "/b"]);
  expect(asked.filter((path) => path === "/")).toHaveLength(5);
});

test("its time is bounded, for one request and for all", async () => {
  const silent = instance([Number.POSITIVE_INFINITY]);
  expect(await warmUp({ ...silent.options, paths: ["/"], timeoutMs: 700 })).toBe("GET / got no response within 700 ms");
  const faster = instance([400, 300, 200, 100, 50, 20, 10]);
  expect(await warmUp({ ...faster.options, paths: ["/"], timeoutMs: 800 })).toBe("GET / got no response within 100 ms");
});

test("an instance that exits in the meantime gets no further request", async () => {
  const { asked, options } = instance([5]);
  const isOver = () => asked.length === 2;
  expect(await warmUp({ ...options, isOver, paths: ["/"], timeoutMs: 800 })).toBeUndefined();
  expect(asked).toHaveLength(2);
});
