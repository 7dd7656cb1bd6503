/** Finds the app's position in a traceback of Python's faulthandler. */

/** The first line that faulthandler writes when a signal such as SIGABRT ends a process. */
export const FATAL_LINE = "Fatal Python error: ";

const FRAME = /^ {2}File "(.*)", line (\d+) in (.*)$/;
const THREAD = /^(Current thread|Thread) 0x/;
const OUR_OWN = /[/\\]server[/\\]python[/\\](paceline[/\\]|fapws[/\\]|start\.py$)/;
const LIBRARY = /[/\\](site|dist)-packages[/\\]|[/\\]lib(64)?[/\\]python\d[^/\\]*[/\\]|^</;
/** The most threads that are reported. */
const MAX_THREADS = 3;

interface Frame {
  file: string;
  line: string;
  name: string;
}

/** Returns a position such as `report (views.py:12), in readinto (socket.py:706)`; undefined if no app code was running. */
export function whereInPython(lines: readonly string[]): string | undefined {
  const from = lines.findLastIndex((line) => line.startsWith(FATAL_LINE));
  if (from < 0) return undefined;
  const threads: Frame[][] = [];
  for (const text of lines.slice(from)) {
    if (THREAD.test(text)) threads.push([]);
    const [, file, line, name] = FRAME.exec(text) ?? [];
    if (file !== undefined && line !== undefined && name !== undefined) threads.at(-1)?.push({ file, line, name });
  }
  const places = threads.map(placeOf).filter((place) => place !== undefined);
  return places.length === 0 ? undefined : places.slice(0, MAX_THREADS).join("; ");
}

/** Returns the innermost frame of the app's files, or else of a library, and what it called. */
function placeOf(frames: readonly Frame[]): string | undefined {
  const [innermost] = frames;
  if (innermost === undefined || OUR_OWN.test(innermost.file) || !frames.some(({ file }) => OUR_OWN.test(file)))
    return undefined;
  const own = frames.find(({ file }) => !OUR_OWN.test(file) && !LIBRARY.test(file));
  if (own === undefined || own === innermost) return text(innermost);
  return `${text(own)}, in ${text(innermost)}`;
}

function text({ file, line, name }: Frame): string {
  return `${name} (${file.slice(file.lastIndexOf("/") + 1)}:${line})`;
}
