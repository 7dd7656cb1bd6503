/** The bodies of the control socket: what is right passes, and what is not is told by its key. */
import { expect, test } from "vitest";
import { bodyProblems } from "./body.js";

const SCALE = { instances: "count?", by: "change?" } as const;
const RELOAD = { pool: "text?", environment: "texts?" } as const;

test.each([
  [SCALE, { instances: 0 }],
  [SCALE, { by: -2 }],
  [RELOAD, {}],
  [RELOAD, { pool: "web", environment: { A: "1" } }],
  [{}, {}],
])("%j takes %j", (shape, body) => {
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
])("%j refuses %j", (shape, body, problems) => {
  expect(bodyProblems(shape, body)).toEqual(problems);
});
