/** Writes S3's XML, and reads the small documents that its clients send. Pure. */
import { S3Error } from "./errors.ts";

export type XmlValue = string | number | boolean | undefined | XmlContent | XmlContent[] | string[];
export interface XmlContent {
  [name: string]: XmlValue;
}

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

/** A list becomes one element for each of its values; undefined values are left out. */
export function toXml(root: string, content: XmlContent): string {
  const namespace = root === "Error" ? "" : ` xmlns="${NAMESPACE}"`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root}${namespace}>${inner(content)}</${root}>`;
}

function inner(content: XmlContent): string {
  let text = "";
  for (const [name, value] of Object.entries(content)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each === undefined) continue;
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
const TOKEN = /<\?[^>]*\?>|<!--[\s\S]*?-->|<(\/?)(?:[\w.-]+:)?([\w.-]+)((?:\s[^<>]*?)?)(\/?)>|([^<]+)/gy;

/** @throws S3Error MalformedXML, also for a document type */
export function readXml(text: string, root: string): XmlElement {
  const top: XmlElement = { name: "", text: "", children: [] };
  const path = [top];
  TOKEN.lastIndex = 0;
  let at = 0;
  for (let token = TOKEN.exec(text); token !== null; token = TOKEN.exec(text)) {
    at = TOKEN.lastIndex;
    const [, slash, name, , isEmpty, content] = token;
    const current = path.at(-1) as XmlElement;
    if (content !== undefined) current.text += unescapeXml(content);
    else if (name === undefined) continue;
    else if (slash === "/") {
      if (current.name !== name || path.length === 1) throw new S3Error("MalformedXML");
      path.pop();
    } else {
      const element = { name, text: "", children: [] };
      current.children.push(element);
      if (isEmpty !== "/") path.push(element);
      if (path.length > MAX_DEPTH) throw new S3Error("MalformedXML");
    }
  }
  const [element, ...more] = top.children;
  const isWhole = at === text.length && path.length === 1 && more.length === 0 && top.text.trim() === "";
  if (!isWhole || element?.name !== root) throw new S3Error("MalformedXML");
  return element;
}

export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => child.name === name);
}

export function textOf(element: XmlElement, name: string): string | undefined {
  return childrenOf(element, name)[0]?.text;
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&([^;&]{0,10});?/g, (_, name: string) => {
    const number = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(name);
    const code = number === null ? Number.NaN : Number.parseInt(number[1] ?? number[2] ?? "", number[1] ? 16 : 10);
    if (code > 0 && code <= 0x10ffff) return String.fromCodePoint(code);
    const entity = ENTITIES[name];
    if (entity === undefined) throw new S3Error("MalformedXML");
    return entity;
  });
}
