/** Request heads beside the one that is being parsed, so that queued requests keep theirs and need not be parsed again. */
import type { RequestHead } from "../http1/request-head.js";

/** A head takes some kilobytes, so further requests are parsed again. */
export const MAX_SPARE_HEADS = 64;

/** Has the head that is being parsed. */
export interface HeadOwner {
  requestHead: RequestHead;
  readonly spareHeads: SpareHeads;
}

export class SpareHeads {
  private readonly spare: RequestHead[] = [];
  private made = 0;

  constructor(private readonly make: () => RequestHead) {}

  /** Takes the head that was just parsed, and has the next one parsed into another; undefined if too many were taken. */
  takeParsed(owner: HeadOwner): RequestHead | undefined {
    const next = this.spare.pop() ?? this.makeNext();
    if (next === undefined) return undefined;
    const head = owner.requestHead;
    owner.requestHead = next;
    return head;
  }

  private makeNext(): RequestHead | undefined {
    if (this.made >= MAX_SPARE_HEADS) return undefined;
    this.made++;
    return this.make();
  }

  /** Makes a head that was taken the parsed one again. */
  restore(owner: HeadOwner, head: RequestHead): void {
    this.spare.push(owner.requestHead);
    owner.requestHead = head;
  }

  /** A head that was taken is not needed any more. */
  giveBack(head: RequestHead): void {
    this.spare.push(head);
  }
}
