/** Finds the line of each key in a TOML document that has been parsed, because the parser does not report it. Pure. */

type Path = readonly (string | number)[];

/** A number, a word, or a date with a space before its time. */
const WORD = /(?:\d{4}-\d\d-\d\d (?=\d))?[^\s,\]}#]+/y;
const BARE = /[\w-]+/y;

/**
 * Returns a function that returns the line of a key, from 1. If the key is missing, it returns the line of the nearest table around the
 * key; undefined without such a table.
 * @param text a valid document
 */
export function tomlLines(text: string): (path: Path) => number | undefined {
  const { lines } = new TomlScanner(text);
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(JSON.stringify(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return undefined;
  };
}

class TomlScanner {
  /** By the path as JSON. */
  readonly lines = new Map<string, number>();
  /** The number of tables in each `[[list]]`, by its path as JSON. */
  private readonly lengths = new Map<string, number>();
  private at = 0;
  private line = 1;

  constructor(private readonly text: string) {
    let table: Path = [];
    for (this.skip(); this.at < text.length; this.skip()) {
      if (text.startsWith("[[", this.at)) table = this.header(2);
      else if (text[this.at] === "[") table = this.header(1);
      else this.entry(table);
    }
  }

  /** Skips everything between keys and values. */
  private skip(): void {
    for (; this.at < this.text.length; this.at++) {
      const character = this.text[this.at] as string;
      if (character === "\n") this.line++;
      else if (character === "#") this.at = this.endOfLine() - 1;
      else if (!/[\s,]/.test(character)) return;
    }
  }

  private endOfLine(): number {
    const end = this.text.indexOf("\n", this.at);
    return end < 0 ? this.text.length : end;
  }

  /** Reads `[key]` or `[[key]]`, and returns the path of the following keys. */
  private header(brackets: 1 | 2): Path {
    this.at += brackets;
    const keys = this.key();
    this.at += brackets;
    let path: Path = [];
    for (const [at, key] of keys.entries()) {
      path = [...path, key];
      this.note(path);
      const list = JSON.stringify(path);
      const isNew = brackets === 2 && at === keys.length - 1;
      const length = (this.lengths.get(list) ?? 0) + (isNew ? 1 : 0);
      if (length === 0) continue;
      this.lengths.set(list, length);
      path = [...path, length - 1];
      this.note(path);
    }
    return path;
  }

  private entry(table: Path): void {
    let path = table;
    for (const key of this.key()) {
      path = [...path, key];
      this.note(path);
    }
    this.skip();
    this.at++; // "="
    this.skip();
    this.value(path);
  }

  /** Reads a dotted key up to "=" or "]". */
  private key(): string[] {
    const keys: string[] = [];
    for (; this.at < this.text.length; this.at++) {
      const character = this.text[this.at] as string;
      if (character === "=" || character === "]") break;
      if (character === '"' || character === "'") keys.push(this.quoted(character));
      else if (!/[\s.]/.test(character)) keys.push(this.match(BARE));
      else continue;
      this.at--;
    }
    return keys;
  }

  private value(path: Path): void {
    const first = this.text[this.at];
    if (first === '"' || first === "'") this.quoted(first);
    else if (first === "[")
      this.within("]", (index) => {
        this.note([...path, index]);
        this.value([...path, index]);
      });
    else if (first === "{") this.within("}", () => this.entry(path));
    else this.match(WORD);
  }

  private within(end: string, item: (index: number) => void): void {
    this.at++;
    this.skip();
    for (let index = 0; this.at < this.text.length && this.text[this.at] !== end; index++) {
      item(index);
      this.skip();
    }
    this.at++;
  }

  /** Reads a string with one or three quotes, and returns its content. */
  private quoted(quote: string): string {
    const { text } = this;
    const marks = text.startsWith(quote.repeat(3), this.at) ? quote.repeat(3) : quote;
    const from = this.at + marks.length;
    let end = from;
    while (end < text.length && !text.startsWith(marks, end)) end += quote === '"' && text[end] === "\\" ? 2 : 1;
    // Further quotes before the last three belong to the string.
    if (marks.length === 3) while (text[end + 3] === quote) end++;
    const content = text.slice(from, end);
    this.line += content.split("\n").length - 1;
    this.at = end + marks.length;
    return quote === '"' && marks.length === 1 ? unescaped(content) : content;
  }

  /** Reads the match of a pattern, but at least one character, so that reading ends even in an invalid document. */
  private match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? (this.text[this.at] as string);
    this.at += found.length;
    return found;
  }

  private note(path: Path): void {
    const key = JSON.stringify(path);
    if (!this.lines.has(key)) this.lines.set(key, this.line);
  }
}

function unescaped(content: string): string {
  try {
    return JSON.parse(`"${content}"`) as string;
  } catch {
    return content; // The string has an escape that JSON does not have, so the key is not found.
  }
}
