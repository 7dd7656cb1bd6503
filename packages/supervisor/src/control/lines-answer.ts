/** Answers with lines of JSON: those that there are and, when the client follows, those that come. */
import type { ServerResponse } from "node:http";
import type { Subscribe } from "./routes.js";

/** A follower that leaves more unread is dropped, in bytes. */
const MAX_BUFFERED_BYTES = 1 << 20;
/** How long a dropped follower may take to read what it had left. */
const DROP_GRACE_MS = 5_000;

export interface LineSource {
  recent: object[];
  subscribe: Subscribe;
}

/** `onServerClose` takes what ends the stream and returns what forgets it. */
export function lines(
  response: ServerResponse,
  query: URLSearchParams,
  source: LineSource,
  onServerClose: (end: () => void) => () => void,
): void {
  const most = query.get("lines");
  const recent = most === null ? source.recent : source.recent.slice(-Number(most) || source.recent.length);
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  for (const line of recent) response.write(`${JSON.stringify(line)}\n`);
  if (query.get("follow") !== "1") return void response.end();
  response.flushHeaders();

  const release: (() => void)[] = [];
  const finish = () => {
    for (const each of release.splice(0)) each();
  };
  release.push(
    source.subscribe((line) => {
      if (response.writableLength <= MAX_BUFFERED_BYTES) return void response.write(`${JSON.stringify(line)}\n`);
      finish();
      const message = `this reader left more than ${MAX_BUFFERED_BYTES} bytes unread; lines after this are not sent`;
      response.end(`${JSON.stringify({ error: { code: "slow", message } })}\n`);
      const timer = setTimeout(() => response.destroy(), DROP_GRACE_MS);
      response.on("close", () => clearTimeout(timer));
    }),
    onServerClose(() => {
      finish();
      response.end();
    }),
  );
  response.on("close", finish);
}
