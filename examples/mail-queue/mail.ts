// Takes one mail after another from the queue. On SIGTERM it finishes the mail that it is sending.
import { appendFile, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { folder, log } from "./queue.ts";

let isLeaving = false;
process.on("SIGTERM", () => {
  isLeaving = true;
});

while (!isLeaving) {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".mail")) continue;
    const to = await readFile(join(folder, name), "utf8");
    await appendFile(log, `${to}\n`);
    await unlink(join(folder, name));
    console.log(`sent to ${to}`);
    if (isLeaving) break;
  }
  await sleep(100);
}
