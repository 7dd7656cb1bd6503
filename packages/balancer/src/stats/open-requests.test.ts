import { expect, test } from "vitest";
import { oldestOfEach } from "./open-requests.js";

const open = (upstream: string, ageMs: number) => ({
  openRequest: () => ({ upstream, ageMs, request: `GET /${ageMs}`, client: "203.0.113.9" }),
});

test("the oldest requests of each instance are listed, oldest first; idle clients are not listed", () => {
  const idle = { openRequest: () => undefined };
  const clients = [idle, {}, ...Array.from({ length: 100 }, (_, at) => open("web.1#1", at)), open("web.2#1", 5)];
  const found = oldestOfEach(clients);
  expect(found.map(({ ageMs }) => ageMs)).toEqual([99, 98, 97, 96, 95, 94, 93, 92, 91, 90, 89, 88, 5]);
  expect(found.at(-1)?.upstream).toBe("web.2#1");
});

test("the list is bounded", () => {
  const clients = Array.from({ length: 5000 }, (_, at) => open(`web.${at % 400}#1`, at));
  expect(oldestOfEach(clients)).toHaveLength(512);
});
