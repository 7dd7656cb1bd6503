/** The fields of a response's head as the lines that a RESPONSE has. Pure. */

export interface FieldLines {
  /** `name: value` lines, each with its CRLF. Framing is not among them. */
  text: string;
  /** As the app told it; -1 when it did not, NaN when it is no number. */
  contentLength: number;
  hasContentType: boolean;
}

/** One for the process: what it says is used before the next is made. */
const lines: FieldLines = { text: "", contentLength: -1, hasContentType: false };

/** From names in lower case with one value each, or several. */
export function fieldLines(fields: Readonly<Record<string, string | readonly string[]>>): FieldLines {
  lines.text = "";
  lines.contentLength = -1;
  lines.hasContentType = false;
  for (const name in fields) {
    const value = fields[name] as string | readonly string[];
    if (typeof value === "string") addLine(name, value);
    else for (const each of value) addLine(name, each);
  }
  return lines;
}

/** From names in lower case with their values, names that come more than once included. */
export function fieldLinesOf(fields: Iterable<readonly [string, string]>): FieldLines {
  lines.text = "";
  lines.contentLength = -1;
  lines.hasContentType = false;
  for (const [name, value] of fields) addLine(name, value);
  return lines;
}

function addLine(name: string, value: string): void {
  switch (name) {
    case "content-length":
      lines.contentLength = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      return;
    // Belong to one hop, and this is not it.
    case "connection":
    case "transfer-encoding":
    case "keep-alive":
      return;
    case "content-type":
      lines.hasContentType = true;
      break;
  }
  lines.text += `${name}: ${value}\r\n`;
}
