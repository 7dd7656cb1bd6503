// Runs each minute and ends.
import { readFileSync } from "node:fs";
import { log } from "./queue.ts";

let sent = "";
try {
  sent = readFileSync(log, "utf8");
} catch {
  // Nothing was sent yet.
}
console.log(`${sent.split("\n").length - 1} mails so far`);
