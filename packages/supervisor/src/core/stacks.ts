/** The stack of a process as text, and the place in the app that it shows. Pure. */

export interface Frame {
  name: string;
  file: string;
  line: number;
  column?: number;
}

/** Code of the runtime or of packages, and code without a file. */
const LIBRARY = /^(?:node:|<|$)|[/\\]node_modules[/\\]/;

/** Returns `total (/srv/app.js:12:9)`. */
export function frameText({ name, file, line, column }: Frame): string {
  const place = file === "" ? "" : ` (${file}:${line}${column === undefined ? "" : `:${column}`})`;
  return `${name || "(anonymous)"}${place}`;
}

function shortText({ name, file, line }: Frame): string {
  return frameText({ name, file: file.slice(file.lastIndexOf("/") + 1), line });
}

/**
 * Returns the innermost frame of the app, or of a library if there is none, and what it called: `total (app.js:12), in parse (csv.js:7)`.
 * Returns undefined if no code of the app was running.
 * @param frames of JavaScript, innermost first
 * @param ownFolder the folder of Paceline's own programs
 */
export function placeInApp(frames: readonly Frame[], ownFolder: string): string | undefined {
  const [innermost] = frames;
  if (innermost === undefined || innermost.file.startsWith(ownFolder)) return undefined;
  const own = frames.find(({ file }) => !LIBRARY.test(file) && !file.startsWith(ownFolder));
  if (own === undefined || own === innermost) return shortText(innermost);
  return `${shortText(own)}, in ${shortText(innermost)}`;
}
