/** How many interim responses (1xx) one request may get: an upstream must not send them for ever. */

const MAX_INTERIMS = 16;
const MAX_INTERIM_BYTES = 65_536;

export class InterimBound {
  private count = 0;
  private bytes = 0;

  begin(): void {
    this.count = 0;
    this.bytes = 0;
  }

  /** Counts one with a head of that many bytes; false when it is one too many. */
  take(bytes: number): boolean {
    this.bytes += bytes;
    return ++this.count <= MAX_INTERIMS && this.bytes <= MAX_INTERIM_BYTES;
  }
}
