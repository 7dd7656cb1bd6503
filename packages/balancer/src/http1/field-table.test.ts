import { CLIENT_FIELDS, clientFieldRule, DECIDING_FIELDS } from "@paceline/wire";
import { describe, expect, it } from "vitest";
import { FieldKind, FieldTable } from "./field-table.js";

function kindOf(name: string, connection?: string): number | undefined {
  const table = new FieldTable(10);
  const text = `${name}: x\r\n${connection === undefined ? "" : `Connection: ${connection}\r\n`}\r\n`;
  table.parse(Buffer.from(text, "latin1"), 0, text.length);
  if (connection !== undefined) table.readConnection(1);
  return table.kinds[0];
}

const listed = Object.keys(CLIENT_FIELDS).map((name) => name.replace("*", "anything"));
const MADE = [
  FieldKind.FORWARDED,
  FieldKind.FORWARDED_FOR,
  FieldKind.FORWARDED_HOST,
  FieldKind.FORWARDED_PREFIX,
  FieldKind.FORWARDED_PROTO,
] as number[];

describe("fields that identify the client", () => {
  it.each([...listed, "X-Forwarded-User", "X-FORWARDED-SSL"])("%s is classified as the table has it", (name) => {
    const rule = clientFieldRule(name.toLowerCase());
    const kind = kindOf(name) as number;
    if (rule === "made") expect(MADE).toContain(kind);
    else expect(kind).toBe(rule === "never" ? FieldKind.DISGUISED : FieldKind.CLAIM);
    expect(kindOf(name.toUpperCase())).toBe(kind);
  });

  it.each([...listed, ...DECIDING_FIELDS].filter((name) => name.includes("-")))(
    "%s with another character for - passes from nobody",
    (name) => {
      const all = name.replaceAll("-", "_");
      const others = [..."!#$%&'*+.^`|~"].map((character) => name.replaceAll("-", () => character));
      for (const disguised of [all, all.toUpperCase(), name.replace("-", "_"), ...others]) {
        expect(kindOf(disguised), disguised).toBe(FieldKind.DISGUISED);
        expect(clientFieldRule(disguised.toLowerCase())).toBe("never");
      }
    },
  );

  it.each(["x-forwarde", "x-forwarded-", "x_api_key", "accept", "x-real-ips", "user_agent", "xforwarded-for", "date"])(
    "%s is none of them",
    (name) => {
      expect([FieldKind.ORDINARY, FieldKind.DATE]).toContain(kindOf(name));
      expect(clientFieldRule(name)).toBe(name === "x-forwarded-" ? "trusted" : undefined);
    },
  );

  it.each(listed)("Connection cannot take %s away", (name) => {
    expect(kindOf(name, `close, ${name}`)).toBe(kindOf(name));
  });

  it("Connection takes others away", () => {
    expect(kindOf("X-Hop", "close, x-hop")).toBe(FieldKind.HOP);
    expect(kindOf("Date", "date")).toBe(FieldKind.HOP);
    expect(kindOf("Host", "host")).toBe(FieldKind.HOST);
  });
});
