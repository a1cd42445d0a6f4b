import { TransporterError } from "../../kit/mod.ts";
import type { TlsMaterial } from "../gate.ts";
import { type Certificate, SERVER_AUTH, channelOf, isIssuedBy, pinOf, readCertificates } from "./certificate.ts";
import { type Revocations, NO_REVOCATIONS, readRevocations } from "./crl.ts";
import type { Issuer } from "./issue.ts";
import { keyProblem } from "./signature.ts";
import { type EnrolmentTokenHash, type TokenHash, readAdminTokens, readEnrolmentTokens } from "./token-hashes.ts";
import { type FoundFile, type FoundFiles, readPrivateKey } from "./trust-files.ts";

/** What the files come to. */
export interface TrustState {
  /** Who is trusted for agents, the issuing one first. */
  readonly cas: readonly Certificate[];
  readonly bundle: { readonly pem: string; readonly pins: readonly string[] };
  /** Undefined where no CA's key is here: then nobody is enrolled here. */
  readonly issuer: Issuer | undefined;
  /** The server's own first; empty where proxies end all TLS. */
  readonly server: readonly Certificate[];
  readonly tls: TlsMaterial | undefined;
  readonly revocations: Revocations;
  /** Who is trusted for people's and programs' certificates. */
  readonly clientCas: readonly Certificate[];
  readonly adminTokens: readonly TokenHash[];
  readonly enrolmentTokens: readonly EnrolmentTokenHash[];
}

function invalid(message: string, remedy?: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", message, { remedy });
}

function certificatesIn(file: FoundFile): readonly [Certificate, ...Certificate[]] {
  const [first, ...others] = readCertificates(file.text) ?? [];
  if (first === undefined) throw invalid(`${file.path} holds no PEM certificates that can be read`);
  return [first, ...others];
}

function casIn(file: FoundFile): readonly [Certificate, ...Certificate[]] {
  const cas = certificatesIn(file);
  for (const [index, ca] of cas.entries()) {
    const which = `certificate ${index + 1} of ${file.path}`;
    if (!ca.ca) throw invalid(`${which} is no CA's`, "Only certificates of CAs belong there; the server's own is another file.");
    if (ca.keyUsage?.certSign === false) throw invalid(`${which} is of a CA whose key is not for certificates`);
    const weak = keyProblem(ca.publicKey, "ca");
    if (weak !== undefined) throw invalid(`${which} is too weak: ${weak}`);
  }
  return cas;
}

/** The CA and those above it, up to one that signed itself. */
export function upwards(ca: Certificate, among: readonly Certificate[]): readonly Certificate[] {
  const above = ca.selfSigned ? undefined : among.find((other) => isIssuedBy(ca, other));
  // Each is looked at once: two may have signed each other.
  return above === undefined
    ? [ca]
    : [
        ca,
        ...upwards(
          above,
          among.filter((other) => other !== above),
        ),
      ];
}

function issuerOf(keyFile: FoundFile | undefined, cas: readonly Certificate[], server: readonly Certificate[]): Issuer | undefined {
  if (keyFile === undefined) return undefined;
  const key = readPrivateKey(keyFile);
  // Any of them: while a CA is replaced its key changes last, so that the files fit together at every moment.
  const certificate = cas.find((ca) => ca.x509.checkPrivateKey(key));
  if (certificate === undefined) throw invalid(`${keyFile.path} is the key of none of the CAs`);
  // Its own key signed by the CA before it leads those that know only that one.
  const crossed = server.slice(1).filter((one) => one.keySha256 === certificate.keySha256 && !one.selfSigned);
  const between = upwards(certificate, cas).filter(({ selfSigned }) => !selfSigned);
  return { certificate, key, chain: [...between, ...crossed].map(({ pem }) => pem) };
}

interface Server {
  readonly server: readonly Certificate[];
  readonly material: Pick<TlsMaterial, "cert" | "key" | "channel"> | undefined;
}

function serverOf(certFile: FoundFile | undefined, keyFile: FoundFile | undefined): Server {
  if (certFile === undefined && keyFile === undefined) return { server: [], material: undefined };
  if (certFile === undefined || keyFile === undefined)
    throw invalid(`${(certFile ?? keyFile)?.path ?? ""} is there without its ${certFile === undefined ? "certificate" : "key"}`);
  const server = certificatesIn(certFile);
  const [own] = server;
  const at = `the first certificate of ${certFile.path}`;
  if (own.ca) throw invalid(`${at} is a CA's`, "The server's own comes first, then what leads to its CA.");
  if (own.extendedKeyUsage?.includes(SERVER_AUTH) === false) throw invalid(`${at} is not for servers`);
  const weak = keyProblem(own.publicKey, "ca");
  if (weak !== undefined) throw invalid(`${at} is too weak: ${weak}`);
  if (!own.x509.checkPrivateKey(readPrivateKey(keyFile))) throw invalid(`${keyFile.path} is not the key of ${at}`);
  return { server, material: { cert: server.map((one) => one.pem).join(""), key: keyFile.text, channel: channelOf(own) } };
}

/**
 * Reads what the files say. Throws CONFIG_INVALID where one is damaged or they do not fit together. Dates are left to `fresh`: a control
 * plane whose certificate ran out must still be able to start and to say so.
 */
export function readTrust({ files }: FoundFiles): TrustState {
  const { ca, cert, key } = files;
  if (ca === undefined) throw invalid("there is no CA", "`transporter cp init` makes one; or name yours with --ca-file.");
  const given = casIn(ca);
  // TLS believes nothing that does not end with a CA that signed itself.
  const loose = given.findIndex((one) => upwards(one, given).at(-1)?.selfSigned !== true);
  if (loose >= 0)
    throw invalid(
      `certificate ${loose + 1} of ${ca.path} leads to no root in it`,
      "Add the CAs above it, up to the one that signed itself.",
    );
  const { server, material } = serverOf(cert, key);
  const issuer = issuerOf(files.caKey, given, server);
  const cas = issuer === undefined ? given : [issuer.certificate, ...given.filter((one) => one !== issuer.certificate)];
  const clientCas = files.clientCa === undefined ? [] : casIn(files.clientCa);
  // Else whoever may issue for agents, or an agent that may have any name, could come in as a person.
  if (clientCas.some((one) => cas.some((other) => one.keySha256 === other.keySha256)))
    throw invalid(`${files.clientCa?.path ?? ""} has a CA that issues for agents`, "People's certificates need a CA of their own.");
  const pem = cas.map((one) => one.pem).join("");
  return {
    cas,
    bundle: { pem, pins: cas.map(pinOf) },
    issuer,
    server,
    tls: material === undefined ? undefined : { ...material, clientCas: pem },
    revocations: files.crl === undefined ? NO_REVOCATIONS : readRevocations(files.crl.text, [...cas, ...clientCas], files.crl.path),
    clientCas,
    adminTokens: readAdminTokens(files.adminTokens),
    enrolmentTokens: readEnrolmentTokens(files.enrolmentTokens),
  };
}

/** Why what was read must not replace what is used: it is not valid now. */
export function staleness({ cas, server }: TrustState, nowMs: number): string | undefined {
  for (const [name, one] of [
    ["the CA", cas[0]],
    ["the server's certificate", server[0]],
  ] as const) {
    if (one === undefined) continue;
    if (nowMs < one.notBeforeMs) return `${name} is not valid yet`;
    if (nowMs > one.notAfterMs) return `${name} has run out`;
  }
  return undefined;
}
