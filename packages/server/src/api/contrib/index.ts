/** Small things that people expect of a server, for handlers of the fetch style; loaded only by apps that import them. */
export type { AccessLogFormat } from "./access-line.js";
export { type AccessLogOptions, accessLog } from "./access-log.js";
export type { Coding } from "./codings.js";
export { type CompressionOptions, compression } from "./compression.js";
export {
  receiveUpload,
  type Upload,
  type UploadedFile,
  type UploadHandler,
  type UploadLimits,
  type UploadOptions,
  upload,
} from "./upload.js";
export { UploadError } from "./upload-error.js";
export type { Wrapper } from "./wrapper.js";
