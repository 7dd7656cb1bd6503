/** The token of the page: the operator's own from a file, or one made here, which stays in the run directory over stops and starts. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { readSecretFile } from "../config/secrets.js";
import { readIfThere, replaceFile } from "./run-dir-files.js";

const FILE = "page.token";
const MAX_BYTES = 4096;
const MADE = /^[\w-]{32}$/;

export class PageToken {
  private made: string | undefined;
  private problem = "";

  /** @param folder the run directory */
  constructor(
    private readonly folder: string,
    private readonly onProblem: (message: string) => void,
  ) {}

  /** Reads it anew, so that a changed file counts at once. @param file the operator's; undefined if it cannot be read */
  of(file: string | null | undefined): string | undefined {
    if (file == null) {
      this.made ??= this.readOrMake();
      return this.made;
    }
    const read = readSecretFile(file);
    if ("text" in read) this.problem = "";
    else this.report(`the page cannot be read: admin.token: ${file} ${read.problem}`);
    return "text" in read ? read.text : undefined;
  }

  /** Without a usable file, the token lasts as long as this process. */
  private readOrMake(): string {
    const path = join(this.folder, FILE);
    const made = randomBytes(24).toString("base64url");
    try {
      const known = readIfThere(path, MAX_BYTES).trim();
      if (MADE.test(known)) return known;
      replaceFile(path, `${made}\n`);
    } catch (error) {
      this.report(`the page has another token after the next start: ${(error as Error).message}`);
    }
    return made;
  }

  private report(problem: string): void {
    if (problem !== this.problem) this.onProblem(problem);
    this.problem = problem;
  }
}
