/** What an error says in one line, with its place where it knows one and does not say it. */

/** Bun's errors of a module that cannot be parsed have no stack, but this. */
interface Position {
  file: string;
  line: number;
  column: number;
}

export function errorLine(error: unknown): string {
  const place = positionOf(error);
  return place === undefined ? `${error}` : `${error} at ${place.file}:${place.line}:${place.column}`;
}

function positionOf(error: unknown): Position | undefined {
  if (typeof error !== "object" || error === null || !("position" in error)) return undefined;
  const { file, line, column } = (error.position ?? {}) as Partial<Position>;
  return typeof file === "string" && typeof line === "number" && typeof column === "number"
    ? { file, line, column }
    : undefined;
}
