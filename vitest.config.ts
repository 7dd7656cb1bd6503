import { relative } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Small files that take long: by their sizes they would begin last, and everybody would wait for them. */
const LONG = [
  // Those that wait most of the time, and those that keep a core busy, in turn.
  ...["object-store", "deploy", "package", "hung", "exit-statuses", "full-disk", "adoption", "upgrade", "examples"],
  ...["systemd", "certificates", "rehearse", "deploying", "asgi", "command", "page", "deaths", "dashboard"],
  ...["listening-apps", "field", "crash", "poison", "replacement", "lane-kills", "turns"],
].map((name) => `test/${name}.test.ts`);

/** The tests of processes come first, and of these the long ones; unit tests, which are short, fill what is left at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const file = relative(import.meta.dirname, moduleId);
      const place = LONG.indexOf(file);
      if (place >= 0) return place;
      return LONG.length + (file.includes("/src/") ? 1 : 0);
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "packages/*/test/**/*.test.ts",
      "test/**/*.test.ts",
      "bench/**/*.test.mjs",
    ],
    globalSetup: "test/support/environment.ts",
    setupFiles: "test/support/worker.ts",
    // More than there are cores: the tests start real processes and wait for them most of the time.
    maxWorkers: 6,
    // The files share the modules of their worker: loading these anew for each took as long as all unit tests.
    isolate: false,
    // What is compiled needs no transformation, and no worker has to ask for it.
    server: { deps: { external: [/\/packages\/[^/]+\/dist\//] } },
    sequence: { sequencer: LongestFirst },
    testTimeout: 180_000,
    // A busy machine is no failure; what is waited for comes at once on an idle one.
    expect: { poll: { timeout: 60_000, interval: 20 } },
    hookTimeout: 180_000,
  },
});
