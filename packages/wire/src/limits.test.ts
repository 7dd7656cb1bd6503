/** A new limit is one line in the list, and one in the schema that describes it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { BALANCER_LIMITS, badLimit, INSTANCE_LIMITS } from "./limits.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** The sources of all packages, including tests and benchmarks: a separate list of limits would miss a new one. */
function sources(): string[] {
  return ["packages", "test", "bench"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(ts|mjs|py)$/.test(name) && !/(^|\/)(dist|node_modules)\//.test(name))
      .map((name) => `${folder}/${name}`),
  );
}

it.each([
  ["an instance", INSTANCE_LIMITS],
  ["a balancer", BALANCER_LIMITS],
])("has the limits of %s in one list", (_, limits) => {
  const names = Object.keys(limits);
  const lists = sources().filter((path) => {
    const text = readFileSync(join(ROOT, path), "utf8");
    return names.every((name) => text.includes(`${name}:`));
  });
  expect(lists.sort()).toEqual(["packages/supervisor/src/config/limit-fields.ts", "packages/wire/src/limits.ts"]);
});

it.each(Object.keys(INSTANCE_LIMITS))("reports %s as missing if it is absent or not a number", (name) => {
  expect(badLimit(INSTANCE_LIMITS, INSTANCE_LIMITS)).toBeUndefined();
  for (const value of [undefined, null, "1", -1, Number.NaN, Number.POSITIVE_INFINITY])
    expect(badLimit(INSTANCE_LIMITS, { ...INSTANCE_LIMITS, [name]: value })).toBe(name);
});
