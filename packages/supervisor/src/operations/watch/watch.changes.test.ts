import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Changes } from "./watch.js";

let told: string[][];
let written: string[];
let changes: Changes;

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  written = [];
  changes = new Changes({ onSettled: (paths) => told.push([...paths]), onWritten: (path) => written.push(path) });
});
afterEach(() => {
  changes.stop();
  vi.useRealTimers();
});

/** Long enough for changes that settle immediately, and too short for those that must be quiet. */
const settle = () => vi.advanceTimersByTime(150);
/** Time for a person to see the result of the last change. */
const think = () => vi.advanceTimersByTime(5_000);

describe("changes", () => {
  test("of a burst are reported once, when it is over", () => {
    for (let n = 0; n < 20; n++) {
      changes.add(`/app/${n % 5}.js`);
      vi.advanceTimersByTime(10);
    }
    expect(told).toEqual([]);
    settle();
    expect(told).toEqual([["/app/0.js", "/app/1.js", "/app/2.js", "/app/3.js", "/app/4.js"]]);
  });

  test("that do not end are reported all the same", () => {
    for (let n = 0; n < 25 && told.length === 0; n++) {
      changes.add(`/app/${n}.js`);
      vi.advanceTimersByTime(50);
    }
    expect(told).toHaveLength(1);
  });

  test("during a reload are reported once after it, however many there are", () => {
    changes.add("/app/a.js");
    settle();
    for (const name of ["a", "b", "a"]) changes.add(`/app/${name}.js`);
    think();
    expect(told).toHaveLength(1);
    changes.reloaded();
    settle();
    changes.reloaded();
    think();
    expect(told).toEqual([["/app/a.js"], ["/app/a.js", "/app/b.js"]]);
  });

  test("that follow each reload are reported more and more rarely, and delay no others", () => {
    // Like an app that writes a file on each start.
    let reloads = 0;
    const start = () => {
      reloads++;
      changes.add("/app/state.json");
      changes.reloaded();
    };
    changes.add("/app/app.js");
    for (let ms = 0; ms < 120_000; ms += 50) {
      vi.advanceTimersByTime(50);
      if (told.length > reloads) start();
    }
    expect(reloads).toBeLessThan(10);
    expect(written).toEqual(["/app/state.json"]);
    const before = told.length;
    changes.add("/app/app.js");
    settle();
    expect(told.slice(before)).toEqual([["/app/app.js"]]);
  });

  test("of one file saved in quick succession are not lost", () => {
    for (let save = 0; save < 8; save++) {
      changes.add("/app/app.js");
      settle();
      if (told.length > 0) changes.reloaded();
    }
    const before = told.length;
    vi.advanceTimersByTime(60_000);
    expect(told.length).toBe(before + 1);
    changes.reloaded();
    // After a quiet period it counts immediately again.
    think();
    changes.add("/app/app.js");
    settle();
    expect(told.length).toBe(before + 2);
  });

  test("are not reported after the end", () => {
    changes.add("/app/a.js");
    changes.stop();
    changes.add("/app/b.js");
    vi.advanceTimersByTime(60_000);
    expect(told).toEqual([]);
  });
});
