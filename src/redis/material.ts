import { readFile } from "node:fs/promises";
import { type ErrorCode } from "../protocol/mod.ts";
import { messageOf, TransporterError } from "../kit/mod.ts";
import type { RedisAddress } from "./address.ts";

/** What an address names and what lies in files. */
export interface RedisMaterial {
  readonly password: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string; readonly servername?: string } | undefined;
}

/** Reads the files that an address names. Throws FILE_UNREADABLE, or `invalid` for one that does not hold what it should. */
export async function readMaterial(address: RedisAddress, invalid: ErrorCode): Promise<RedisMaterial> {
  const read = async (path: string, what: string): Promise<string> => {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      throw new TransporterError("FILE_UNREADABLE", `the ${what} ${path} for ${address.location} cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  };
  const secret = async (path: string | undefined, what: string): Promise<string | undefined> => {
    if (path === undefined) return undefined;
    const text = (await read(path, what)).replace(/\r?\n$/, "");
    if (text === "") throw new TransporterError(invalid, `the ${what} ${path} for ${address.location} is empty`);
    return text;
  };
  const pem = async (path: string | undefined, what: string, block: RegExp): Promise<string | undefined> => {
    if (path === undefined) return undefined;
    const text = await read(path, what);
    if (!block.test(text))
      throw new TransporterError(invalid, `the ${what} ${path} for ${address.location} holds none in PEM form`, {
        remedy: `Give a file with a -----BEGIN … block.`,
      });
    return text;
  };
  const { tls } = address;
  const [password, sentinelPassword, ca, cert, key] = await Promise.all([
    secret(address.passwordFile, "password file"),
    secret(address.sentinelPasswordFile, "sentinel password file"),
    pem(tls?.ca, "CA file", /-----BEGIN CERTIFICATE-----/),
    pem(tls?.cert, "certificate file", /-----BEGIN CERTIFICATE-----/),
    pem(tls?.key, "key file", /-----BEGIN [A-Z ]*PRIVATE KEY-----/),
  ]);
  const name = tls?.serverName ?? serverNameOf(address);
  return {
    password: password ?? address.password,
    sentinelPassword: sentinelPassword ?? address.sentinelPassword,
    tls:
      tls === undefined
        ? undefined
        : {
            ...(ca === undefined ? {} : { ca }),
            ...(cert === undefined ? {} : { cert }),
            ...(key === undefined ? {} : { key }),
            ...(name === undefined ? {} : { servername: name }),
          },
  };
}

/** A single server behind a name must be told which one is meant; addresses are not sent, and others are found only later. */
function serverNameOf({ kind, nodes: [node] }: RedisAddress): string | undefined {
  return kind === "single" && node !== undefined && !/^[\d.]+$|:/.test(node.host) ? node.host : undefined;
}
