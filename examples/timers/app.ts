// A page counter: counting costs a request nothing but memory, and the new counts are saved once per second.
import { appendFile } from "node:fs/promises";
import { every } from "paceline/server";

const file = process.env.COUNTS_FILE ?? "/tmp/paceline-page-counts.jsonl";
const unsaved = new Map<string, number>();

/** The counts since the last save as lines; all instances append to one file, and the sum of the lines is the count. */
function takeLines(): string {
  const lines = [...unsaved].map(([page, views]) => `${JSON.stringify({ page, views })}\n`);
  unsaved.clear();
  return lines.join("");
}

async function save() {
  if (unsaved.size > 0) await appendFile(file, takeLines());
}

every(1000, save);

export default {
  fetch(request: Request) {
    const page = new URL(request.url).pathname;
    const views = (unsaved.get(page) ?? 0) + 1;
    unsaved.set(page, views);
    return new Response(`${page}: ${views} since the last save\n`);
  },
  // Timers stop as soon as the process shuts down: the rest is saved after the last response.
  stop: save,
};
