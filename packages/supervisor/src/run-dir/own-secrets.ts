/**
 * Secrets that a fleet generates for itself: the token of the page, and the key of sticky cookies. They are kept when the fleet is stopped
 * and started.
 */
import { createHmac, randomBytes } from "node:crypto";
import { join } from "node:path";
import { readToken } from "../config/secrets.js";
import { readIfThere, replaceFile } from "./run-dir-files.js";

const MAX_BYTES = 4096;

const TOKEN_FILE = "page.token";
const TOKEN = /^[\w-]{32}$/;

const KEY_FILE = "sticky.key";
const KEY = /^[0-9a-f]{64}$/;
/** 22 characters of base64url hold 132 bits. */
const SIGNATURE_LENGTH = 22;
/** The maximum number of cached values. If there are more, the cache is emptied, because most values belong to past generations. */
const MAX_VALUES = 8192;

/** Reads a secret from its file, or generates one. Without a usable file, the secret lasts as long as this process. */
function readOrMake(path: string, form: RegExp, made: string, onProblem: (reason: string) => void): string {
  try {
    const known = readIfThere(path, MAX_BYTES).trim();
    if (form.test(known)) return known;
    replaceFile(path, `${made}\n`);
  } catch (error) {
    onProblem((error as Error).message);
  }
  return made;
}

/** The token of the page: the operator's token from a file, or one that is generated here. */
export class PageToken {
  private made: string | undefined;
  private problem = "";

  /** @param folder the run directory */
  constructor(
    private readonly folder: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /**
   * Reads the file each time, so that a changed file takes effect immediately.
   * @param file the operator's file; undefined if the token is the fleet's own
   * @returns undefined if the operator's file has no token: nobody is let in then
   */
  of(file: string | null | undefined): string | undefined {
    if (file == null) {
      this.made ??= readOrMake(join(this.folder, TOKEN_FILE), TOKEN, randomBytes(24).toString("base64url"), (reason) =>
        this.report(`the page has another token after the next start: ${reason}`),
      );
      return this.made;
    }
    const read = readToken(file);
    if ("text" in read) this.problem = "";
    else this.report(`the page cannot be read: admin.token: ${file} ${read.problem}`);
    return "text" in read ? read.text : undefined;
  }

  private report(problem: string): void {
    if (problem !== this.problem) this.onProblem(problem);
    this.problem = problem;
  }
}

/** The values of sticky cookies: each names a slot, and is signed. */
export class StickyCookies {
  private key: Buffer | undefined;
  /** By slot, or by slot and generation. */
  private readonly values = new Map<string, string>();

  /** @param folder the run directory */
  constructor(
    private readonly folder: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /**
   * Returns the cookie's value for a slot such as `web.3`, or for one generation of the slot, so that a deploy can distinguish its clients.
   */
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

  private readKey(): Buffer {
    const made = randomBytes(32).toString("hex");
    const key = readOrMake(join(this.folder, KEY_FILE), KEY, made, (reason) =>
      this.onProblem(`sticky cookies become invalid with the next start: ${reason}`),
    );
    return Buffer.from(key, "hex");
  }
}
