/** How the spawn tags of a fleet begin, by which the processes of its apps are found when its supervisor is gone. */
import { createHash } from "node:crypto";

export function fleetTag(linkSocket: string): string {
  return `${createHash("sha256").update(linkSocket).digest("hex").slice(0, 16)}-`;
}
