/** Looks through the sources of a JavaScript program for signs that it serves HTTP, and for its port. */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { readRegularFile } from "@paceline/wire";

/** Programs that are larger or have more files count as serving. */
const MAX_FILES = 50;
const MAX_BYTES = 1 << 20;

const SERVES =
  /\.listen\s*\(|\bBun\.serve\b|\bDeno\.serve\b|\bexport\s+default\b|\bcreateServer\b|\bserve\s*\(|NestFactory|\bfetch\s*\(\s*req|module\.exports\s*=\s*(app|server|async|function|\()/;
const PORT =
  /\bPORT\b["'\]]*\s*(?:\|\||\?\?)\s*["']?(\d{2,5})\b|\.listen\s*\(\s*(\d{2,5})\b|\bport\s*[:=]\s*(\d{2,5})\b/;
const LOCAL = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)["'](\.{1,2}\/[^"']*)["']/g;
const ENDINGS = ["", ".js", ".ts", ".mjs", ".cjs", "/index.js", "/index.ts"];

/** Follows relative imports from `entry`. A file that cannot be read counts as serving: the app's own error is clearer. */
export function scanSources(entry: string): { serves: boolean; port?: number } {
  const queue = [entry];
  const seen = new Set(queue);
  let serves = false;
  for (const path of queue) {
    const text = read(path);
    if (text === undefined) return { serves: true };
    serves ||= SERVES.test(text);
    const [, ...ports] = PORT.exec(text) ?? [];
    const port = Number(ports.find((each) => each !== undefined));
    if (port > 0 && port < 65_536) return { serves: true, port };
    for (const [, specifier = ""] of text.matchAll(LOCAL)) {
      const next = ENDINGS.map((ending) => join(dirname(path), specifier) + ending).find(isFile);
      if (next === undefined || seen.has(next)) continue;
      if (seen.size >= MAX_FILES) return { serves: true };
      seen.add(next);
      queue.push(next);
    }
  }
  return { serves };
}

function read(path: string): string | undefined {
  try {
    return readRegularFile(path, { maxBytes: MAX_BYTES }).toString();
  } catch {
    return undefined;
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
