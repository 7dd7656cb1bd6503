/** docs/configuration.md matches the current schema. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { defaultsOf, describeField } from "./fields.js";
import { balancerFields, fleetFields, policyFields } from "./schema.js";

const SCRIPT = "../../../../scripts/make-configuration-doc.mjs";

test("docs/configuration.md is current (else run: node scripts/make-configuration-doc.mjs)", async () => {
  const { configurationDocument } = (await import(SCRIPT)) as { configurationDocument(): string };
  const page = readFileSync(new URL("../../../../docs/configuration.md", import.meta.url), "utf8");
  expect(page).toBe(configurationDocument());
});

test("every key has a type and a meaning that is a sentence", () => {
  for (const [key, field] of Object.entries({ ...fleetFields, ...balancerFields })) {
    const { type, description } = describeField(field);
    expect(type, key).toBeTruthy();
    expect(description, key).toMatch(/\.$/);
  }
});

test("the systemd unit of docs/operations.md gives a stop with the default deadlines the time that it may take", () => {
  const page = readFileSync(new URL("../../../../docs/operations.md", import.meta.url), "utf8");
  const { drainTimeoutMs, termTimeoutMs } = defaultsOf(policyFields) as Record<string, number>;
  // One deadline for all drains plus a second for those in progress; each process may need SIGTERM and SIGKILL.
  const longestMs = (drainTimeoutMs as number) + 1000 + 2 * (termTimeoutMs as number);
  expect(Number(/^ *TimeoutStopSec=(\d+)$/m.exec(page)?.[1]) * 1000).toBeGreaterThan(longestMs + 5000);
  expect(page).toContain("longer than `drainTimeoutMs` + 2 × `termTimeoutMs` + 1 s");
});
