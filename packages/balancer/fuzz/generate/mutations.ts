/** Breaks valid bytes in the ways senders, and attackers, get a message wrong. */
import fc from "fast-check";

/** Characters important for framing, and similar ones. */
const SPECIALS = [
  "\r",
  "\n",
  "\0",
  " ",
  "\t",
  ":",
  ";",
  ",",
  "\r\n",
  "\r\n\r\n",
  "\n\n",
  "\r\n ",
  "\r\n\t",
  "\v",
  "\f",
  "\x7f",
  "\x80",
  "\xa0",
  "\xff",
  "#",
  "@",
  "0",
  "0\r\n\r\n",
  "GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n",
  "Content-Length: 3\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Connection: close\r\n",
  "Host: b\r\n",
];

type Mutation =
  | { kind: "flip"; at: number; byte: number }
  | { kind: "insert"; at: number; text: string }
  | { kind: "remove"; at: number; length: number }
  | { kind: "repeat"; at: number; length: number }
  | { kind: "truncate"; at: number }
  | { kind: "line"; at: number; change: "repeat" | "remove" | "lf" | "cr" | "fold" | "space" };

const at = fc.nat(4096);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at, byte: fc.nat(255) }),
  fc.record({ kind: fc.constant("insert" as const), at, text: fc.constantFrom(...SPECIALS) }),
  fc.record({ kind: fc.constant("remove" as const), at, length: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ kind: fc.constant("repeat" as const), at, length: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ kind: fc.constant("truncate" as const), at }),
  fc.record({
    kind: fc.constant("line" as const),
    at,
    change: fc.constantFrom("repeat" as const, "remove" as const, "lf" as const, "cr" as const, "fold", "space"),
  }),
);

/** None for most streams, else a few. */
export const mutations: fc.Arbitrary<Mutation[]> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<Mutation[]>([]) },
  { weight: 2, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 4 }) },
);

export function mutate(stream: string, list: readonly Mutation[]): string {
  return list.reduce((text, step) => (text === "" ? text : apply(text, step)), stream);
}

function apply(text: string, step: Mutation): string {
  const place = step.at % text.length;
  const [before, after] = [text.slice(0, place), text.slice(place)];
  switch (step.kind) {
    case "flip":
      return before + String.fromCharCode(step.byte) + after.slice(1);
    case "insert":
      return before + step.text + after;
    case "remove":
      return before + after.slice(step.length);
    case "repeat":
      return before + after.slice(0, step.length) + after;
    case "truncate":
      return before;
    case "line":
      return changeLine(text, step.at, step.change);
    default:
      return step satisfies never;
  }
}

function changeLine(text: string, at: number, change: (Mutation & { kind: "line" })["change"]): string {
  const lines = text.split("\r\n");
  const index = at % lines.length;
  const line = lines[index] as string;
  switch (change) {
    case "repeat":
      lines.splice(index, 0, line);
      return lines.join("\r\n");
    case "remove":
      lines.splice(index, 1);
      return lines.join("\r\n");
    case "fold":
      lines[index] = ` ${line}`;
      return lines.join("\r\n");
    case "space":
      lines[index] = line.replace(":", " :");
      return lines.join("\r\n");
    case "lf":
    case "cr": {
      const end = change === "lf" ? "\n" : "\r";
      return lines.map((text, i) => text + (i === lines.length - 1 ? "" : i === index ? end : "\r\n")).join("");
    }
    default:
      return change satisfies never;
  }
}
