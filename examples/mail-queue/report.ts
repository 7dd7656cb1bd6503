// Runs every minute and exits.
import { readFileSync } from "node:fs";
import { log } from "./queue.ts";

let sent = "";
try {
  sent = readFileSync(log, "utf8");
} catch {
  // No mail has been sent yet.
}
console.log(`${sent.split("\n").length - 1} mails so far`);
