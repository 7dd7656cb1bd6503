/** `paceline/server`: what apps and programs import of the server. */
export * from "@paceline/server";
