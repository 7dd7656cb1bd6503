/** Gives a buffer's memory back without waiting for the collector: its contents move to a buffer that nobody has. */
type Transferable = ArrayBuffer & { transfer?(length: number): ArrayBuffer };

/** Of a channel that is closed: what is sent there is given up. For Node 20, which has no `transfer` (ES2024). */
let nowhere: MessagePort | undefined;

export function free(bytes: Uint8Array): void {
  const buffer = bytes.buffer as Transferable;
  if (buffer.transfer !== undefined) buffer.transfer(0);
  else if (process.versions.bun === undefined) sendNowhere(buffer);
}

function sendNowhere(buffer: ArrayBuffer): void {
  if (nowhere === undefined) {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    nowhere = port1;
  }
  nowhere.postMessage(null, [buffer]);
}

/** Of bytes that were written to a connection. On Bun it has copied what the kernel did not take; on Node it may need them still. */
export function freeWritten(bytes: Uint8Array): void {
  if (process.versions.bun !== undefined) free(bytes);
}
