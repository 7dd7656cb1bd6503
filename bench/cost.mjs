/**
 * Measures the cost of serving, compared with nginx and HAProxy: `npm run bench:cost`. The short form of the full benchmark: one instance
 * and the smallest fleet.
 */
import { benchmark } from "./support/command.mjs";
import { costSections } from "./support/contestants/sections.mjs";

await benchmark("bench:cost", costSections);
