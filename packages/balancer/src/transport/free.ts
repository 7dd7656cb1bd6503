/** Gives a buffer's memory back without waiting for the collector: its contents move to a buffer that nobody has. */
export function free(bytes: Uint8Array): void {
  // ES2024; where it is missing the collector does it in its own time.
  (bytes.buffer as ArrayBuffer & { transfer?(length: number): ArrayBuffer }).transfer?.(0);
}
