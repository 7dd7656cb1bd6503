/** What a timer or a job is called where it is told of. */

/** So many names are told; the rest is counted. */
const MAX_NAMES = 20;

export function nameOf(fn: ((...args: never[]) => unknown) | undefined): string {
  return fn?.name || "(anonymous)";
}

/** Such as `save × 3, mail × 1`, in the order in which they are met first. */
export function countNames(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const told = [...counts].slice(0, MAX_NAMES).map(([name, count]) => `${name} × ${count}`);
  if (counts.size > MAX_NAMES) told.push(`${counts.size - MAX_NAMES} other names`);
  return told.join(", ");
}
