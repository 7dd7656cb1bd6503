/**
 * The full benchmark: `npm run bench`. Paceline compared with the peers on this machine, one instance and fleets of four sizes, loaded in
 * turns. Prints tables; on request writes JSON, docs/benchmarks.md and its chart.
 */
import { benchmark } from "./support/command.mjs";
import { allSections } from "./support/contestants/sections.mjs";

await benchmark("bench", allSections);
