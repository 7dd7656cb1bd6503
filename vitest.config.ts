import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "packages/*/test/**/*.test.ts",
      "test/**/*.test.ts",
      "bench/**/*.test.mjs",
    ],
    globalSetup: "test/support/state-folder.ts",
    // Four at a time: the tests start real processes and wait for them most of the time, on a machine of two cores too.
    maxWorkers: 4,
    testTimeout: 30_000,
    // A busy machine is no failure; what is waited for comes at once on an idle one.
    expect: { poll: { timeout: 10_000, interval: 20 } },
    hookTimeout: 30_000,
  },
});
