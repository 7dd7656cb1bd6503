/** Clients cannot make it send arbitrary requests, or many requests. */
import { expect, it } from "vitest";
import { OnDemand } from "./on-demand.js";

class World {
  now = 0;
  url: string | null = "http://127.0.0.1:9/ask?token=1";
  readonly asked: string[] = [];
  readonly problems: string[] = [];
  answer: (url: string) => { status: number } | { problem: string } = (url) => ({
    status: url.includes("good") ? 200 : 404,
  });
  wait: Promise<void> = Promise.resolve();
  readonly onDemand = new OnDemand({
    url: () => this.url,
    onProblem: (problem) => this.problems.push(problem),
    now: () => this.now,
    ask: async (url) => {
      this.asked.push(url);
      await this.wait;
      return this.answer(url);
    },
  });
}

it("allows what the URL responds to with 200, and caches its response", async () => {
  const world = new World();
  expect(await world.onDemand.mayHave("good.example")).toBe(true);
  expect(await world.onDemand.mayHave("bad.example")).toBe(false);
  expect(world.asked).toEqual([
    "http://127.0.0.1:9/ask?token=1&domain=good.example",
    "http://127.0.0.1:9/ask?token=1&domain=bad.example",
  ]);
  expect(await world.onDemand.mayHave("good.example")).toBe(true);
  expect(await world.onDemand.mayHave("bad.example")).toBe(false);
  expect(world.asked).toHaveLength(2);
  world.now += 61_000;
  await world.onDemand.mayHave("bad.example");
  await world.onDemand.mayHave("good.example");
  expect(world.asked).toHaveLength(3);
});

it.each([
  "",
  "localhost",
  "127.0.0.1",
  "a..example",
  "a_b.example",
  "-a.example",
  `${"a".repeat(64)}.example`,
  "*.good.example",
])("does not ask for %s", async (name) => {
  const world = new World();
  expect(await world.onDemand.mayHave(name)).toBe(false);
  expect(world.asked).toEqual([]);
});

it("asks once for a name that many clients request", async () => {
  const world = new World();
  const all = await Promise.all(Array.from({ length: 50 }, () => world.onDemand.mayHave("good.example")));
  expect(all.every((each) => each)).toBe(true);
  expect(world.asked).toHaveLength(1);
});

it("asks for few names at once, and for few per minute", async () => {
  const world = new World();
  const all = await Promise.all(Array.from({ length: 50 }, (_, at) => world.onDemand.mayHave(`good-${at}.example`)));
  expect(all.filter((each) => each)).toHaveLength(8);
  for (let at = 0; at < 200; at++) await world.onDemand.mayHave(`good-x${at}.example`);
  expect(world.asked).toHaveLength(120);
  world.now += 60_000;
  expect(await world.onDemand.mayHave("good-again.example")).toBe(true);
});

it("refuses while the URL fails, and asks again soon", async () => {
  const world = new World();
  world.answer = () => ({ problem: "refused" });
  expect(await world.onDemand.mayHave("good.example")).toBe(false);
  expect(world.problems).toEqual(["refused"]);
  world.answer = () => ({ status: 200 });
  world.now += 6_000;
  expect(await world.onDemand.mayHave("good.example")).toBe(true);
});
