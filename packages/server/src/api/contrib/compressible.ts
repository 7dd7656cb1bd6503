/** Says which answers may be compressed, by what their heads say (RFC 9110, RFC 9111). Pure. */

/** Types whose bodies get smaller; pictures, films and archives are compressed already. */
const COMPRESSIBLE =
  /^(?:text\/[\w.+-]+|[\w.-]+\/[\w.-]+\+(?:json|xml|text|yaml)|application\/(?:json|javascript|x-javascript|ecmascript|xml|xml-dtd|graphql|toml|yaml|x-yaml|sql|rtf|wasm|x-ndjson|ndjson|jsonl|manifest|vnd\.ms-fontobject|x-www-form-urlencoded)|image\/(?:bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)|font\/(?:otf|ttf|collection)|model\/(?:gltf\+json|obj|stl))$/;

/** Whether a Content-Type names one of them. */
export function isCompressibleType(contentType: string): boolean {
  const semicolon = contentType.indexOf(";");
  const type = semicolon < 0 ? contentType : contentType.slice(0, semicolon);
  return COMPRESSIBLE.test(type.trim().toLowerCase());
}

/** Fields that speak of the body byte by byte, which would no longer be true. */
const ABOUT_THE_BYTES = ["content-range", "content-digest", "repr-digest", "digest", "content-md5"];

/** Whether a response has a body that may be encoded at all, whatever its type and size. */
export function mayBeEncoded(method: string, status: number, headers: Headers): boolean {
  if (method === "HEAD" || status < 200 || status === 204 || status === 205 || status === 206 || status === 304)
    return false;
  if (headers.has("content-encoding")) return false;
  if (/(?:^|,)\s*no-transform\s*(?:,|$)/i.test(headers.get("cache-control") ?? "")) return false;
  return !ABOUT_THE_BYTES.some((name) => headers.has(name));
}

/** The value of Vary with Accept-Encoding in it; undefined where it needs no change. */
export function varyWithEncoding(vary: string | null): string | undefined {
  if (vary === null || vary.trim() === "") return "Accept-Encoding";
  const names = vary.split(",").map((name) => name.trim().toLowerCase());
  return names.includes("*") || names.includes("accept-encoding") ? undefined : `${vary}, Accept-Encoding`;
}

/** The ETag of the encoded body: it means the same, but is not the same byte by byte (RFC 9110 §8.8.1). */
export function weakTag(etag: string): string {
  return etag.startsWith("W/") ? etag : `W/${etag}`;
}
