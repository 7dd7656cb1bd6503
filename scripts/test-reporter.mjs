/** A vitest reporter that lists every skipped test with its reason. */

export default class SkippedTests {
  onTestRunEnd(modules) {
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        const { note } = test.result();
        process.stdout.write(`skipped: ${module.relativeModuleId} > ${test.fullName}: ${note ?? "no reason given"}\n`);
      }
    }
  }
}
