/** Small files that were asked for lately, within a fixed bound; none is used without a look at the file itself. */
import { type FileFacts, isSameFile } from "./validators.js";

export interface HotFile {
  facts: FileFacts;
  bytes: Uint8Array;
  /** Of a response that sends it whole. */
  fields: Readonly<Record<string, string>>;
}

/** Larger files are read for each response: for them the reading is the smaller part. */
export const HOT_FILE_BYTES = 32_768;
const MAX_FILES = 512;
const MAX_BYTES = 4 << 20;

export class HotFiles {
  private readonly files = new Map<string, HotFile>();
  private bytes = 0;

  /** @param now of the file that lies at `path` at this moment. */
  get(path: string, now: FileFacts): HotFile | undefined {
    const hot = this.files.get(path);
    if (hot === undefined) return undefined;
    if (isSameFile(hot.facts, now)) return hot;
    this.drop(path, hot);
    return undefined;
  }

  /** `hot.facts` must have been settled when its bytes were read. */
  add(path: string, hot: HotFile): void {
    const before = this.files.get(path);
    if (before !== undefined) this.drop(path, before);
    this.files.set(path, hot);
    this.bytes += hot.bytes.length;
    for (const [oldest, file] of this.files) {
      if (this.bytes <= MAX_BYTES && this.files.size <= MAX_FILES) return;
      this.drop(oldest, file);
    }
  }

  private drop(path: string, hot: HotFile): void {
    this.files.delete(path);
    this.bytes -= hot.bytes.length;
  }
}
