/** What a pool's policy means for the balancers, and which policies are rejected. */
import { expect, test } from "vitest";
import { relayedPolicy } from "./balancing.js";

test.each<[string, object]>([
  ["round-robin", {}],
  ["exact", { policy: "exact" }],
  ["least-busy", { policy: "least-busy" }],
  ["random-two", { policy: "random-two" }],
  ["hash:address", { sticky: { by: "address", isLoose: true } }],
  ["hash:path", { sticky: { by: "path", isLoose: true } }],
  ["hash:cookie:Session-Id", { sticky: { by: "cookie-value", name: "Session-Id", isLoose: true } }],
  ["hash:header:X-User", { sticky: { by: "header", name: "x-user", isLoose: true } }],
])("%s", (text, relayed) => {
  expect(relayedPolicy(text)).toEqual(relayed);
});

test.each([
  ["hash:header:X-Forwarded-For", /which Paceline makes itself/],
  ["hash:header:Connection", /instances never get it/],
])("%s is rejected", (text, why) => {
  expect(relayedPolicy(text)).toMatch(why);
});
