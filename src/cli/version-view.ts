import { PROTOCOL_VERSION, type VersionView } from "../protocol/mod.ts";
import { COMMIT, VERSION } from "./build-info.ts";

/** What this program is; also what a control plane says of itself. */
export function versionView(): VersionView {
  return {
    version: VERSION,
    commit: COMMIT,
    protocol: PROTOCOL_VERSION,
    bun: Bun.version,
    platform: `${process.platform}-${process.arch}`,
  };
}
