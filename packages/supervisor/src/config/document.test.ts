/** docs/configuration.md is what the schema says now. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { configurationDocument } from "./document.js";
import { describeField } from "./fields.js";
import { balancerFields, fleetFields } from "./schema.js";

test("docs/configuration.md is current (else run: node scripts/make-configuration-doc.mjs)", () => {
  const page = readFileSync(new URL("../../../../docs/configuration.md", import.meta.url), "utf8");
  expect(page).toBe(configurationDocument());
});

test("every key has a type and a meaning that ends as a sentence", () => {
  for (const [key, field] of Object.entries({ ...fleetFields, ...balancerFields })) {
    const { type, description } = describeField(field);
    expect(type, key).toBeTruthy();
    expect(description, key).toMatch(/\.$/);
  }
});
