// `POST /?to=ada` queues a mail and responds at once.
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { folder } from "./queue.ts";

export default async function queueMail(request: Request): Promise<Response> {
  const to = new URL(request.url).searchParams.get("to");
  if (request.method !== "POST" || to === null) return new Response("POST /?to=NAME\n", { status: 400 });
  const name = crypto.randomUUID();
  await writeFile(join(folder, `${name}.new`), to);
  // The worker sees only complete files.
  await rename(join(folder, `${name}.new`), join(folder, `${name}.mail`));
  return new Response(`queued for ${to}\n`, { status: 202 });
}
