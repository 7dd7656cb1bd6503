/** The benchmark's report as lines for the terminal. */
import { lossesOf, lossTables } from "./losses.mjs";
import { notesOf, tablesOf, textTable } from "./tables.mjs";

/** Prints the installed and the missing programs. */
export function printHead({ machine, versions, missing }, say) {
  say(`${machine.cpus} × ${machine.cpu}, ${machine.memoryGB} GB, ${machine.system}`);
  const found = Object.entries(versions).filter(([, version]) => version !== undefined && version !== null);
  say(found.map(([name, version]) => `${name} ${version}`).join(" · "));
  for (const [name, program] of Object.entries(missing)) say(`missing: ${name} (${program} is not on this machine)`);
}

export function printSection(section, settings, say) {
  say(`\n== ${section.title}`);
  for (const table of tablesOf(section, settings)) say(`\n${textTable(table)}`);
  const notes = notesOf(section);
  if (notes.length > 0) say(`\n${notes.join("\n")}`);
  say();
}

export function printReport({ sections }, say) {
  const tables = lossTables(lossesOf(sections));
  say("== Where we lose (theirs / ours)\n");
  say(tables.length === 0 ? "Nowhere in these figures." : tables.map(textTable).join("\n\n"));
}
