/** Numbers the lanes that are open, from 1, for their words in the work mark. */

/** So many words the mark has for them. */
export const MAX_LANE_NUMBER = 1022;

export class LaneNumbers {
  private next = 1;
  private readonly free: number[] = [];

  /** 0 when all are in use. */
  take(): number {
    const again = this.free.pop();
    if (again !== undefined) return again;
    return this.next > MAX_LANE_NUMBER ? 0 : this.next++;
  }

  giveBack(number: number): void {
    if (number > 0) this.free.push(number);
  }
}
