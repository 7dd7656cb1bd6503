/** The same as a Node handler, which exits because of an uncaught error. */
import { openSync, writeSync } from "node:fs";

const ledger = openSync(process.env.POISON_LEDGER ?? "", "a");

export default function handler(request, response) {
  const { pathname, searchParams } = new URL(request.url ?? "", "http://a");
  if (!pathname.endsWith("/crash")) return response.end("fine");
  writeSync(ledger, `${searchParams.get("id")}\n`);
  setTimeout(() => process.exit(3), searchParams.get("how") === "later" ? 5 : 0);
}
