/** Memory that files pass through on their way into sockets: a small block for each reader that is slow, and a few large ones. */

const LARGE_BYTES = 65_536;
const SMALL_BYTES = 4096;
/** Large blocks that anybody gets, so that a few readers have no others. */
const LARGE_FOR_ALL = 8;
/** Large blocks for those who will give them back at once, beside the others. */
const LARGE_FOR_QUICK = 8;
/** Small blocks that are kept at most. */
const MAX_SPARE_SMALL = 1024;

export class BlockPool {
  private readonly spareSmall: Buffer[] = [];
  private readonly spareLarge: Buffer[] = [];
  private large = 0;

  /** @param isQuick whether its taker is likely to give it back in the same turn of the event loop. */
  take(isQuick: boolean): Buffer {
    if (this.large < (isQuick ? LARGE_FOR_ALL + LARGE_FOR_QUICK : LARGE_FOR_ALL)) {
      this.large++;
      return this.spareLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
    }
    return this.spareSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  }

  /** Of a block that nobody reads any more. */
  giveBack(block: Buffer): void {
    if (block.length === LARGE_BYTES) {
      this.large--;
      this.spareLarge.push(block);
    } else if (this.spareSmall.length < MAX_SPARE_SMALL) this.spareSmall.push(block);
  }

  /** Keeps what one reader needs. */
  trim(): void {
    this.spareSmall.length = 0;
    if (this.spareLarge.length > 1) this.spareLarge.length = 1;
  }
}
