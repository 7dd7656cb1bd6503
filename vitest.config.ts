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
    // More than there are cores: the tests start real processes and wait for them most of the time.
    maxWorkers: 6,
    // The files share the modules of their worker: loading these anew for each took as long as all unit tests.
    isolate: false,
    testTimeout: 30_000,
    // A busy machine is no failure; what is waited for comes at once on an idle one.
    expect: { poll: { timeout: 10_000, interval: 20 } },
    hookTimeout: 30_000,
  },
});
