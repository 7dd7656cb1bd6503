/** Writes a heap snapshot or a CPU profile of this process, on Node and on Bun. Loaded on demand, because it is rarely needed. */
import { closeSync, fstatSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import type { Session } from "node:inspector";

/** Returns why there is no file; undefined if it was written, readable only by this user. */
export async function writeDump(
  what: "heap" | "cpu" | "stack",
  path: string,
  durationMs: number,
): Promise<string | undefined> {
  try {
    switch (what) {
      case "heap":
        await writeHeap(path);
        return undefined;
      case "cpu":
        await writeProfile(path, durationMs);
        return undefined;
      case "stack":
        return "cannot show its own stack";
      default:
        return what satisfies never;
    }
  } catch (error) {
    rmSync(path, { force: true });
    return (error as Error).message;
  }
}

async function writeHeap(path: string): Promise<void> {
  // Created first, so that no other user can read it.
  closeSync(openSync(path, "wx", 0o600));
  const { writeHeapSnapshot } = await import("node:v8");
  writeHeapSnapshot(path);
  if (!isWhole(path)) throw new Error("the snapshot is incomplete; the disk may be full");
}

/** Whether the file ends like a JSON object. */
function isWhole(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const end = Buffer.alloc(8);
    const length = readSync(file, end, 0, end.length, Math.max(0, fstatSync(file).size - end.length));
    return end.toString("latin1", 0, length).trimEnd().endsWith("}");
  } finally {
    closeSync(file);
  }
}

async function writeProfile(path: string, durationMs: number): Promise<void> {
  const { Session } = await import("node:inspector");
  const session = new Session();
  session.connect();
  try {
    await post(session, "Profiler.enable");
    await post(session, "Profiler.start");
    await new Promise((resolve) => setTimeout(resolve, durationMs));
    const { profile } = await post(session, "Profiler.stop");
    writeFileSync(path, JSON.stringify(profile), { mode: 0o600, flag: "wx" });
  } finally {
    session.disconnect();
  }
}

function post(session: Session, method: string): Promise<{ profile?: unknown }> {
  return new Promise((resolve, reject) => {
    session.post(method, (error: Error | null, result?: object) => {
      if (error) reject(error);
      else resolve(result ?? {});
    });
  });
}
