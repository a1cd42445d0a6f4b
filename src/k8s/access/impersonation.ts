import { type ActingIdentity, identityProblem } from "../../protocol/mod.ts";
import { TransporterError } from "../../kit/mod.ts";

/** One line of a request's head. Several of the same name are several values: joined by commas they would be one, and somebody else. */
export type HeaderLine = readonly [name: string, value: string];

/** As bytes of UTF-8, which the API server reads, in the only way in which this runtime lets bytes into a header. */
function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** The key of an extra field as a header's name; what may not stand there is percent-encoded, as client-go does it. */
function nameOf(key: string): string {
  return [...Buffer.from(key, "utf8")]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[a-z0-9!#$&'*+.^_`|~-]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
}

/**
 * What asks the API server to take a request for somebody else's. Throws INVALID_EVENT where a name cannot be said in a header as it is.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
 */
export function impersonationLines(identity: ActingIdentity): readonly HeaderLine[] {
  const problem = identityProblem(identity);
  if (problem !== undefined) throw new TransporterError("INVALID_EVENT", `nobody can be impersonated like that: ${problem}`);
  const lines: HeaderLine[] = [["Impersonate-User", bytesOf(identity.user)]];
  for (const group of identity.groups) lines.push(["Impersonate-Group", bytesOf(group)]);
  if (identity.uid !== undefined) lines.push(["Impersonate-Uid", bytesOf(identity.uid)]);
  for (const [key, values] of Object.entries(identity.extra))
    for (const value of values) lines.push([`Impersonate-Extra-${nameOf(key)}`, bytesOf(value)]);
  return lines;
}

/** One name for the same identity, however its parts are ordered. */
export function identityKey({ user, groups, uid, extra }: ActingIdentity): string {
  const extras = Object.entries(extra).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return JSON.stringify([user, groups, uid ?? null, extras]);
}
