/** Which frames a client may send without limit, and which end its connection. */
import { describe, expect, it } from "vitest";
import { Floods } from "./flood.js";

const MANY = 100_000;

/** Returns how often `act` is possible at once, up to MANY times. */
function most(act: (floods: Floods) => boolean): number {
  const floods = new Floods({ now: 0 });
  for (let count = 0; count < MANY; count++) if (!act(floods)) return count;
  return MANY;
}

const data =
  (bytes: number) =>
  (floods: Floods): boolean =>
    floods.takeData(bytes);

describe("at once", () => {
  it.each<[string, number, (floods: Floods) => boolean]>([
    ["idle frames", 1000, (floods) => floods.takeIdle()],
    ["idle frames that cost as much as ten", 100, (floods) => floods.takeIdle(10)],
    ["resets", 256, (floods) => floods.takeReset()],
    ["messages of 1 byte", 4999, data(1)],
    ["messages of 4 bytes", 20_000, data(4)],
    ["empty messages of gRPC, of 5 bytes", MANY, data(5)],
    ["messages of gRPC with 20 bytes", MANY, data(25)],
  ])("%s", (_, expected, act) => {
    expect(most(act)).toBe(expected);
  });

  it.each<[string, (floods: Floods) => boolean]>([
    [
      "four pings for each request",
      (floods) => {
        floods.onRequest();
        return floods.takeIdle(4);
      },
    ],
    [
      "a ping and a window update for each message of a response",
      (floods) => {
        floods.onResponseData(25, true);
        return floods.takeIdle(2);
      },
    ],
    [
      "two window updates for each frame of 256 bytes",
      (floods) => {
        floods.onResponseData(256, false);
        return floods.takeIdle(2);
      },
    ],
    [
      "an echo of each byte",
      (floods) => {
        floods.onResponseData(1, true);
        return floods.takeData(1);
      },
    ],
    ["as many bytes in large frames as the small ones lack", (floods) => floods.takeData(1) && floods.takeData(9)],
    [
      "one canceled request of five",
      (floods) => {
        for (let i = 0; i < 4; i++) floods.onResponse();
        return floods.takeReset();
      },
    ],
  ])("any number of: %s", (_, act) => {
    expect(most(act)).toBe(MANY);
  });

  it.each<[string, number, (floods: Floods) => boolean]>([
    [
      "a window update for each byte of a response (CVE-2019-9511)",
      1000,
      (floods) => {
        floods.onResponseData(1, false);
        return floods.takeIdle();
      },
    ],
    [
      "a ping for each byte of a body",
      1000,
      (floods) => {
        floods.onRequestData(1);
        return floods.takeIdle();
      },
    ],
    [
      "one canceled request of three",
      2 * 256 - 1,
      (floods) => {
        floods.onResponse();
        floods.onResponse();
        return floods.takeReset();
      },
    ],
  ])("not any number of: %s", (_, expected, act) => {
    const count = most(act);
    expect(count).toBeGreaterThanOrEqual(expected);
    expect(count).toBeLessThan(2 * expected);
  });
});

it.each([
  [600, 1200],
  [MANY, 10_000],
])("%i small frames of responses allow %i window updates that come together", (frames, saved) => {
  const floods = new Floods({ now: 0 });
  for (let n = 0; n < frames; n++) floods.onResponseData(100, true);
  floods.onRequest();
  for (let n = 0; n < saved + 1000; n++) expect(floods.takeIdle()).toBe(true);
  expect(floods.takeIdle()).toBe(false);
});

it("forgets over time: 200 idle frames, 32 resets and 2,000 missing parts of small messages per second", () => {
  const clock = { now: 0 };
  const floods = new Floods(clock);
  const take = (act: () => boolean) => {
    let count = 0;
    while (count < MANY && act()) count++;
    return count;
  };
  const acts = [() => floods.takeIdle(), () => floods.takeReset(), () => floods.takeData(4)];
  for (const act of acts) take(act);
  clock.now += 1000;
  // The one that was too many counts, too.
  expect(acts.map((act) => take(act))).toEqual([199, 31, 9999]);
});
