/** Each route matches its path, and docs/http-api.md has exactly one section for each. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isAbout } from "../core/words.js";
import { bodyProblems, matchPath } from "./route.js";
import { routes } from "./routes.js";

test("docs/http-api.md explains every route", () => {
  const page = readFileSync(new URL("../../../../docs/http-api.md", import.meta.url), "utf8");
  const explained = [...page.matchAll(/^### (GET|POST) (\S+)$/gm)].map(([, method, path]) => `${method} ${path}`);
  expect(explained.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
});

test.each([
  ["/v1/pools/:pool/scale", "/v1/pools/web/scale", { pool: "web" }],
  ["/v1/pools/:pool/scale", "/v1/pools/w%2Fb/scale", { pool: "w/b" }],
  ["/v1/pools/:pool/scale", "/v1/pools/web", undefined],
  ["/v1/pools/:pool/scale", "/v1/pools/web/scale/", undefined],
  ["/v1/pools/:pool/scale", "/v1/pools/%/scale", undefined],
  ["/v1/stop", "/v1/stop", {}],
])("%s against %s", (pattern, path, params) => {
  expect(matchPath(pattern, path)).toEqual(params);
});

test("a name stands for an instance, or for all of a pool", () => {
  expect(["web.1", "web", "web2.1", "web.10"].filter((subject) => isAbout(subject, "web"))).toEqual([
    "web.1",
    "web",
    "web.10",
  ]);
  expect(["web.1", "web.10"].filter((subject) => isAbout(subject, "web.1"))).toEqual(["web.1"]);
});

const SCALE = { instances: "count?", by: "change?" } as const;
const RELOAD = { pool: "text?", environment: "texts?" } as const;

test.each([
  [SCALE, { instances: 0 }],
  [SCALE, { by: -2 }],
  [RELOAD, {}],
  [RELOAD, { pool: "web", environment: { A: "1" } }],
  [{}, {}],
])("%j accepts %j", (shape, body) => {
  expect(bodyProblems(shape, body)).toEqual([]);
});

test.each([
  [SCALE, { by: 1.5 }, ["by: must be a whole number, below 0 for fewer"]],
  [SCALE, { instances: -1 }, ["instances: must be a whole number from 0"]],
  [SCALE, { instances: "3", more: 1 }, ["instances: must be a whole number from 0", 'unknown key "more"']],
  [RELOAD, { environment: { A: 1 } }, ["environment: must be a table of texts"]],
  [RELOAD, { pool: null }, ["pool: must be text"]],
  [{}, { toString: 1 }, ['unknown key "toString"']],
  [{}, [], ["must be an object"]],
  [{}, null, ["must be an object"]],
])("%j rejects %j", (shape, body, problems) => {
  expect(bodyProblems(shape, body)).toEqual(problems);
});
