/** How long the path of a unix socket may be. */

/** In bytes: sun_path less its NUL (unix(7)); the BSDs have 104 of them. */
export const MAX_SOCKET_PATH_BYTES = process.platform === "linux" ? 107 : 103;

export function fitsSocketAddress(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES;
}
