/**
 * Chunked bodies whose lines each of our parsers must accept or reject (RFC 9112, section 7.1): digits, whitespace and extensions are
 * limited.
 */

const MANY = 70_000;
const whole = (line: string) => `${line}\r\nabc\r\n0\r\n\r\n`;

/** The name, the body, and whether it is accepted; a rejected body need not be complete. */
export const CHUNK_LINES: readonly (readonly [name: string, body: string, isTaken: boolean])[] = [
  ["zeros before a size", whole(`${"0".repeat(12)}3`), true],
  ["a last chunk of thirteen zeros", `3\r\nabc\r\n${"0".repeat(13)}\r\n\r\n`, true],
  ["forty zeros before a size", whole(`${"0".repeat(40)}3`), false],
  ["a size of fifteen digits", `${"f".repeat(15)}\r\n`, false],
  ["zeros without end", "0".repeat(MANY), false],
  ["an extension after whitespace", whole("3 \t; a=b"), true],
  ["whitespace after a size", whole("3 "), false],
  ["whitespace without end", `3${" ".repeat(MANY)}`, false],
  ["whitespace without end before an extension", whole(`3${"\t".repeat(MANY)};a`), false],
  ["an extension of 200 bytes", whole(`3;${"e".repeat(200)}`), true],
  ["an extension of 300 bytes", whole(`3;${"e".repeat(300)}`), false],
  ["an extension without end", `3;${"e".repeat(MANY)}`, false],
  ["long extensions of many small chunks", `${`1;${"e".repeat(200)}\r\nx\r\n`.repeat(200)}0\r\n\r\n`, false],
];
