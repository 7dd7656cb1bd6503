/** Helpers for fetch handlers; loaded only by apps that import them. */

export type { Wrapper } from "../../shared/app.js";
export type { AccessLogFormat } from "./access-line.js";
export { type AccessLogOptions, accessLog } from "./access-log.js";
export type { Coding } from "./codings.js";
export { type CompressionOptions, compression } from "./compression.js";
export { UploadError } from "./form-parts.js";
export {
  receiveUpload,
  type Upload,
  type UploadedFile,
  type UploadHandler,
  type UploadLimits,
  type UploadOptions,
  upload,
} from "./upload.js";
