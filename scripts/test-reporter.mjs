/** A vitest reporter that names every skipped test with the reason it gave. */

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
