/** The one error class of this package. */

/**
 * What went wrong with the control channel, by `code`:
 * - `bad-environment`: the variables that a supervisor sets are there but cannot be understood.
 * - `bad-message`: a line from the other side is not a message this version knows.
 */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
  readonly code: "bad-environment" | "bad-message";

  constructor(code: ChannelError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
