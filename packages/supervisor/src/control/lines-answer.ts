/** Answers with lines of JSON: those that there are and, when the client follows, those that come. */
import type { ServerResponse } from "node:http";
import { type LogLine, lostText } from "./api.js";
import type { Subscribe } from "./routes.js";

/** A follower that leaves more unread gets no further lines until it has read these, in bytes. */
const MAX_BUFFERED_BYTES = 16 << 20;
/** What went unread is counted for each name; beyond so many names, for all others together. */
const MAX_NAMES = 1_000;

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
  const recent =
    most === null
      ? source.recent
      : source.recent.slice(source.recent.length - Math.min(Number(most), source.recent.length));
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  response.write(textOf(recent));
  if (query.get("follow") !== "1") return void response.end();
  response.flushHeaders();

  const lost = new Map<string, number>();
  const send = (text: string) => {
    if (text === "" && lost.size === 0) return;
    response.write(lostLines(lost) + text);
    lost.clear();
  };
  const release = [
    source.subscribe((some) => {
      if (response.writableLength <= MAX_BUFFERED_BYTES) return send(textOf(some));
      for (const line of some) countLost(lost, line);
    }),
    onServerClose(() => {
      finish();
      send("");
      response.end();
    }),
  ];
  const finish = () => {
    for (const each of release.splice(0)) each();
  };
  // It has read all: it hears what it missed though nothing new may come.
  response.on("drain", () => send(""));
  response.on("close", finish);
}

function textOf(lines: readonly object[]): string {
  let text = "";
  for (const line of lines) text += `${JSON.stringify(line)}\n`;
  return text;
}

function countLost(lost: Map<string, number>, line: object): void {
  const { name, subject = "", lost: already } = line as Partial<LogLine>;
  const of = name ?? subject;
  const key = lost.has(of) || lost.size < MAX_NAMES ? of : "paceline";
  lost.set(key, (lost.get(key) ?? 0) + (already ?? 1));
}

function lostLines(lost: ReadonlyMap<string, number>): string {
  const at = Date.now();
  return textOf([...lost].map(([name, count]) => ({ sequence: 0, at, name, text: lostText(count, WHY), lost: count })));
}

const WHY = "this reader is slower than they come";
