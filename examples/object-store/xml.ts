/** Writes S3's XML, and reads the small documents that its clients send. Pure. */
import { demand } from "./errors.ts";

type XmlValue = string | number | boolean | null | undefined | XmlContent | XmlContent[] | string[];
export type XmlContent = { [name: string]: XmlValue };

/** A list becomes one element for each of its values; null and undefined are left out. */
export function toXml(root: string, content: XmlContent): string {
  const namespace = root === "Error" ? "" : ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root}${namespace}>${inner(content)}</${root}>`;
}

function inner(content: XmlContent): string {
  let text = "";
  for (const [name, value] of Object.entries(content)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each === undefined || each === null) continue;
      text += `<${name}>${typeof each === "object" ? inner(each) : escapeXml(String(each))}</${name}>`;
    }
  }
  return text;
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: keys may contain them
  return text.replace(/[&<>"\0-\x1f]/g, (c) => ESCAPES[c] ?? `&#x${c.charCodeAt(0).toString(16).toUpperCase()};`);
}

export interface XmlElement {
  /** Without a prefix. */
  name: string;
  text: string;
  children: XmlElement[];
}

const MAX_DEPTH = 8;
/** A declaration or a comment, a tag, or text. */
const TOKEN = /<\?[^>]*\?>|<!--[\s\S]*?-->|<(\/?)(?:[\w.-]+:)?([\w.-]+)(?:\s[^<>]*?)?(\/?)>|([^<\0]+)/gy;

/** @throws S3Error MalformedXML, also for a document type */
export function readXml(text: string, root: string): XmlElement {
  const top: XmlElement = { name: "", text: "", children: [] };
  const path = [top];
  let at = 0;
  for (const [token, slash, name, isEmpty, content] of text.matchAll(TOKEN)) {
    at += token.length;
    const current = path.at(-1) as XmlElement;
    if (content !== undefined) current.text += unescapeXml(content);
    else if (slash === "/") {
      demand(current.name === name && path.length > 1, "MalformedXML");
      path.pop();
    } else if (name !== undefined) {
      const element = { name, text: "", children: [] };
      current.children.push(element);
      if (isEmpty !== "/") path.push(element);
      demand(path.length <= MAX_DEPTH, "MalformedXML");
    }
  }
  const [element, ...more] = top.children;
  const isWhole = at === text.length && path.length === 1 && more.length === 0 && top.text.trim() === "";
  demand(isWhole && element?.name === root, "MalformedXML");
  return element;
}

export const childrenOf = (element: XmlElement, name: string) => element.children.filter((each) => each.name === name);

export const textOf = (element: XmlElement, name: string) => childrenOf(element, name)[0]?.text;

const ENTITIES = new Map(Object.entries({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }));

function unescapeXml(text: string): string {
  return text.replace(/&([^;&]{0,10});?/g, (_, name: string) => {
    const [, hex, decimal] = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(name) ?? [];
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    if (code > 0 && code <= 0x10ffff) return String.fromCodePoint(code);
    const entity = ENTITIES.get(name);
    demand(entity !== undefined, "MalformedXML");
    return entity;
  });
}
