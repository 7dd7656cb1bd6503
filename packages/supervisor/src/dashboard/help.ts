/** The page that explains the keys. */
import type { Ownership } from "./model.js";
import { fitLine, type Line, segment } from "./text.js";

export function helpLines(ownership: Ownership, width: number): Line[] {
  const quit = ownership === "started" ? "leave; asks whether the fleet is to be stopped" : "leave; the fleet runs on";
  const interrupt = ownership === "started" ? "stop the fleet and leave; twice: at once" : "leave; the fleet runs on";
  const keys: [string, string][] = [
    ["↑ ↓  j k", "select; PgUp PgDn g G for more"],
    ["+ −", "one instance more or fewer in the selected pool"],
    ["r", "reload: config, env files and code afresh, one after the other"],
    ["R", "restart the selected instance, pool or balancer"],
    ["l", "log of what is selected, or the events"],
    ["s", "sort by name, requests, memory, CPU, p99, restarts"],
    ["/", "show only names or states that have this; Esc shows all"],
    ["q", quit],
    ["Ctrl-C", interrupt],
    ["Ctrl-L", "draw the screen anew"],
  ];
  const words: [string, string][] = [
    ["FLIGHT", "requests begun and not yet answered"],
    ["P50 P99", "milliseconds that half and 99 % of the answers took, last 10 s"],
    ["5xx", "answers of the balancers with a status of 500 and more"],
    ["DEFERRED", "jobs put off that have not ended, and the age of the oldest"],
    ["RSS PSS", "memory; PSS counts a shared page once"],
  ];
  return [
    [],
    ...keys.map(([key, meaning]) => [segment(`  ${key.padEnd(10)}`, "accent"), segment(meaning)]),
    [],
    ...words.map(([word, meaning]) => [segment(`  ${word.padEnd(10)}`, "bold"), segment(meaning)]),
  ].map((line) => fitLine(line, width));
}
