import { TransporterError } from "../kit/mod.ts";
import { keepSecret } from "../redaction/mod.ts";

/** Ours, wherever in a text: prefix, id, and at least the beginning of what is secret. */
const OURS = /tp[ues]_[0-9A-Za-z]{12}_[0-9A-Za-z]/;
const JWT = /^eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*$/;
const MAX_CHARS = 16_384;

/** Throws USAGE where an argument holds a token: every user of the machine can read command lines. What it holds is not repeated. */
export function refuseTokenArguments(argv: readonly string[]): void {
  const at = argv.findIndex((argument) => OURS.test(argument) || JWT.test(argument.replace(/^--?[\w-]+=/, "")));
  if (at < 0) return;
  const flag = /^(--?[\w-]+)=/.exec(argv[at] ?? "")?.[1] ?? (/^--[\w-]+$/.test(argv[at - 1] ?? "") ? argv[at - 1] : undefined);
  throw new TransporterError(
    "USAGE",
    `argument ${at + 1}${flag === undefined ? "" : ` (${flag})`} is a token, and every user of this machine can read command lines`,
    {
      remedy:
        "Take it for known to others by now: revoke it (`transporter token revoke ID`, the part after the first _). Give tokens by TRANSPORTER_TOKEN, --token-file FILE, or standard input; an agent's by TRANSPORTER_ENROLMENT_TOKEN or --enrolment-token-file.",
    },
  );
}

/**
 * A token as it was read from somewhere, without the line end around it. CONFIG_INVALID, never with the text itself, for what cannot be
 * one: nothing, several words, an enrolment token, or one of ours with a typing error.
 */
export async function tokenOf(text: string, from: string): Promise<string> {
  const token = text.trim();
  const wrong = (what: string, remedy: string): TransporterError => new TransporterError("CONFIG_INVALID", `${from}: ${what}`, { remedy });
  if (token === "") throw wrong("there is no token", "Give the token that `transporter cp init` or `transporter token create` showed.");
  if (token.length > MAX_CHARS || !/^[\x21-\x7e]+$/.test(token))
    throw wrong("this is not a token: one word of printable characters", "Give the token alone, on one line.");
  keepSecret(token);
  if (!token.startsWith("tp")) return token;
  const { parseToken } = await import("../security/mod.ts");
  const parsed = parseToken(token);
  if (token.startsWith("tpe_"))
    throw wrong("this is an enrolment token, which lets an agent in once", "People and programs need one that begins with tpu_.");
  if (parsed === undefined && /^tp[us]_/.test(token))
    throw wrong("the token has a typing error, or is not whole", "Copy it again, whole: its last characters are a checksum.");
  return token;
}
