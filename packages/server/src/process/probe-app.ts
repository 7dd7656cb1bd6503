/** Calls a fetch app for the supervisor, to check its health or to warm it up. Loaded if a pool has a path for that. */
import { MAX_WARM_UP_BYTES, problemOfStatus } from "@paceline/wire";
import { fileBodyOf } from "../kinds/static/file-body.js";
import type { FetchHandler } from "../shared/app.js";
import { errorLine } from "../shared/errors.js";
import { ConnectionInfo } from "./request-info.js";

/** Returns the problem, or undefined. Never rejects. */
export async function probeApp(
  handler: FetchHandler,
  path: string,
  host: string,
  isWarmUp = false,
): Promise<string | undefined> {
  const request = new Request(`http://${host}${path}`);
  const info = new ConnectionInfo({
    header: (name) => request.headers.get(name) ?? (name === "host" ? host : undefined),
    remoteAddress: () => "127.0.0.1",
    signal: () => request.signal,
  });
  try {
    const response = await handler(request, info);
    if (!(response instanceof Response)) return `GET ${path}: the app returned no Response`;
    const file = fileBodyOf(response);
    if (file !== undefined) file.close();
    else if (isWarmUp) await readSome(response.body);
    else await response.body?.cancel();
    return problemOfStatus(response.status, path, isWarmUp);
  } catch (error) {
    return `GET ${path} failed: ${errorLine(error)}`;
  }
}

/** Reads a body, so that the code that produces it is warmed up as well. The rest of a large one is cancelled. */
async function readSome(body: ReadableStream<Uint8Array> | null): Promise<void> {
  const reader = body?.getReader();
  for (let bytes = 0; reader !== undefined && bytes < MAX_WARM_UP_BYTES; ) {
    const { done, value } = await reader.read();
    if (done) return;
    bytes += value.byteLength;
  }
  await reader?.cancel();
}
