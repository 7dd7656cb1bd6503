/** A first-in, first-out list with constant cost at both ends, whatever its length. */

/** How many empty places are kept before the list is compacted. */
const KEPT_PLACES = 64;

export class Fifo<T extends object | number> {
  private items: (T | undefined)[] = [];
  private head = 0;

  static of<T extends object | number>(item: T): Fifo<T> {
    const list = new Fifo<T>();
    list.push(item);
    return list;
  }

  get length(): number {
    return this.items.length - this.head;
  }

  get first(): T | undefined {
    return this.items[this.head];
  }

  get last(): T | undefined {
    return this.length === 0 ? undefined : this.items[this.items.length - 1];
  }

  push(item: T): void {
    this.items.push(item);
  }

  /** Removes and returns the first item. */
  shift(): T | undefined {
    const item = this.first;
    if (item === undefined) return undefined;
    // Cleared, so that the list does not keep the item in memory.
    this.items[this.head++] = undefined;
    if (this.head >= KEPT_PLACES && this.head * 2 >= this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }

  /** Removes and returns the last item. */
  pop(): T | undefined {
    return this.length === 0 ? undefined : this.items.pop();
  }

  /** Removes items that are not accepted. */
  keep(accepts: (item: T) => boolean): void {
    this.items = [...this].filter(accepts);
    this.head = 0;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let at = this.head; at < this.items.length; at++) yield this.items[at] as T;
  }
}
