/** What a child writes itself goes to a file, on a disk that may get full. */

/** Lets what a process logs be lost rather than end it: on Node a write that fails is an error that nobody handles. Bun ignores it. */
export function survivesFullDisk(): void {
  if (process.versions.bun !== undefined) return;
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
}
