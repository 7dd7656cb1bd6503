/** The fields that describe a client's certificate to apps. Pure. */
import type { X509Certificate } from "node:crypto";

/** Longer subjects are truncated so that they fit into a head. */
const MAX_SUBJECT = 1024;

type Shown = Pick<X509Certificate, "subject" | "fingerprint256">;

/**
 * Returns the fields for the client's certificate; an empty list without one; undefined if this client may not connect.
 * @param problem why the certificate is not valid
 */
export function certificateFieldsOf(
  certificate: Shown | undefined,
  problem: Error | null | undefined,
  client: "optional" | "required",
): [string, string][] | undefined {
  if (certificate === undefined) return client === "optional" ? [] : undefined;
  if (problem != null) return undefined;
  const { subject, fingerprint256 } = certificate;
  return [
    ["X-Client-Cert-Subject", subjectOf(subject)],
    ["X-Client-Cert-Fingerprint", fingerprint256.replaceAll(":", "").toLowerCase()],
  ];
}

/**
 * Returns the subject in one line of ASCII (RFC 4514): `CN=alice,O=Example`.
 * @param lines the subject as node:crypto returns it
 */
function subjectOf(lines: string): string {
  const parts = lines.split("\n").filter((line) => line !== "");
  return parts.reverse().map(escaped).join(",").slice(0, MAX_SUBJECT);
}

function escaped(text: string): string {
  const characters = [...Buffer.from(text)].map((byte) =>
    byte < 32 || byte > 126 ? `\\${byte.toString(16).padStart(2, "0")}` : String.fromCharCode(byte),
  );
  return characters.join("");
}
