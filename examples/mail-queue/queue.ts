// A queue of files, one for each mail, which all processes of the fleet share.
import { mkdirSync } from "node:fs";
import { join } from "node:path";

export const folder = process.env.MAIL_FOLDER ?? "/tmp/paceline-mail-queue";
export const log = join(folder, "sent.log");
mkdirSync(folder, { recursive: true });
