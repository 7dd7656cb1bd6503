/** A request for /crash makes it exit, immediately or after a promise; a file that outlives it lists the requests that it ran. */
import { openSync, writeSync } from "node:fs";

const ledger = openSync(process.env.POISON_LEDGER ?? "", "a");

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (!pathname.endsWith("/crash")) return new Response("fine");
    writeSync(ledger, `${searchParams.get("id")}\n`);
    if (searchParams.get("how") === "later") await new Promise((resolve) => setTimeout(resolve, 5));
    process.kill(process.pid, "SIGSEGV");
    for (;;);
  },
};
