/** Somebody whom the API server is to take requests for. */
interface Somebody {
  readonly user: string;
  readonly groups?: readonly string[] | null | undefined;
  readonly uid?: string | null | undefined;
  readonly extra?: Readonly<Record<string, readonly string[]>> | null | undefined;
}

/** Far more than anybody is a member of; each is a line of every request's head. */
const MAX_ENTRIES = 200;
const MAX_CHARS = 16_384;

const CONTROL = /\p{Cc}/u;

/** Names go in the head of a request: what would be cut off or cut apart there would make somebody else of it. */
function isSayable(name: string): boolean {
  return name !== "" && name.isWellFormed() && !CONTROL.test(name) && !/^ | $/.test(name);
}

function told(what: string, name: string): string {
  return `${what} ${JSON.stringify(name.slice(0, 80))} is empty, begins or ends with a blank, or holds a control character`;
}

/** Why nobody can be impersonated under this name, or undefined. The API server knows keys of extra fields in lower case only. */
export function identityProblem({ user, groups, uid, extra }: Somebody): string | undefined {
  const extras = Object.entries(extra ?? {});
  const entries = (groups ?? []).length + extras.reduce((sum, [, values]) => sum + values.length, 0);
  if (entries > MAX_ENTRIES) return `it has ${entries} groups and extra values; ${MAX_ENTRIES} at most`;
  if (JSON.stringify([user, groups, uid, extra]).length > MAX_CHARS) return `it is longer than ${MAX_CHARS} characters`;
  if (!isSayable(user)) return told("the user", user);
  for (const group of groups ?? []) if (!isSayable(group)) return told("the group", group);
  if (uid !== undefined && uid !== null && !isSayable(uid)) return told("the uid", uid);
  for (const [key, values] of extras) {
    if (!isSayable(key)) return told("the key of an extra field", key);
    if (key !== key.toLowerCase()) return `the key ${JSON.stringify(key.slice(0, 80))} of an extra field is not in lower case`;
    for (const value of values) if (!isSayable(value)) return told(`the extra value of ${key.slice(0, 80)}`, value);
  }
  return undefined;
}
