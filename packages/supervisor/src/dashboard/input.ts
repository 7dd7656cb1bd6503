/** Separates pasted text and mouse reports from the terminal's input, and keeps escape sequences whole. Pure, except for its timer. */
import type { MousePress } from "./model.js";

interface InputEvents {
  /** Receives the rest: keys, in whole escape sequences. */
  onKeys(text: string): void;
  onPasted(text: string): void;
  onMouse(press: MousePress): void;
}

const ESCAPE = "\x1b";
const PASTE_BEGINS = "\x1b[200~";
const PASTE_ENDS = "\x1b[201~";
/** After this time, in milliseconds, an escape is the Escape key, not the beginning of a sequence. */
const ESCAPE_MS = 50;
/** The maximum size of one paste; the rest is dropped. */
const MAX_PASTE = 64 << 10;
/** A longer text is not a sequence. */
const MAX_SEQUENCE = 64;

/** A complete sequence: CSI with its final byte, SS3 with one character, or an escape with any other character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const SEQUENCE = /^\x1b(?:\[[0-?]*[ -/]*[@-~]|O[^\x1b]|[^[O\x1b])/;
/** The beginning of a sequence. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const BEGINNING = /^\x1b(?:\[[0-?]*[ -/]*|O)?$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
const MOUSE = /^\x1b\[<(\d+);(\d+);(\d+)([Mm])$/;

export class TerminalInput {
  private pending = "";
  private pasted: string | undefined;
  /** Whether a paste has ended in this read. */
  private hasPasted = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly events: InputEvents) {}

  push(text: string): void {
    clearTimeout(this.timer);
    this.pending += text;
    this.hasPasted = false;
    this.take();
    if (this.pending === "" || this.pasted !== undefined) return;
    this.timer = setTimeout(() => this.flush(), ESCAPE_MS);
  }

  close(): void {
    clearTimeout(this.timer);
  }

  /** Called when the beginning of a sequence was not continued. */
  private flush(): void {
    const { pending } = this;
    this.pending = "";
    if (pending !== "") this.events.onKeys(pending);
  }

  private take(): void {
    let keys = "";
    let count = 0;
    const pass = () => {
      // Pasted text may contain the mark of its own end. No person presses two keys within the same read.
      const isPasted = this.hasPasted && count > 1;
      if (keys !== "" && !isPasted) this.events.onKeys(keys);
      keys = "";
      count = 0;
    };
    for (;;) {
      if (this.pasted !== undefined && !this.takePasted()) break;
      if (this.pending === "") break;
      const at = this.pending.indexOf(ESCAPE);
      if (at !== 0) {
        const plain = at < 0 ? this.pending : this.pending.slice(0, at);
        keys += plain;
        count += [...plain].length;
        this.pending = at < 0 ? "" : this.pending.slice(at);
        continue;
      }
      const [sequence] = SEQUENCE.exec(this.pending) ?? [];
      if (sequence === undefined) {
        if (BEGINNING.test(this.pending) && this.pending.length < MAX_SEQUENCE) break;
        // An escape before another one, or a text that is not a sequence.
        keys += ESCAPE;
        count++;
        this.pending = this.pending.slice(1);
        continue;
      }
      this.pending = this.pending.slice(sequence.length);
      if (sequence === PASTE_BEGINS) {
        pass();
        this.pasted = "";
      } else if (sequence !== PASTE_ENDS) {
        const mouse = MOUSE.exec(sequence);
        if (mouse !== null) this.mouse(mouse);
        else {
          keys += sequence;
          count++;
        }
      }
    }
    pass();
  }

  /** Returns whether the paste has ended. */
  private takePasted(): boolean {
    const at = this.pending.indexOf(PASTE_ENDS);
    // The end mark may arrive in parts.
    const kept = at < 0 ? Math.max(0, this.pending.length - PASTE_ENDS.length + 1) : at;
    this.pasted = ((this.pasted ?? "") + this.pending.slice(0, kept)).slice(0, MAX_PASTE);
    this.pending = this.pending.slice(at < 0 ? kept : at + PASTE_ENDS.length);
    if (at < 0) return false;
    const text = this.pasted;
    this.pasted = undefined;
    this.hasPasted = true;
    this.events.onPasted(text);
    return true;
  }

  private mouse([, button = "", x = "", y = "", end]: RegExpExecArray): void {
    const kind = { 0: "press", 64: "wheelup", 65: "wheeldown" }[Number(button)] as MousePress["kind"] | undefined;
    if (kind === undefined || end !== "M") return;
    this.events.onMouse({ kind, x: Number(x) - 1, y: Number(y) - 1 });
  }
}
