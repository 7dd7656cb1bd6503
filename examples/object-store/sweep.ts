/** Removes files that no object has: those dropped some time ago, and those that a crash has left. */
import type { Store } from "./call.ts";

const BATCH = 500;
/** A client may repeat the request that completes its upload for this long. */
const COMPLETED_AGE_MS = 7 * 86_400_000;

export async function sweep({ files, metadata, settings }: Store, now = Date.now()): Promise<void> {
  for (;;) {
    const dropped = await metadata.droppedFiles(now - settings.droppedAgeMs, BATCH);
    // In this order: a crash in between leaves names without files, which the next sweep forgets.
    await files.remove(dropped);
    if (dropped.length > 0) await metadata.forgetFiles(dropped);
    if (dropped.length < BATCH) break;
  }
  let orphans = await files.sweepTemporary(now - settings.orphanAgeMs);
  for await (const found of files.older(now - settings.orphanAgeMs)) {
    const known = await metadata.knownFiles(found);
    const unknown = found.filter((file) => !known.has(file));
    await files.remove(unknown);
    orphans += unknown.length;
  }
  if (orphans > 0) console.log(`swept ${orphans} files that no object has`);
  await metadata.forgetUploads(now - COMPLETED_AGE_MS);
}
