/** S3's errors: each code with its HTTP status and its message, sent as XML. */

const ERRORS = {
  AccessControlListNotSupported: [400, "The bucket does not allow ACLs"],
  AccessDenied: [403, "Access Denied"],
  AuthorizationHeaderMalformed: [400, "The authorization header that you provided is not valid"],
  AuthorizationQueryParametersError: [400, "The authorization query parameters that you provided are not valid"],
  BadDigest: [400, "The checksum that you specified did not match what was received"],
  BucketAlreadyOwnedByYou: [409, "The bucket exists already, and you own it"],
  BucketNotEmpty: [409, "The bucket that you tried to delete is not empty"],
  EntityTooLarge: [400, "Your proposed upload exceeds the maximum allowed size"],
  EntityTooSmall: [400, "Your proposed upload is smaller than the minimum allowed size"],
  IncompleteBody: [400, "The request body has another length than it declared"],
  InternalError: [500, "An internal error occurred. Try again."],
  InvalidAccessKeyId: [403, "The access key ID that you provided does not exist"],
  InvalidArgument: [400, "Invalid argument"],
  InvalidBucketName: [400, "The specified bucket is not valid"],
  InvalidDigest: [400, "The checksum that you specified is not valid"],
  InvalidPart: [400, "A part could not be found, or its entity tag or checksum is another one"],
  InvalidPartOrder: [400, "The list of parts was not in ascending order"],
  InvalidRange: [416, "The requested range is not satisfiable"],
  InvalidRequest: [400, "Invalid request"],
  InvalidURI: [400, "Could not parse the specified URI: a key is UTF-8"],
  KeyTooLongError: [400, "Your key is too long"],
  MalformedTrailerError: [400, "The trailing fields are not those that x-amz-trailer states"],
  MalformedXML: [400, "The XML that you provided is not well-formed or is too long"],
  MetadataTooLarge: [400, "Your metadata headers exceed the maximum allowed metadata size"],
  MethodNotAllowed: [405, "The specified method is not allowed against this resource"],
  MissingContentLength: [411, "You must provide the Content-Length or x-amz-decoded-content-length field"],
  NoSuchBucket: [404, "The specified bucket does not exist"],
  NoSuchBucketPolicy: [404, "The bucket policy does not exist"],
  NoSuchCORSConfiguration: [404, "The CORS configuration does not exist"],
  NoSuchKey: [404, "The specified key does not exist"],
  NoSuchLifecycleConfiguration: [404, "The lifecycle configuration does not exist"],
  NoSuchTagSet: [404, "There is no tag set associated with the bucket"],
  NoSuchUpload: [404, "The specified upload does not exist: it may have been aborted or completed"],
  NoSuchVersion: [404, "There is no such version: an object has the version null alone"],
  NotImplemented: [501, "This store does not implement what the request asks for"],
  NotModified: [304, "Not Modified"],
  ObjectLockConfigurationNotFoundError: [404, "Object Lock configuration does not exist for this bucket"],
  OperationAborted: [409, "A conflicting operation is in progress. Try again."],
  PreconditionFailed: [412, "At least one of the preconditions that you specified did not hold"],
  RequestTimeTooSkewed: [403, "The difference between the request time and the server's time is too large"],
  ServiceUnavailable: [503, "The service is not available now. Try again."],
  ServerSideEncryptionConfigurationNotFoundError: [404, "The encryption configuration was not found"],
  SignatureDoesNotMatch: [403, "The signature does not match: check the secret key, and that no segment is . or .."],
  XAmzContentSHA256Mismatch: [400, "The provided x-amz-content-sha256 does not match what was received"],
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** @throws S3Error unless it holds */
export function demand(holds: unknown, code: ErrorCode, message?: string): asserts holds {
  if (!holds) throw new S3Error(code, message);
}

export class S3Error extends Error {
  readonly status: number;

  constructor(
    readonly code: ErrorCode,
    /** Default: the message of the code. */
    message?: string,
    /** More fields of the response, such as the ETag of a 304. */
    readonly fields: Record<string, string> = {},
  ) {
    const [status, text] = ERRORS[code];
    super(message ?? text);
    this.status = status;
  }
}
