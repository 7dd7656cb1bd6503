/** A folder of numbered JSON files such as `17-web.3.json`, with mode 0600. They are written atomically, and reading is bounded. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "./run-dir-files.js";
import { distrust, makePrivate } from "./trust.js";

const NAME = /^(\d{1,15})-([\w.-]{1,120})\.json$/;
/** The maximum size of a document. A document that we have written is smaller, however its characters are escaped. */
const MAX_BYTES = 512 << 10;
/** The maximum number of entries that are read, which is more than such a folder ever has. */
const MAX_ENTRIES = 4096;

/** A file of the folder. */
interface NumberedFile {
  id: number;
  name: string;
  bytes: number;
}

/** Writes the files of one supervisor. */
export class NumberedFiles {
  private readonly kept: NumberedFile[];
  private nextId: number;

  /** @param toRemove returns the files beyond the limit */
  constructor(
    private readonly folder: string,
    private readonly toRemove: (kept: readonly NumberedFile[]) => readonly NumberedFile[],
  ) {
    this.kept = listFiles(folder);
    this.nextId = Math.max(0, ...this.kept.map(({ id }) => id)) + 1;
  }

  /**
   * Writes a new file and removes old ones.
   * @throws PacelineError with the system's code, for example `ENOSPC`
   */
  add<Document extends { id: number }>(name: string, documentOf: (id: number) => Document): Document {
    // During an upgrade another supervisor may write files, too. Most names have numbers that are known already; they need no regular
    // expression.
    for (const each of unsortedNamesIn(this.folder)) {
      const id = Number.parseInt(each, 10);
      if (id >= this.nextId && NAME.test(each)) this.nextId = id + 1;
    }
    const document = documentOf(this.nextId);
    makePrivate(this.folder, true);
    const file = { id: document.id, name, bytes: 0 };
    file.bytes = this.write(file, document);
    this.nextId++;
    this.kept.push(file);
    for (const old of this.toRemove(this.kept)) {
      this.kept.splice(this.kept.indexOf(old), 1);
      rmSync(this.pathOf(old), { force: true });
    }
    return document;
  }

  /**
   * Writes the document again, unless its file was removed in the meantime.
   * @throws PacelineError with the system's code, for example `ENOSPC`; the previous file stays
   */
  update<Document extends { id: number }>(document: Document): void {
    const known = this.kept.find(({ id }) => id === document.id);
    if (known !== undefined) known.bytes = this.write(known, document);
  }

  /** Removes a document that is not worth keeping; its number is not used again. */
  remove(id: number): void {
    const at = this.kept.findIndex((each) => each.id === id);
    const [known] = at < 0 ? [] : this.kept.splice(at, 1);
    if (known !== undefined) rmSync(this.pathOf(known), { force: true });
  }

  private write(file: NumberedFile, document: object): number {
    const text = `${JSON.stringify(document)}\n`;
    replaceFile(this.pathOf(file), text);
    return Buffer.byteLength(text);
  }

  private pathOf({ id, name }: NumberedFile): string {
    return join(this.folder, `${id}-${name}.json`);
  }
}

/** Lists the files of a folder, oldest first; empty if the folder is missing, or not accessible only to this user. */
function listFiles(folder: string): NumberedFile[] {
  return namesIn(folder).flatMap((file) => {
    const [, id, name] = NAME.exec(file) ?? [];
    const bytes = statSync(join(folder, file), { throwIfNoEntry: false })?.size;
    return id === undefined || name === undefined || bytes === undefined ? [] : [{ id: Number(id), name, bytes }];
  });
}

/** Oldest first. */
function namesIn(folder: string): string[] {
  return unsortedNamesIn(folder).sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
}

function unsortedNamesIn(folder: string): string[] {
  try {
    return readdirSync(folder).slice(0, MAX_ENTRIES);
  } catch {
    return []; // The folder does not exist yet.
  }
}

/** Reads the documents in a folder, newest first; `unusable` has the paths of those that this version cannot read. */
export function readDocuments<Document>(
  folder: string,
  isDocument: (value: unknown) => value is Document,
  uid = process.getuid?.(),
): { documents: Document[]; unusable: string[] } {
  const found = { documents: [] as Document[], unusable: [] as string[] };
  if (distrust(folder, { uid }) !== undefined) return found;
  for (const name of namesIn(folder).reverse()) {
    if (!NAME.test(name)) continue;
    const path = join(folder, name);
    const document = readDocument(path, isDocument);
    if (document !== undefined) found.documents.push(document);
    else if (statSync(path, { throwIfNoEntry: false }) !== undefined) found.unusable.push(path);
  }
  return found;
}

/** Reads one document of a folder; undefined if no document has that number, or it cannot be read. */
export function readNumbered<Document>(
  folder: string,
  id: number,
  isDocument: (value: unknown) => value is Document,
): Document | undefined {
  if (distrust(folder, { uid: process.getuid?.() }) !== undefined) return undefined;
  const name = namesIn(folder).find((each) => Number(NAME.exec(each)?.[1]) === id);
  return name === undefined ? undefined : readDocument(join(folder, name), isDocument);
}

function readDocument<Document>(path: string, isDocument: (value: unknown) => value is Document): Document | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined; // Removed in the meantime, or not ours.
  }
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_BYTES) return undefined;
    const buffer = Buffer.alloc(size);
    const value: unknown = JSON.parse(buffer.toString("utf8", 0, readSync(fd, buffer, 0, size, 0)));
    return isDocument(value) ? value : undefined;
  } catch {
    return undefined; // Damaged, or written by another program.
  } finally {
    closeSync(fd);
  }
}
