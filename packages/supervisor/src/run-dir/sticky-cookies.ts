/** The values of sticky cookies. Each names a slot, and is signed with a key that stays in the run directory over stops and starts. */
import { createHmac, randomBytes } from "node:crypto";
import { join } from "node:path";
import { readIfThere, replaceFile } from "./run-dir-files.js";

const KEY_FILE = "sticky.key";
const KEY_BYTES = 32;
const MAX_BYTES = 4096;
/** 22 characters of base64url hold 132 bits. */
const SIGNATURE_LENGTH = 22;
/** Beyond this many, kept values are computed again: generations come and go. */
const MAX_VALUES = 8192;

export class StickyCookies {
  private key: Buffer | undefined;
  /** By slot, and slot and generation. */
  private readonly values = new Map<string, string>();

  /** @param folder the run directory */
  constructor(
    private readonly folder: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /** Returns the cookie's value for a slot such as `web.3`, or for one generation of it, so that a deploy can tell its clients apart. */
  of(slot: string, generation?: number): string {
    const whose = generation === undefined ? slot : `${slot} ${generation}`;
    let value = this.values.get(whose);
    if (value === undefined) {
      this.key ??= this.readKey();
      const signature = createHmac("sha256", this.key).update(`sticky ${whose}`).digest("base64url");
      value = `${slot.slice(slot.lastIndexOf(".") + 1)}.${signature.slice(0, SIGNATURE_LENGTH)}`;
      if (this.values.size >= MAX_VALUES) this.values.clear();
      this.values.set(whose, value);
    }
    return value;
  }

  /** Reads the key, or makes one. Without a usable file, the key lasts as long as this process. */
  private readKey(): Buffer {
    const path = join(this.folder, KEY_FILE);
    try {
      const known = Buffer.from(readIfThere(path, MAX_BYTES), "hex");
      if (known.length === KEY_BYTES) return known;
      const made = randomBytes(KEY_BYTES);
      replaceFile(path, made.toString("hex"));
      return made;
    } catch (error) {
      this.onProblem(`sticky cookies become invalid with the next start: ${(error as Error).message}`);
      return randomBytes(KEY_BYTES);
    }
  }
}
