/** What can be wrong with an upload. */

/**
 * An upload that was refused, by `code`; nothing of it is left on the disk:
 * - `not-multipart` (415): the request's Content-Type is not multipart/form-data.
 * - `malformed` (400): no boundary, a part without a name, or a body that ends before its closing boundary.
 * - `too-many-files`, `too-many-fields`, `file-too-large`, `field-too-large`, `header-too-large`, `too-large` (413): a limit.
 * - `too-slow` (408): it took longer than its deadline.
 * - `aborted` (400): the client went; nobody sees the response.
 * - `disk-failed` (500): a file could not be written; `cause` is the system's error.
 */
export class UploadError extends Error {
  override readonly name = "UploadError";
  readonly code: keyof typeof STATUS;
  readonly status: number;

  constructor(code: keyof typeof STATUS, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.status = STATUS[code];
  }
}

const STATUS = {
  "not-multipart": 415,
  malformed: 400,
  "too-many-files": 413,
  "too-many-fields": 413,
  "file-too-large": 413,
  "field-too-large": 413,
  "header-too-large": 413,
  "too-large": 413,
  "too-slow": 408,
  aborted: 400,
  "disk-failed": 500,
} as const;
