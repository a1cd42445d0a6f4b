import { version as packageVersion } from "../../package.json";

// Put in by `bun build --define`; absent when run from source.
declare const BUILD_COMMIT: string | undefined;

export const VERSION: string = packageVersion;
export const COMMIT: string = typeof BUILD_COMMIT === "string" && BUILD_COMMIT !== "" ? BUILD_COMMIT : "unknown";
