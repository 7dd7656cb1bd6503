/** Extracts the chart's data from a report: CPU time per request of each contestant, by fleet size, for each load. */

const PANELS = [
  ["close", "One connection per request (ab, 1,000 at once)"],
  ["keep-alive", "Kept connections (wrk, 64)"],
];

/**
 * @returns panels of groups of bars, `{ title, groups: [{ label, bars: [{ name, value }] }] }`; the value is undefined if it was not
 * measured
 */
export function chartPanels(sections) {
  const fleets = sections.filter(({ id }) => id.startsWith("fleet-"));
  const names = [...new Set(fleets.flatMap(({ rows }) => rows.map(({ name }) => name)))];
  return PANELS.flatMap(([load, title]) => {
    const groups = fleets.map(({ instances, rows }) => ({
      label: `${instances} instances`,
      bars: names.map((name) => ({ name, value: rows.find((row) => row.name === name)?.[load]?.cpuUs })),
    }));
    const isEmpty = groups.every(({ bars }) => bars.every(({ value }) => typeof value !== "number"));
    return isEmpty ? [] : [{ title, groups }];
  });
}
