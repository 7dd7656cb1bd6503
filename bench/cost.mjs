/**
 * What serving costs, beside nginx and HAProxy: `npm run bench:cost`. The full benchmark's short form: one instance and the
 * smallest fleet, measured in the same way.
 */
import { benchmark } from "./support/command.mjs";
import { costSections } from "./support/contestants/sections.mjs";

await benchmark("bench:cost", costSections);
