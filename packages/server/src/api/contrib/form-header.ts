/** Reads the headers of a multipart/form-data request and of its parts (RFC 7578). Pure. */

/** What a part says of itself. */
export interface PartHead {
  /** The field's name. */
  name: string;
  /** Undefined for a field that is no file; empty where no file was chosen. */
  fileName: string | undefined;
  type: string;
}

/** RFC 2046 §5.1.1. */
const BOUNDARY = /^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/;
const PARAMETER = /;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g;

/** The boundary; undefined when it is not multipart/form-data at all, null when it has none that is good. */
export function boundaryOf(contentType: string | null): string | null | undefined {
  if (contentType === null || !/^\s*multipart\/form-data\s*(?:;|$)/i.test(contentType)) return undefined;
  const boundary = parametersOf(contentType).get("boundary") ?? "";
  return BOUNDARY.test(boundary) ? boundary : null;
}

/** Undefined when the part has no name. Its fields come a character for each byte. */
export function partHead(fields: Readonly<Record<string, readonly string[]>>): PartHead | undefined {
  const disposition = utf8(fields["content-disposition"]?.[0] ?? "");
  if (!/^\s*form-data\s*;/i.test(disposition)) return undefined;
  const parameters = parametersOf(disposition);
  const name = parameters.get("name");
  if (name === undefined) return undefined;
  const fileName = parameters.get("filename") ?? extended(parameters.get("filename*"));
  return {
    name: unescaped(name),
    fileName: fileName === undefined ? undefined : unescaped(fileName),
    type: fields["content-type"]?.[0] ?? (fileName === undefined ? "text/plain" : "application/octet-stream"),
  };
}

/** The least that these fields took in the body, in bytes. */
export function sizeOfFields(fields: Readonly<Record<string, readonly string[]>>): number {
  let bytes = 0;
  for (const [name, values] of Object.entries(fields)) {
    // A colon, and the end of the line.
    for (const value of values) bytes += name.length + 1 + value.length + 2;
  }
  return bytes;
}

function parametersOf(value: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const [, name = "", quoted, plain = ""] of value.matchAll(PARAMETER)) {
    const key = name.toLowerCase();
    if (!parameters.has(key)) parameters.set(key, quoted?.replaceAll('\\"', '"') ?? plain);
  }
  return parameters;
}

/** What browsers put in the place of these three in names (HTML, multipart/form-data encoding algorithm). */
function unescaped(name: string): string {
  return name.replace(/%0A/gi, "\n").replace(/%0D/gi, "\r").replace(/%22/g, '"');
}

/** `UTF-8''…`, which no browser sends and some programs do. */
function extended(value: string | undefined): string | undefined {
  const encoded = value === undefined ? undefined : /^utf-8'[^']*'(.*)$/i.exec(value)?.[1];
  if (encoded === undefined) return value;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}
