/**
 * The full benchmark: `npm run bench`. Ours beside the peers found on this machine, one instance and fleets of four sizes,
 * loaded in turns; prints tables, and writes JSON, docs/benchmarks.md and its chart when asked to.
 */
import { benchmark } from "./support/command.mjs";
import { allSections } from "./support/contestants/sections.mjs";

await benchmark("bench", allSections);
