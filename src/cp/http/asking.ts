import { TransporterError } from "../../kit/mod.ts";
import type { Security } from "../../security/mod.ts";
import type { HttpContext } from "./context.ts";

/** The room of identities. Throws NOT_FOUND where nobody is asked who they are: there is nothing to give out or to take back. */
export function securityOf({ security }: Pick<HttpContext, "security">): Security {
  if (security !== undefined) return security;
  throw new TransporterError("NOT_FOUND", "this control plane asks nobody who they are", {
    remedy: "Set it up with `transporter cp init` to have identities and tokens.",
  });
}
