/** `paceline/contrib`: compression, access log and uploads for fetch apps. */
export * from "@paceline/server/contrib";
